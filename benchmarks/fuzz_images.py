"""Damaged picture files: each must be refused naming the file, or read as trusted decoders read the same bytes.

A file cut short must be refused or give the whole picture; one whose checksums are wrong (PNG) must be refused.
"""

import io
import struct
import zlib
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import numpy as np
from colora.benchmarks.fuzz_bytes import Rng, damage
from colora.benchmarks.fuzz_verdict import Finding, Verdict, judged
from colora.devices.errors import ImageError
from colora.runtime.bands import TiffRows
from colora.runtime.image import MAX_PIXELS, read_image, to_dtype
from colora.runtime.weights import Array

HEIGHT, WIDTH = 37, 53
JPEG_LEVELS = 2
"""of 255: how far two JPEG decoders may differ where they round differently"""
ORIENTATION = 0x0112


class ImageCases:
    """Cases over every kind of file. whole: not used; folder: for the damaged files."""

    def __init__(self, whole: Path, folder: Path, seed: int) -> None:
        self.folder, self.seed = folder, seed
        self.files = dict(make_files(seed))
        folder.mkdir(parents=True, exist_ok=True)
        self.pictures: dict[str, Array | None] = {}
        for name, data in self.files.items():
            self.pictures[name] = self._read(name, data, read_image)[0]

    def run(self, number: int) -> Verdict:
        rng = np.random.default_rng((self.seed, number))
        name = str(rng.choice(list(self.files)))
        data, done = damage(self.files[name], rng)
        if rng.random() < 0.05:
            other = str(rng.choice(list(self.files)))
            cut = int(rng.integers(min(len(data), 400)))
            data, done = data[:cut] + self.files[other][cut:], f"spliced with {other}"
        if rng.random() < 0.1 and name.endswith("png"):
            data, done = giant_png(data, rng), "giant size with a right checksum"
        short = done == "truncate"
        return judged(
            name.rpartition(".")[2], lambda: f"{name} {done}", lambda: self.judge(name, data, short)
        )

    def judge(self, name: str, data: bytes, short: bool) -> str:
        """The class of the error that refused it, or nothing. Raises: Finding."""
        found, refused = self._read(name, data, read_image)
        if name.endswith("tif"):
            self._compare(name, data, short, self._read(name, data, read_bands)[0])
        self._compare(name, data, short, found)
        return refused

    def _compare(self, name: str, data: bytes, short: bool, found: Array | None) -> None:
        """Pixels, if there are any, with what they must be. Raises: Finding."""
        if found is None:
            return
        whole = self.pictures[name]
        if short and not (whole is not None and np.array_equal(found, whole)):
            raise Finding("cut short, and accepted with other pixels")
        if data.startswith(b"\x89PNG") and not sound_png(data):
            if whole is not None and np.array_equal(found, whole):
                return  # what is damaged is no part of the picture
            raise Finding("its checksums are wrong, and it was accepted with other pixels")
        trusted = list(decoded(data))
        if not any(same(found, picture) for picture in trusted):
            shapes = [(p.dtype.name, p.shape) for p in trusted]
            raise Finding(f"read as {found.dtype} {found.shape}; trusted decoders give {shapes}")

    def _read(self, name: str, data: bytes, read: Callable[[Path], Array]) -> tuple[Array | None, str]:
        """Pixels, or the class of the error. Raises: Finding for an error that does not name the file."""
        file = self.folder / name
        file.write_bytes(data)
        try:
            return read(file), ""
        except ImageError as e:
            if str(file) not in str(e):
                raise Finding(f"the error names no file: {e}") from e
            return None, type(e).__name__


def read_bands(file: Path) -> Array:
    """A TIFF picture as `restore_bands` reads it, some rows at a time. Raises: ImageError."""
    import tifffile

    try:
        opened = tifffile.TiffFile(file)
    except Exception as e:
        raise ImageError(f"{file} can't be read as TIFF: {e}") from e
    with opened:
        rows = TiffRows(opened)
        if rows.shape[0] * rows.shape[1] > MAX_PIXELS:
            raise ImageError(f"{file} is larger than is looked at here")
        return np.concatenate([rows[y : min(y + 16, rows.shape[0])] for y in range(0, rows.shape[0], 16)])


def make_files(seed: int) -> Iterator[tuple[str, bytes]]:
    """Name and bytes of a file of every kind that cameras and programs write."""
    import cv2
    import tifffile
    from PIL import Image

    rng = np.random.default_rng(seed)
    y, x, c = np.meshgrid(np.arange(HEIGHT), np.arange(WIDTH), np.arange(3), indexing="ij")
    smooth = 128 + 60 * np.sin(x / 9 + c) + 50 * np.cos(y / 7) + rng.normal(0, 4, x.shape)
    rgb = np.clip(smooth, 0, 255).astype(np.uint8)
    deep = rgb.astype(np.uint16) * 257 + rng.integers(0, 99, rgb.shape, dtype=np.uint16)
    colour, clear = Image.fromarray(rgb), Image.fromarray(np.dstack([rgb, rgb[::-1, :, 0]]))
    turned = Image.Exif()
    turned[ORIENTATION] = 6

    def saved(picture: Any, kind: str, **options: Any) -> bytes:
        file = io.BytesIO()
        picture.save(file, kind, **options)
        return file.getvalue()

    yield "plain.jpg", saved(colour, "JPEG", quality=90)
    yield "progressive.jpg", saved(colour, "JPEG", quality=80, progressive=True)
    yield "grey.jpg", saved(colour.convert("L"), "JPEG")
    yield "cmyk.jpg", saved(colour.convert("CMYK"), "JPEG")
    yield "turned.jpg", saved(colour, "JPEG", exif=turned)
    yield "plain.png", saved(colour, "PNG")
    yield "palette.png", saved(colour.quantize(64), "PNG")
    yield "clear.png", saved(clear, "PNG")
    yield "clear_grey.png", saved(clear.convert("LA"), "PNG")
    yield "clear_deep.png", cv2.imencode(".png", np.dstack([deep, deep[::-1, :, 0]]))[1].tobytes()
    yield "bits.png", saved(colour.convert("1"), "PNG")
    yield "turned.png", saved(colour, "PNG", exif=turned)
    yield "grey16.png", saved(Image.fromarray(deep[..., 0]), "PNG")
    yield "deep.png", cv2.imencode(".png", deep)[1].tobytes()
    yield "animated.png", saved(colour, "PNG", save_all=True, append_images=[colour.rotate(180)])
    yield "lossy.webp", saved(colour, "WEBP", quality=80)
    yield "lossless.webp", saved(colour, "WEBP", lossless=True)
    yield "clear.webp", saved(clear, "WEBP", lossless=True, exact=True)
    yield (
        "animated.webp",
        saved(colour, "WEBP", save_all=True, append_images=[colour.rotate(180)], lossless=True),
    )
    yield "plain.bmp", saved(colour, "BMP")
    yield "palette.gif", saved(colour.quantize(32), "GIF")
    for compression in ("raw", "tiff_lzw", "tiff_adobe_deflate", "jpeg", "packbits"):
        yield f"{compression}.tif", saved(colour, "TIFF", compression=compression)
    yield "clear.tif", saved(clear, "TIFF", compression="tiff_lzw")
    for name, options in (
        ("deep", {}),
        ("tiles", {"tile": (16, 16)}),
        ("planes", {"planarconfig": "separate"}),
    ):
        file = io.BytesIO()
        levels = np.moveaxis(deep, 2, 0) if name == "planes" else deep
        tifffile.imwrite(file, levels, photometric="rgb", **options)
        yield f"{name}.tif", file.getvalue()


def decoded(data: bytes) -> Iterator[Array]:
    """What others make of a file, with alpha and without: OpenCV, tifffile, and Pillow by its plainest calls."""
    import cv2
    import tifffile
    from PIL import Image, ImageOps

    for flags in (cv2.IMREAD_COLOR, cv2.IMREAD_COLOR | cv2.IMREAD_ANYDEPTH, cv2.IMREAD_UNCHANGED):
        try:
            levels = cv2.imdecode(np.frombuffer(data, np.uint8), flags)
        except cv2.error:
            levels = None
        if levels is not None and levels.ndim == 3:
            yield levels[:, :, [2, 1, 0, 3][: levels.shape[2]]]
    if data[:2] in (b"II", b"MM"):
        with suppress(Exception):  # a decoder that refuses gives nothing
            levels = channels_last(np.asarray(tifffile.imread(io.BytesIO(data), key=0)))
            yield from (levels, levels[:, :, :3])
    with suppress(Exception), Image.open(io.BytesIO(data)) as picture:
        if picture.width * picture.height <= MAX_PIXELS:
            upright = ImageOps.exif_transpose(picture)
            yield from (np.asarray(upright.convert("RGB")), np.asarray(upright.convert("RGBA")))


def channels_last(levels: Array) -> Array:
    """H×W×3 or H×W×4 of grey, planes first, or colour, with alpha or without."""
    if levels.ndim == 3 and levels.shape[0] in (3, 4) < levels.shape[2:]:
        levels = np.moveaxis(levels, 0, 2)
    levels = levels[:, :, None] if levels.ndim == 2 else levels
    return np.repeat(levels, (3, 1)[: levels.shape[2]], axis=2) if levels.shape[2] < 3 else levels


def same(found: Array, trusted: Array) -> bool:
    """Equal but for the rounding of JPEG decoders; 16 bits are compared as 8 where the other has 8."""
    if found.shape != trusted.shape:
        return False
    if found.dtype != trusted.dtype:
        if np.uint8 not in (found.dtype, trusted.dtype):
            return False
        found, trusted = to_dtype(found, np.uint8), to_dtype(trusted, np.uint8)
    return int(np.abs(found.astype(np.int64) - trusted).max()) <= JPEG_LEVELS


def sound_png(data: bytes) -> bool:
    """Whether every chunk up to the end is whole and has its checksum."""
    at = 8
    while at + 12 <= len(data):
        (length,), kind = struct.unpack(">I", data[at : at + 4]), data[at + 4 : at + 8]
        body, check = data[at + 4 : at + 8 + length], data[at + 8 + length : at + 12 + length]
        if len(check) < 4 or zlib.crc32(body) != int.from_bytes(check, "big"):
            return False
        if kind == b"IEND":
            return True
        at += 12 + length
    return False


def giant_png(data: bytes, rng: Rng) -> bytes:
    """The same with a header that declares up to 2³¹ pixels a side, and a right checksum."""
    sides = [int(2 ** rng.uniform(8, 31)) for _ in range(2)]
    header = b"IHDR" + struct.pack(">II", *sides) + data[24:29]
    return data[:12] + header + zlib.crc32(header).to_bytes(4, "big") + data[33:]
