"""Pictures on which precision is measured and int8 calibrated: those that the task's own camera would see.

none given                  the two photographs that come with colora, degraded as the task says (train/tasks.py)
a folder of photographs     clean ones, degraded the same way
a folder with input/ and target/, or a list of pairs      real ones, as they are
"""

from __future__ import annotations

from importlib.resources import files
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from colora.devices.errors import ImageError
from colora.export.parity import BACKBONE
from colora.train.pairs import middle, read_pairs
from colora.train.photos import Pair
from colora.train.tasks import TASKS, Task

if TYPE_CHECKING:
    from colora.export.plan import Plan

SIDE = 256
"""height and width of what is taken from each picture, around its centre, in pixels"""
SMALLEST = 64
"""pixels: below that, means over the picture and activations at its border are not those of a photograph"""
SHIPPED = "colora.benchmarks.photos"
"""data and no code, named here as text: nothing of colora.benchmarks is imported"""
EVERY = 1_000_000
PICTURES = 8
"""most that precision is measured on"""


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
        found = _degraded(task, source or Path(str(files(SHIPPED))), seed)
    for pair in found:
        if min(pair.clean.shape[:2]) < max(SMALLEST, multiple_of):
            height, width = pair.clean.shape[:2]
            raise ImageError(
                f"{source}: {pair.name} has {width}×{height} pixels; expected at least {SMALLEST} a side: leave it out"
            )
    step = max(1, len(found) // count)
    return [_cut(pair, multiple_of) for pair in found[::step][:count]]


def pictures_of(plan: Plan) -> dict[str, list[Pair]]:
    """Network → its `task_pictures`; the backbone is shown those of the first task. Raises: ImageError."""
    multiple = plan.checkpoint.backbone.pad.multiple_of
    names = [task.adapter.task for task in plan.tasks]
    if plan.precision == "int8" and plan.calibrate is None and names[0] not in TASKS:
        raise ImageError(
            f"int8 takes its ranges from pictures that the task will see, and how {names[0]!r} degrades pictures is "
            "not known: give --calibrate with pairs, a folder with input/ and target/"
        )
    found = {name: task_pictures(name, plan.calibrate, PICTURES, multiple) for name in names}
    return {BACKBONE: found[names[0]]} | found


def _degraded(task: str, folder: Path, seed: int) -> list[Pair]:
    """Every photograph of a folder, its degraded picture as training would have made it."""
    from colora.train.examples import from_photos

    return list(from_photos(TASKS.get(task, Task(task, "", ())), [folder], EVERY, seed).held_out)


def _cut(pair: Pair, multiple_of: int) -> Pair:
    window = middle(pair.clean.shape, SIDE, multiple_of)
    return Pair(pair.name, pair.degraded[window], pair.clean[window])
