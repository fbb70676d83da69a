"""Pictures for the experiments: which photographs serve what, and a few pairs of any task.

Photographs are split once and for all, so that no picture serves two ends: to pre-train, to adapt, to validate (and to
attribute), to test. A pair of a synthetic task is a 256×256 centre, degraded once: a task has as many pairs as it has
pictures, as it would with a camera.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import lru_cache, partial
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from colora.devices.errors import ImageError

if TYPE_CHECKING:
    from colora.train.camera import Image
    from colora.train.examples import Examples
    from colora.train.photos import Pair
    from numpy.random import Generator

SIDE = 256
REAL = "lowlight_lol"
"""the task of real pairs"""
VALIDATE, TEST = 4, 12


@dataclass(frozen=True)
class Sources:
    """Files, and folders of real pairs (None: the real task can't be run)."""

    pretrain: tuple[Path, ...]
    adapt: tuple[Path, ...]
    validate: tuple[Path, ...]
    test: tuple[Path, ...]
    real_train: Path | None = None
    real_test: Path | None = None


def split_photos(
    folders: Sequence[Path], adapt: int, real_train: Path | None, real_test: Path | None
) -> Sources:
    """Splits by photograph, in an order that a fixed seed shuffles: test, validation, `adapt` tiles, pre-training.

    Raises ImageError where nothing is left to pre-train on.
    """
    from colora.train.photos import photograph, picture_files

    tiles: dict[str, list[Path]] = {}
    for file in (file for folder in folders for file in picture_files(folder)):
        tiles.setdefault(photograph(file.stem), []).append(file)
    names = [str(name) for name in np.random.default_rng(0).permutation(sorted(tiles))]
    test, validate = (
        (tiles[name][0] for name in names[:TEST]),
        (tiles[name][0] for name in names[TEST:][:VALIDATE]),
    )
    rest = names[TEST + VALIDATE :]
    few: list[Path] = []
    while rest and len(few) < adapt:
        few += tiles[rest.pop(0)]
    large = [file for name in rest for file in tiles[name]]
    if not large:
        raise ImageError(
            f"{len(names)} photographs; expected more than {TEST} to test, {VALIDATE} to validate and {adapt} tiles to "
            "adapt: give more folders of clean pictures"
        )
    return Sources(tuple(large), tuple(few[:adapt]), tuple(validate), tuple(test), real_train, real_test)


def super_resolution(image: "Image", rng: "Generator") -> "Image":
    """Half the size by 2×2 means, enlarged again bicubically: what ×2 super-resolution gets."""
    import cv2

    height, width = image.shape[:2]
    half = cv2.resize(image, (width // 2, height // 2), interpolation=cv2.INTER_AREA)
    return np.clip(cv2.resize(half, (width, height), interpolation=cv2.INTER_CUBIC), 0, 1).astype(np.float32)


def spoiler(task: str) -> "Callable[[Image, Generator], Image]":
    """What spoils a synthetic task's pictures: "x2" or names in DEGRADATIONS joined by "+"."""
    from colora.train.degradations import degrade
    from colora.train.examples import task_of

    if task == "x2":
        return super_resolution
    return lambda image, rng: degrade(image, rng, task_of("own", task).degradations)


def centre(pair: "Pair", side: int = SIDE) -> "Pair":
    """The middle of a pair, at most side×side."""
    from colora.train.photos import Pair

    y, x = (max(0, n - side) // 2 for n in pair.clean.shape[:2])
    window = (slice(y, y + side), slice(x, x + side))
    return Pair(pair.name, pair.degraded[window], pair.clean[window])


def spoilt(file: Path, task: str, seed: Sequence[int]) -> "Pair":
    """The middle of a photograph with what `task` makes of it, in 8 bits."""
    from colora.train.photos import Pair, read_rgb, to_float

    photo = read_rgb(file)
    clean = centre(Pair(file.stem, photo, photo)).clean
    degraded = spoiler(task)(to_float(clean), np.random.default_rng(seed))
    return Pair(file.stem, np.rint(degraded * 255).astype(np.uint8), clean)


@lru_cache(maxsize=1)  # runs of other methods, one after the other, learn from the same
def few_pairs(sources: Sources, task: str, count: int, seed: int) -> "tuple[Examples, list[Pair]]":
    """(`count` pairs to adapt to, others held out; pairs to test on). The first two depend on the seed, tests do not.

    Raises ImageError for fewer pairs than `count`, and for a real task without its folders.
    """
    from colora.train.examples import of_pairs
    from colora.train.pairs import read_pairs

    if task == REAL:
        if not sources.real_train or not sources.real_test:
            raise ImageError(f"the task {task} needs its pairs: give --real-train and --real-test")
        every = [centre(pair) for pair in read_pairs(sources.real_train)]
        others = [centre(pair) for pair in read_pairs(sources.real_test)]
        validate, test = others[:VALIDATE], others[VALIDATE : VALIDATE + TEST]
        order = np.random.default_rng(seed).permutation(len(every))[:count]
        pairs = [every[i] for i in order]
    else:
        made = partial(spoilt, task=task)
        order = np.random.default_rng(seed).permutation(len(sources.adapt))[:count]
        pairs = [made(sources.adapt[i], seed=[seed, 0, int(i)]) for i in order]
        validate = [made(file, seed=[0, 1, i]) for i, file in enumerate(sources.validate)]
        test = [made(file, seed=[0, 2, i]) for i, file in enumerate(sources.test)]
    if len(pairs) < count:
        raise ImageError(f"{len(pairs)} pairs of {task} to adapt to; expected {count}: give more pictures")
    return of_pairs(pairs, validate, task), test
