"""Clean photographs and pairs on disk → training batches. Every draw is a function of (seed, step): nothing else."""

import hashlib
import re
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

import cv2
import numpy as np
import torch
from colora.devices.errors import ImageError
from colora.runtime.image import read_image
from colora.train.degradations import Image
from colora.train.patches import Stage, stage_at
from numpy.random import Generator
from numpy.typing import NDArray
from torch import Tensor
from torch.utils.data import Dataset

Pixels = NDArray[np.uint8]
T = TypeVar("T")
SUFFIXES = {".jpg", ".jpeg", ".png", ".webp", ".bmp", ".tif", ".tiff"}
PIXELS = r"(?:0|[1-9]\d{0,4}|0\d{3})"
TILE = re.compile(f"(.+)_{PIXELS}_{PIXELS}")
"""<photograph>_<y>_<x>: at most 5 digits, plain or filled up to 4 with zeros; not so cameras' IMG_20240101_123456"""


def picture_files(folder: Path) -> list[Path]:
    """Pictures of `folder` and below, sorted by path; a file is its own. Raises ImageError where there is none."""
    if folder.is_file():
        return [folder]
    files = sorted(p for p in folder.rglob("*") if p.suffix.lower() in SUFFIXES)
    if not files:
        raise ImageError(
            f"{folder}: no pictures found; expected files ending in {', '.join(sorted(SUFFIXES))}"
        )
    return files


def read_rgb(path: Path) -> Pixels:
    """H×W×3 RGB uint8, upright, alpha left out. Raises ImageError where OpenCV can't decode the file, and for grey and
    16-bit ones."""
    try:
        coded = np.fromfile(path, np.uint8)
    except OSError as error:
        raise ImageError(f"{path}: can't be read ({error.strerror}): replace it, or leave it out") from error
    try:
        pixels = cv2.imdecode(coded, cv2.IMREAD_ANYCOLOR | cv2.IMREAD_ANYDEPTH) if coded.size else None
    except cv2.error as error:
        raise ImageError(f"{path}: refused by OpenCV ({error.err}): cut it, or leave it out") from error
    if pixels is None:
        raise ImageError(f"{path}: not a picture that OpenCV can read: replace it, or leave it out")
    if pixels.dtype != np.uint8:
        raise ImageError(f"{path}: {pixels.dtype}; expected 8 bits a channel: convert it, or leave it out")
    if pixels.ndim != 3:
        raise ImageError(f"{path}: grey; expected three channels, RGB: convert it, or leave it out")
    whole = cv2.imdecode(coded, cv2.IMREAD_UNCHANGED) if coded[:2].tobytes() in (b"II", b"MM") else None
    if whole is not None and whole.shape[2:] == (4,):  # OpenCV multiplies a TIFF's alpha into its colours
        return np.ascontiguousarray(read_image(path)[..., :3])
    return np.ascontiguousarray(pixels[..., ::-1])


def photograph(name: str) -> str:
    """Name of the photograph that a tile was cut from, see TILE; any other picture's own."""
    tile = TILE.fullmatch(name)
    return tile[1] if tile else name


def pictures_sha256(pictures: Iterable[Pixels], told: str = "") -> str:
    """Of the pictures' sizes and numbers, in their order, and of `told`."""
    found = hashlib.sha256(told.encode())
    for picture in pictures:
        found.update(repr(picture.shape).encode())
        found.update(picture.tobytes())
    return found.hexdigest()


def keep_out(count: int, held_out: int | None) -> int:
    """How many of `count` pictures to hold out: `held_out`, or where that is None an eighth, at least 1, at most 12."""
    return min(count, min(12, max(1, count // 8)) if held_out is None else held_out)


def spread(found: Sequence[T], count: int) -> list[T]:
    """`count` of `found`: every n-th from the first on; of more than half of them, places as even as can be."""
    step = len(found) // max(1, count)
    return list(found[::step][:count]) if step > 1 else [found[i * len(found) // count] for i in range(count)]


def split(
    found: Sequence[T], photograph_of: Callable[[T], tuple[str, ...]], held_out: int | None
) -> tuple[list[T], list[T]]:
    """(training, validation): `keep_out` photographs, `spread` by name, are kept out with all their tiles, of which the
    first validates. `photograph_of` names the photograph that one of `found` is a tile of."""
    tiles: dict[tuple[str, ...], list[T]] = {}
    for one in found:
        tiles.setdefault(photograph_of(one), []).append(one)
    kept = spread(sorted(tiles), keep_out(len(tiles), held_out))
    return [one for one in found if photograph_of(one) not in kept], [tiles[name][0] for name in kept]


def split_files(files: Sequence[Path], held_out: int | None) -> tuple[list[Path], list[Path]]:
    """`split` of picture files, those held out sorted; files of one name in two folders are two photographs."""
    train, kept = split(files, lambda file: (photograph(file.stem), str(file.parent)), held_out)
    return train, sorted(kept)


@dataclass(frozen=True)
class Pair:
    """A degraded picture and its clean original, both H×W×3 RGB uint8."""

    name: str
    degraded: Pixels
    clean: Pixels


def require_usable(
    pictures: Sequence[Pixels],
    held_out: Iterable[tuple[str, Pixels]],
    told: str,
    stages: Sequence[Stage],
    multiple_of: int,
) -> None:
    """Refuses what can't be trained on; `told` says what the pictures are, and `held_out` are others with their names.

    Raises ImageError for fewer than a batch has patches, for one smaller than a patch, for a held-out one below
    `multiple_of`, and for a patch whose side the network, which takes multiples of that, doesn't take.
    """
    for stage in stages:
        if stage.patch % multiple_of:
            raise ImageError(
                f"a patch of {stage.patch} pixels; expected a multiple of {multiple_of} for this backbone, for example "
                f"{max(1, stage.patch // multiple_of) * multiple_of}"
            )
    batch, patch = (max(numbers) for numbers in zip(*((s.batch, s.patch) for s in stages), strict=True))
    if len(pictures) < batch:
        raise ImageError(
            f"{told}; expected at least {batch} to train on, one for each patch of a batch: "
            "give more, hold out fewer, or take fewer patches in a step"
        )
    smallest = min(min(picture.shape[:2]) for picture in pictures)
    if smallest < patch:
        raise ImageError(
            f"{told}: the smallest side is {smallest} pixels; expected at least the patch of {patch}: "
            "take smaller patches, or leave small pictures out"
        )
    for name, picture in held_out:
        if min(picture.shape[:2]) < multiple_of:
            raise ImageError(f"{name}: a side below {multiple_of} pixels: leave it out")


def to_float(pixels: Pixels) -> Image:
    return pixels.astype(np.float32) / np.float32(255)


def turned(image: NDArray[np.float32], turn: int) -> NDArray[np.float32]:
    """One of 8 orientations, 0-7."""
    quarter = np.rot90(image, turn % 4)
    return quarter[:, ::-1] if turn >= 4 else quarter


def corner(shape: tuple[int, ...], size: int, rng: Generator) -> tuple[int, int]:
    """Where a random size×size crop begins: (y, x)."""
    return int(rng.integers(shape[0] - size + 1)), int(rng.integers(shape[1] - size + 1))


def clean_crop(photos: Sequence[Pixels], size: int, rng: Generator) -> Image:
    """Random size×size crop of a random photo, shrunk by up to 2, in one of 8 orientations, float32 in [0, 1]."""
    pixels = photos[int(rng.integers(len(photos)))]
    span = min(int(size * rng.uniform(1.0, 2.0)), *pixels.shape[:2]) if rng.random() < 0.5 else size
    y, x = corner(pixels.shape, span, rng)
    crop = to_float(pixels[y : y + span, x : x + span])
    if span != size:
        crop = np.asarray(cv2.resize(crop, (size, size), interpolation=cv2.INTER_AREA), np.float32)
    return turned(crop, int(rng.integers(8)))


def pair_crop(pairs: Sequence[Pair], size: int, rng: Generator) -> tuple[Image, Image]:
    """Random aligned crop (degraded, clean) of a random pair in one of 8 orientations."""
    pair = pairs[int(rng.integers(len(pairs)))]
    y, x = corner(pair.clean.shape, size, rng)
    turn = int(rng.integers(8))
    window = (slice(y, y + size), slice(x, x + size))
    return turned(to_float(pair.degraded[window]), turn), turned(to_float(pair.clean[window]), turn)


def to_tensor(images: Iterable[NDArray[np.float32]]) -> Tensor:
    """H×W×3 arrays of one size → (N, 3, H, W) float32."""
    return torch.from_numpy(np.ascontiguousarray(np.stack(list(images)).transpose(0, 3, 1, 2)))


class Batches(Dataset[tuple[Tensor, Tensor]]):
    """`Batches[step]` → (degraded, clean), both (batch, 3, patch, patch) float32, the same whenever it is asked for.

    `draw(rng, patch)` makes one (degraded, clean) patch; item i of step s uses the generator seeded [seed, s, i].
    `stages` say for each of the `steps` how large and how many. Process `rank` of `world` makes its items only.
    """

    def __init__(
        self,
        draw: Callable[[Generator, int], tuple[Image, Image]],
        stages: Sequence[Stage],
        steps: int,
        seed: int,
        rank: int = 0,
        world: int = 1,
    ) -> None:
        self.draw, self.stages, self.steps, self.seed = draw, stages, steps, seed
        self.rank, self.world = rank, world

    def stage(self, step: int) -> Stage:
        """What is drawn at `step`, by all processes together."""
        return stage_at(self.stages, step, self.steps)

    def part(self, rank: int, world: int) -> "Batches":
        """The share of process `rank` of `world`: equally many items of every batch.

        Raises ValueError where a batch can't be divided equally.
        """
        for stage in self.stages:
            if stage.batch % world:
                raise ValueError(
                    f"a batch of {stage.batch} can't be shared by {world} processes: take a multiple"
                )
        return Batches(self.draw, self.stages, self.steps, self.seed, rank, world)

    def __getitem__(self, step: int) -> tuple[Tensor, Tensor]:
        cv2.setNumThreads(0)
        stage = self.stage(step)
        items = range(self.rank, stage.batch, self.world)
        patches = [self.draw(np.random.default_rng([self.seed, step, i]), stage.patch) for i in items]
        degraded, clean = zip(*patches, strict=True)
        return to_tensor(degraded), to_tensor(clean)
