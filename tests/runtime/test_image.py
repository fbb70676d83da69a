"""Pictures: what comes in, what goes out, what is refused."""

import io
import struct
import zlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from colora.devices.errors import ImageError
from colora.runtime.image import as_image, read_image, to_dtype, write_image

Image = pytest.importorskip("PIL.Image")

RGB = np.arange(5 * 4 * 3, dtype=np.uint8).reshape(5, 4, 3)


def test_paths_pillow_and_arrays_agree(tmp_path: Path) -> None:
    Image.fromarray(RGB).save(tmp_path / "a.png")
    for given in (RGB, tmp_path / "a.png", str(tmp_path / "a.png"), Image.fromarray(RGB)):
        assert np.array_equal(as_image(given), RGB)
        assert as_image(given).dtype == np.uint8


def test_grey_is_repeated_and_opaque_alpha_dropped() -> None:
    assert np.array_equal(as_image(RGB[:, :, 0]), np.stack([RGB[:, :, 0]] * 3, axis=2))
    assert as_image(RGB[:, :, :1]).shape == RGB.shape
    opaque = np.dstack([RGB, np.full(RGB.shape[:2], 255, np.uint8)])
    assert np.array_equal(as_image(opaque), RGB)
    assert np.array_equal(as_image(Image.fromarray(opaque)), RGB)
    for mode in ("L", "P", "CMYK", "1"):
        assert as_image(Image.fromarray(RGB).convert(mode)).shape == RGB.shape


@pytest.mark.parametrize(
    ("image", "message"),
    [
        (np.zeros((4, 4, 2), np.uint8), r"shape \(4, 4, 2\); expected H×W×3"),
        (np.zeros((1, 4, 4, 3), np.uint8), r"shape \(1, 4, 4, 3\); expected H×W×3"),
        (np.zeros((0, 4, 3), np.uint8), r"shape \(0, 4, 3\) has no pixels"),
        (np.zeros((4, 4, 3), np.uint16), r"has 16 bits: pass \(image / 65535\)"),
        (np.zeros((4, 4, 3)), r"is float64; expected uint8, or float32"),
        (np.full((4, 4, 3), np.nan, np.float32), "holds NaN or infinite values"),
        (np.full((4, 4, 3), 200, np.float32), r"spans \[200, 200\]; expected float32 in \[0, 1\]: divide"),
        (np.zeros((4, 4, 4), np.uint8), "has a transparent alpha channel"),
        ([[1, 2]], "image is list; expected an array, a path or a PIL.Image"),
        (Image.new("I;16", (4, 4)), r"has 16 or 32 bits a channel \(mode I;16\)"),
        (Image.new("RGBA", (4, 4), (1, 2, 3, 4)), "has a transparent alpha channel"),
    ],
)
def test_what_cannot_be_used_is_refused(image: Any, message: str) -> None:
    with pytest.raises(ImageError, match=message):
        as_image(image)


def test_exif_orientation_is_applied(tmp_path: Path) -> None:
    turned = Image.fromarray(RGB)
    exif = turned.getexif()
    exif[0x0112] = 6  # show rotated by 90° clockwise
    turned.save(tmp_path / "turned.png", exif=exif)
    assert np.array_equal(read_image(tmp_path / "turned.png"), np.rot90(RGB, -1))


def png_claiming(width: int, height: int, bits: int = 8, colour_type: int = 2, rows: bytes = b"") -> bytes:
    header = struct.pack(">IIBBBBB", width, height, bits, colour_type, 0, 0, 0)
    chunks = [(b"IHDR", header), (b"IDAT", zlib.compress(rows)), (b"IEND", b"")]
    body = b"".join(
        struct.pack(">I", len(d)) + t + d + struct.pack(">I", zlib.crc32(t + d)) for t, d in chunks
    )
    return b"\x89PNG\r\n\x1a\n" + body


def saved(picture: Any, **options: Any) -> bytes:
    stream = io.BytesIO()
    picture.save(stream, **options)
    return stream.getvalue()


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: b"", "can't be read as a picture"),
        (lambda: b"not a picture", "can't be read as a picture"),
        (lambda: saved(Image.effect_noise((64, 64), 50), format="JPEG")[:-300], "can't be read as a picture"),
        (lambda: saved(Image.fromarray(RGB), format="PNG")[:-40], "can't be read as a picture"),
        (lambda: png_claiming(9000, 9000), "has 9000×9000 pixels, more than 80000000"),
        (lambda: png_claiming(9700, 9700), "9700|exceeds limit"),
        (lambda: png_claiming(60000, 60000), "exceeds limit"),
        (lambda: saved(Image.new("I;16", (4, 4)), format="PNG"), "16 or 32 bits a channel"),
        (lambda: png_claiming(4, 4, 16, 2, bytes(4 * 25)), r"16 or 32 bits a channel \(mode RGB;16\)"),
        (lambda: png_claiming(4, 4, 16, 6, bytes(4 * 33)), r"16 or 32 bits a channel \(mode RGBA;16\)"),
    ],
)
def test_bad_files_are_refused_by_name(make: Callable[[], bytes], message: str, tmp_path: Path) -> None:
    (tmp_path / "bad.png").write_bytes(make())
    with pytest.raises(ImageError, match=rf"bad\.png.*({message})"):
        read_image(tmp_path / "bad.png")


def test_missing_files_and_folders_are_refused(tmp_path: Path) -> None:
    with pytest.raises(ImageError, match=r"none\.png: no such file"):
        read_image(tmp_path / "none.png")
    with pytest.raises(ImageError, match="no such file"):
        read_image(tmp_path)


def test_writing_rounds_and_round_trips(tmp_path: Path) -> None:
    write_image(tmp_path / "a.png", RGB)
    assert np.array_equal(read_image(tmp_path / "a.png"), RGB)
    write_image(tmp_path / "b.PNG", to_dtype(RGB, np.float32))
    assert np.array_equal(read_image(tmp_path / "b.PNG"), RGB)
    assert sorted(f.name for f in tmp_path.iterdir()) == ["a.png", "b.PNG"]


def test_a_suffix_nobody_writes_is_refused(tmp_path: Path) -> None:
    for name in ("a.gif", "a", "a.pdf"):
        with pytest.raises(ImageError, match=r"can't write .*; expected one of \.png"):
            write_image(tmp_path / name, RGB)
    with pytest.raises(ImageError, match="was not written"):
        write_image(tmp_path / "no" / "a.png", RGB)


def test_every_level_survives_float_and_back() -> None:
    levels = np.arange(256, dtype=np.uint8).reshape(1, 256, 1).repeat(3, axis=2)
    assert np.array_equal(to_dtype(to_dtype(levels, np.float32), np.uint8), levels)
    wild = np.array([[[-1.0, 0.5, 7.0]]], np.float32)
    assert to_dtype(wild, np.uint8).tolist() == [[[0, 128, 255]]]
    assert to_dtype(wild, np.float32).tolist() == [[[0.0, 0.5, 1.0]]]
