"""Pictures by which a report judges a task: pairs from a folder, or shipped photographs, degraded."""

from collections.abc import Sequence
from dataclasses import dataclass
from importlib.resources import files
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from colora.benchmarks.settings import Settings
from colora.devices.errors import ImageError, missing_extra
from colora.runtime.image import SUFFIXES, read_image, to_dtype

if TYPE_CHECKING:
    from colora.runtime.weights import Array

PHOTOS = {
    "gates.jpg": "Orange Hallway, Budgie Backgrounds, CC0 1.0; cut",
    "motorcycle.jpg": "Motorcycle, Middlebury Stereo 2014, CC0 1.0; cut",
}
"""Of benchmarks/photos, and whose they are."""


@dataclass(frozen=True)
class Pair:
    """Both H×W×3 RGB uint8, of one size."""

    told: str
    degraded: "Array"
    clean: "Array"


@dataclass(frozen=True)
class Case:
    """Pairs of one task."""

    task: str
    told: str
    """Name of the set."""
    pairs: tuple[Pair, ...]


def cases(tasks: Sequence[str], settings: Settings) -> list[Case]:
    """A case for each folder of `settings.pairs`, and for each other task that has a synthetic degradation.

    Pictures are cut to the middle, settings.size pixels a side at most. Raises: ImageError; MissingExtra where a
    degradation is needed and colora's training half is not installed.
    """
    given = [
        Case(task, folder.resolve().name, _read(folder, settings.pictures, settings.size))
        for task, folder in settings.pairs
    ]
    rest = [task for task in tasks if task not in dict(settings.pairs)]
    made = [Case(task, "synthetic", _degrade(task, settings)) for task in rest]
    return [*given, *(case for case in made if case.pairs)]


def _read(folder: Path, count: int, side: int) -> tuple[Pair, ...]:
    """The first pairs of `folder`/input and `folder`/target by name, matched by name without suffix."""
    found = []
    for name in ("input", "target"):
        if not (folder / name).is_dir():
            raise ImageError(
                f"{folder}: no folder {name}/ in it; expected input/ with degraded and target/ with clean pictures"
            )
        pictures = sorted(file for file in (folder / name).iterdir() if file.suffix.lower() in SUFFIXES)
        found.append({file.stem: file for file in pictures})
    degraded, clean = found
    if alone := sorted(degraded.keys() ^ clean.keys()):
        raise ImageError(f"{folder}: {alone[0]!r} is in one of input/ and target/ only: add it, or remove it")
    if not degraded:
        raise ImageError(f"{folder}: no pictures in input/; expected files ending in {', '.join(SUFFIXES)}")
    pairs = []
    for name in sorted(degraded)[:count]:
        both = [to_dtype(read_image(file[name]), np.uint8) for file in (degraded, clean)]
        if both[0].shape != both[1].shape:
            raise ImageError(f"{folder}: {name}: input and target are of different sizes: cut them alike")
        pairs.append(Pair(f"{folder.name}, {name}", *(_middle(picture, side) for picture in both)))
    return tuple(pairs)


def _degrade(task: str, settings: Settings) -> tuple[Pair, ...]:
    """Shipped photographs as the task's camera sees them; none for a task without a degradation."""
    try:
        from colora.train.degradations import degrade
        from colora.train.examples import clean_photograph
        from colora.train.tasks import TASKS
    except ModuleNotFoundError as e:
        raise missing_extra(e.name or "opencv-python", "train", "a synthetic degradation") from e
    if task not in TASKS:
        return ()
    pairs = []
    for name, whose in PHOTOS.items():
        photo = clean_photograph(Path(str(files("colora.benchmarks.photos") / name)), TASKS[task])
        clean = _middle(photo, settings.size)
        rng = np.random.default_rng(settings.seed)
        degraded = degrade(to_dtype(clean, np.float32), rng, TASKS[task].degradations)
        pairs.append(Pair(f"{whose}; synthetic {task}", to_dtype(degraded, np.uint8), clean))
    return tuple(pairs)


def _middle(picture: "Array", side: int) -> "Array":
    height, width = picture.shape[:2]
    top, left = max(0, (height - side) // 2), max(0, (width - side) // 2)
    return np.ascontiguousarray(picture[top : top + side, left : left + side])
