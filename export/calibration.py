"""Pictures on which precision is measured and int8 calibrated: those that the task's own camera would see.

none given                  the two photographs that come with colora, degraded as the task says (train/tasks.py)
a folder of photographs     clean ones, degraded the same way
                            (fewer than pictures wanted: several windows of each, each with a draw of its own)
a folder with input/ and target/, or a list of pairs      real ones, as they are
"""

from __future__ import annotations

from collections.abc import Sequence
from importlib.resources import files
from pathlib import Path
from typing import TYPE_CHECKING, TypeVar

import numpy as np
from colora.devices.errors import ImageError
from colora.export.parity import BACKBONE
from colora.train.pairs import middle, read_pairs
from colora.train.photos import Pair, picture_files, to_float
from colora.train.tasks import TASKS, Task

if TYPE_CHECKING:
    from colora.export.plan import Plan

Item = TypeVar("Item")

SIDE = 256
"""height and width of what is taken from each picture, around its centre, in pixels"""
SMALLEST = 64
"""pixels: below that, means over the picture and activations at its border are not those of a photograph"""
SHIPPED = "colora.benchmarks.photos"
"""data and no code, named here as text: nothing of colora.benchmarks is imported"""
PICTURES = {"fp16": 2, "int8": 16}
"""precision → most that it is measured on; int8 takes its ranges from every second one and its loss from the others"""
PLACES = ((0.5, 0.5), (0.0, 0.0), (1.0, 1.0), (0.0, 1.0), (1.0, 0.0))
"""where windows of one photograph lie, by turns: 0 is its upper or left edge, 1 its lower or right one"""


def task_pictures(task: str, source: Path | None, count: int, multiple_of: int, seed: int = 0) -> list[Pair]:
    """Up to `count` pairs (degraded, clean), spread evenly over those there are; sides at most SIDE, of `multiple_of`.

    A task of which no degradation is known is shown the photographs as they are, if none are given.
    Raises: ImageError naming file and reason: nothing there, grey, 16 bits, no partner, too small, not degraded.
    """
    if source is not None and (source.is_file() or (source / "input").is_dir()):
        found = read_pairs(source)
        if same := next((p for p in found if np.array_equal(p.degraded, p.clean)), None):
            raise ImageError(
                f"{source}: {same.name}: input and target are the same picture; expected the degraded and the clean "
                "one. To have clean photographs degraded, give a folder of them without input/ and target/"
            )
    elif source is not None and not source.is_dir():
        raise ImageError(
            f"{source}: no such folder or file; expected photographs, or pairs in input/ and target/"
        )
    elif source is not None and task not in TASKS:
        raise ImageError(
            f"{source}: clean photographs, and how task {task!r} degrades them is not known (known: "
            f"{', '.join(sorted(TASKS))}); give pairs: a folder with input/ and target/"
        )
    else:
        found = _degraded(task, source or Path(str(files(SHIPPED))), count, seed)
    for pair in found:
        if min(pair.clean.shape[:2]) < max(SMALLEST, multiple_of):
            height, width = pair.clean.shape[:2]
            raise ImageError(
                f"{source}: {pair.name} has {width}×{height} pixels; expected at least {SMALLEST} a side: leave it out"
            )
    return [_cut(pair, multiple_of) for pair in _spread(found, count)]


def pictures_of(plan: Plan) -> dict[str, list[Pair]]:
    """Network → its `task_pictures`; the backbone is shown those of the first task. Raises: ImageError."""
    multiple = plan.checkpoint.backbone.pad.multiple_of
    names = [task.adapter.task for task in plan.tasks]
    if plan.precision == "int8" and plan.calibrate is None and names[0] not in TASKS:
        raise ImageError(
            f"int8 takes its ranges from pictures that the task will see, and how {names[0]!r} degrades pictures is "
            "not known: give --calibrate with pairs, a folder with input/ and target/"
        )
    found = {name: task_pictures(name, plan.calibrate, PICTURES[plan.precision], multiple) for name in names}
    return {BACKBONE: found[names[0]]} | found


def _degraded(task: str, folder: Path, count: int, seed: int) -> list[Pair]:
    """At least `count` windows of photographs, every photograph once before any twice, degraded as training does it.

    From round to round the photographs come in reverse, so that of two every second window is not of the same one.
    """
    from colora.train.degradations import degrade
    from colora.train.examples import clean_photograph

    photos, found = picture_files(folder), TASKS.get(task, Task(task, "", ()))
    made: list[Pair] = []
    photos = _spread(photos, count)
    for turn in range(-(-count // len(photos))):
        place = PLACES[turn % len(PLACES)]
        for file in photos if turn % 2 == 0 else reversed(photos):
            photo = clean_photograph(file, found)
            (top, height), (left, width) = (
                (round(at * max(0, n - SIDE)), min(SIDE, n))
                for at, n in zip(place, photo.shape[:2], strict=True)
            )
            clean = photo[top : top + height, left : left + width]
            degraded = degrade(to_float(clean), np.random.default_rng([seed, len(made)]), found.degradations)
            made.append(Pair(file.stem, np.rint(degraded * 255).astype(np.uint8), clean))
    return made


def _spread(found: Sequence[Item], count: int) -> list[Item]:
    """At most `count`, evenly over all there are."""
    taken = min(count, len(found))
    return [found[i * len(found) // taken] for i in range(taken)]


def _cut(pair: Pair, multiple_of: int) -> Pair:
    window = middle(pair.clean.shape, SIDE, multiple_of)
    return Pair(pair.name, pair.degraded[window], pair.clean[window])
