"""What a task is learnt from: clean photographs degraded on the way, or real pairs."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from colora.train.degradations import DEGRADATIONS, Image
from colora.train.photos import (
    Pair,
    clean_crop,
    pair_crop,
    picture_files,
    read_pairs,
    read_rgb,
    split,
    to_float,
)
from colora.train.tasks import Task
from numpy.random import Generator


@dataclass(frozen=True)
class Examples:
    """What a task is learnt from."""

    draw: Callable[[Generator, int], tuple[Image, Image]]
    """(rng, patch) → (degraded, clean), patch×patch×3"""
    held_out: Sequence[Pair]
    """kept out of training: for validation and attribution"""
    told: str
    """says what the examples are, for records and for the key of the cache"""


def from_photos(task: Task, folders: Sequence[Path], held_out: int, seed: int) -> Examples:
    """Clean photographs degraded as `task` says, rounded to 8 bits; held out are 256×256 centres of some of them."""
    train, kept = split([f for folder in folders for f in picture_files(folder)], held_out)
    photos = [read_rgb(f) for f in train]

    def degrade(image: Image, rng: Generator) -> Image:
        for name in task.degradations:
            image, _ = DEGRADATIONS[name](image, rng)
        return to_float(np.rint(image * 255).astype(np.uint8))

    def draw(rng: Generator, patch: int) -> tuple[Image, Image]:
        clean = clean_crop(photos, patch, rng)
        return degrade(clean, rng), clean

    pairs = []
    for i, file in enumerate(kept):
        photo = read_rgb(file)
        y, x = (max(0, n - 256) // 2 for n in photo.shape[:2])
        clean = photo[y : y + 256, x : x + 256]
        degraded = degrade(to_float(clean), np.random.default_rng([seed, i]))
        pairs.append(Pair(file.stem, np.rint(degraded * 255).astype(np.uint8), clean))
    source = f"{len(train)} photographs of {', '.join(f.name for f in folders)}"
    return Examples(draw, pairs, f"{source}, degraded by {' → '.join(task.degradations)}")


def from_pairs(folder: Path, held_out: int) -> Examples:
    """Real pairs in `folder`/input and `folder`/target; every n-th is held out."""
    pairs = read_pairs(folder)
    kept = pairs[:: max(2, len(pairs) // held_out)][:held_out] if held_out else []
    rest = [pair for pair in pairs if all(pair is not k for k in kept)]
    return Examples(
        lambda rng, patch: pair_crop(rest, patch, rng), kept, f"{len(rest)} pairs of {folder.name}"
    )
