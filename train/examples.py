"""What a task is learnt from: clean photographs degraded on the way, or real pairs."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from colora.devices.errors import UnknownName, unknown
from colora.train.augment import augmented_crop
from colora.train.degradations import DEGRADATIONS, Image, degrade
from colora.train.pairs import read_pairs
from colora.train.photos import (
    Pair,
    Pixels,
    clean_crop,
    pair_crop,
    photograph,
    picture_files,
    pictures_sha256,
    read_rgb,
    split,
    split_files,
    to_float,
)
from colora.train.tasks import Task, find_task
from numpy.random import Generator


@dataclass(frozen=True)
class Examples:
    """What a task is learnt from."""

    draw: Callable[[Generator, int], tuple[Image, Image]]
    """(rng, patch) → (degraded, clean), patch×patch×3"""
    held_out: Sequence[Pair]
    """kept out of training: for validation and attribution"""
    told: str
    """says what the examples are, for people and for records"""
    sources: Sequence[tuple[Pixels, ...]]
    """what is drawn from: (photograph,) or (degraded, clean), H×W×3 RGB uint8"""

    @property
    def sha256(self) -> str:
        """Of what is drawn from, of how, and of what is held out: it tells whether an earlier run learnt from the same
        and was judged by the same."""
        held_out = ((pair.degraded, pair.clean) for pair in self.held_out)
        return pictures_sha256((p for source in (*self.sources, *held_out) for p in source), self.told)


def task_of(name: str, degrade: str | None = None) -> Task:
    """The task of that name in TASKS; with `degrade` the user's own: names in DEGRADATIONS joined by "+", in the order
    in which they are applied, or by "|" for one of them, e.g. "haze+blur|motion". Raises UnknownName with the nearest
    names."""
    if degrade is None:
        try:
            return find_task(name)
        except UnknownName as error:
            raise UnknownName(
                f"{error}; for a task of your own give --pairs, or --degrade with --photos"
            ) from None
    steps = tuple(step.strip() for step in degrade.split("+"))
    for name in (name for step in steps for name in step.split("|")):
        if name not in DEGRADATIONS:
            raise unknown("degradation", name, DEGRADATIONS)
    return Task(name, f"{degrade}, chosen by the user", steps)


def exposed(photo: Pixels, mean: float) -> Pixels:
    """The photograph, H×W×3 uint8, by the gamma curve that gives its numbers that mean, of 1; curves of 1/4 to 4."""
    counts, levels = np.bincount(photo.ravel(), minlength=256), np.linspace(0, 1, 256)
    low, high = -2.0, 2.0
    for _ in range(20):  # brighter for smaller powers
        middle = (low + high) / 2
        brighter = np.average(levels**2.0**middle, weights=counts) > mean
        low, high = (middle, high) if brighter else (low, middle)
    curve = np.rint(255 * levels**2.0**low).astype(np.uint8)
    return np.asarray(curve[photo])


def clean_photograph(file: Path, task: Task) -> Pixels:
    """A clean photograph as the task's camera would have taken it in good light, H×W×3 uint8. Raises: ImageError."""
    photo = read_rgb(file)
    return photo if task.exposure is None else exposed(photo, task.exposure)


def from_photos(
    task: Task, folders: Sequence[Path], held_out: int | None = None, seed: int = 0, augment: bool = True
) -> Examples:
    """Clean photographs degraded as `task` says, rounded to 8 bits; held out are 256×256 centres of some of them.

    `augment` varies what is trained on, by `augmented_crop`, but for tasks with an exposure. held_out: see `keep_out`.
    Raises ImageError for pictures that can't be used.
    """
    train, kept = split_files([f for folder in folders for f in picture_files(folder)], held_out)
    photos = [clean_photograph(f, task) for f in train]
    augment = augment and task.exposure is None  # which would expose them otherwise

    def spoil(image: Image, rng: Generator) -> Image:
        return to_float(np.rint(degrade(image, rng, task.degradations) * 255).astype(np.uint8))

    crop = augmented_crop if augment else clean_crop

    def draw(rng: Generator, patch: int) -> tuple[Image, Image]:
        clean = crop(photos, patch, rng)
        return spoil(clean, rng), clean

    pairs = []
    for i, file in enumerate(kept):
        photo = clean_photograph(file, task)
        y, x = (max(0, n - 256) // 2 for n in photo.shape[:2])
        clean = photo[y : y + 256, x : x + 256]
        degraded = spoil(to_float(clean), np.random.default_rng([seed, i]))
        pairs.append(Pair(file.stem, np.rint(degraded * 255).astype(np.uint8), clean))
    first = "augmented and " if augment else f"exposed to {task.exposure} and " if task.exposure else ""
    told = (
        f"{len(photos)} photographs of {', '.join(f.resolve().name for f in folders)}, "
        f"{first}degraded by {' → '.join(task.degradations)}; {len(pairs)} more held out"
    )
    return Examples(draw, pairs, told, [(photo,) for photo in photos])


def from_pairs(source: Path, held_out: int | None = None) -> Examples:
    """Real pairs of a folder or list (`read_pairs`); those held out as `split` has it."""
    rest, kept = split(read_pairs(source), lambda pair: (photograph(pair.name),), held_out)
    return of_pairs(rest, kept, source.resolve().name)


def of_pairs(pairs: Sequence[Pair], held_out: Sequence[Pair], name: str) -> Examples:
    """These pairs to learn from, those to keep out; `name` says what they are."""
    return Examples(
        lambda rng, patch: pair_crop(pairs, patch, rng),
        held_out,
        f"{len(pairs)} pairs of {name}; {len(held_out)} more held out",
        [(pair.degraded, pair.clean) for pair in pairs],
    )
