"""Pictures: what comes in, what goes out, what is refused."""

import io
import struct
import subprocess
import sys
import zlib
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from colora.devices.errors import ImageError
from colora.runtime.image import WHITE, as_image, read_image, to_dtype, write_image

Image = pytest.importorskip("PIL.Image")

GREY = (np.arange(20, dtype=np.uint16) * 3277).reshape(5, 4)
RGB = np.arange(5 * 4 * 3, dtype=np.uint8).reshape(5, 4, 3)


def test_paths_pillow_and_arrays_agree(tmp_path: Path) -> None:
    Image.fromarray(RGB).save(tmp_path / "a.png")
    for given in (RGB, tmp_path / "a.png", str(tmp_path / "a.png"), Image.fromarray(RGB)):
        assert np.array_equal(as_image(given), RGB)
        assert as_image(given).dtype == np.uint8


def test_grey_is_repeated_and_alpha_kept() -> None:
    assert np.array_equal(as_image(RGB[:, :, 0]), np.stack([RGB[:, :, 0]] * 3, axis=2))
    assert as_image(RGB[:, :, :1]).shape == RGB.shape
    clear = np.dstack([RGB, RGB[:, :, 0]])
    for given in (clear, Image.fromarray(clear)):
        assert np.array_equal(as_image(given), clear)
    for given in (clear[:, :, 2:], Image.fromarray(clear[:, :, 2:])):  # grey and alpha
        assert np.array_equal(as_image(given), clear[:, :, [2, 2, 2, 3]])
    for mode in ("L", "P", "CMYK", "1"):
        assert as_image(Image.fromarray(RGB).convert(mode)).shape == RGB.shape


@pytest.mark.parametrize(
    ("image", "message"),
    [
        (
            np.zeros((4, 4, 5), np.uint8),
            r"shape \(4, 4, 5\); expected H×W×3 .*, or a channel more with alpha",
        ),
        (np.zeros((1, 4, 4, 3), np.uint8), r"shape \(1, 4, 4, 3\); expected H×W×3"),
        (np.zeros((0, 4, 3), np.uint8), r"shape \(0, 4, 3\) has no pixels"),
        (np.zeros((4, 4, 3)), r"is float64; expected uint8, uint16, or float16 or float32 in \[0, 1\]"),
        (np.zeros((4, 4, 3), np.int16), r"is int16; expected uint8, uint16"),
        (np.zeros((4, 4, 3), ">u2"), r"is >u2; expected uint8, uint16"),
        (np.full((4, 4, 3), 2, np.float16), r"spans \[2, 2\]; expected float16 in \[0, 1\]"),
        (np.full((4, 4, 3), np.nan, np.float32), "holds NaN or infinite values"),
        (np.full((4, 4, 3), 200, np.float32), r"spans \[200, 200\]; expected float32 in \[0, 1\]: divide"),
        (np.full((4, 4, 4), 2, np.float32), r"spans \[2, 2\]; expected float32 in \[0, 1\]: divide"),
        ([[1, 2]], "image is list; expected an array, a path or a PIL.Image"),
        (Image.new("I", (4, 4)), r"has 16 or 32 bits a channel \(mode I\)"),
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


@pytest.mark.parametrize("compression", ["raw", "tiff_lzw"])
def test_tiff_is_turned_as_it_says(compression: str, tmp_path: Path) -> None:
    """Raw data, opened by its name, Pillow maps, and scrambles what is turned by 90°."""
    for stored in (RGB[:, :, 0], GREY, np.dstack([RGB, RGB[:, :, 0]])):
        turns = (stored, stored[:, ::-1], stored[::-1, ::-1], stored[::-1])
        turns += tuple(np.rot90(stored, k)[::flip] for k, flip in ((1, -1), (3, 1), (3, -1), (1, 1)))
        for orientation, upright in enumerate(turns, 1):
            tags = {"tiffinfo": {274: orientation}, "compression": compression}
            Image.fromarray(stored).save(tmp_path / "a.tif", **tags)
            assert np.array_equal(read_image(tmp_path / "a.tif"), as_image(upright)), orientation


def test_a_file_that_is_truncated_while_it_is_read_does_not_end_the_process(tmp_path: Path) -> None:
    """A mapped one does, by SIGBUS."""
    Image.new("RGBA", (500, 500)).save(tmp_path / "a.tif")
    code = (
        "import os, sys\nfrom colora.runtime import image\n"
        "def loaded(picture):\n    picture.load()\n    os.truncate(sys.argv[1], 100)\n    return ''\n"
        "image.deep_mode = loaded\nprint(image.read_image(sys.argv[1]).shape)"
    )
    run = subprocess.run([sys.executable, "-c", code, tmp_path / "a.tif"], capture_output=True, text=True)
    assert (run.returncode, run.stdout) == (0, "(500, 500, 4)\n"), run.stderr


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
        (lambda: b"not a picture", "can't be read as a picture: of a kind unknown to Pillow, or damaged$"),
        (lambda: saved(Image.effect_noise((64, 64), 50), format="JPEG")[:-300], "can't be read as a picture"),
        (lambda: saved(Image.fromarray(RGB), format="PNG")[:-40], "can't be read as a picture"),
        (lambda: png_claiming(9000, 9000), "has 9000×9000 pixels, more than 80000000"),
        (lambda: png_claiming(9700, 9700), "9700|exceeds limit"),
        (lambda: png_claiming(60000, 60000), "exceeds limit"),
        (lambda: saved(Image.new("I", (4, 4)), format="TIFF"), r"16 or 32 bits a channel \(mode I\)"),
        (lambda: saved(Image.fromarray(GREY), format="TIFF", tiffinfo={262: 0}), "stores white as 0"),
        (lambda: saved(Image.fromarray(GREY), format="PNG")[:-40], "can't be read as a picture"),
    ],
)
def test_bad_files_are_refused_by_name(make: Callable[[], bytes], message: str, tmp_path: Path) -> None:
    (tmp_path / "bad.png").write_bytes(make())
    with pytest.raises(ImageError, match=rf"bad\.png.*({message})"):
        read_image(tmp_path / "bad.png")


def test_a_png_with_a_wrong_checksum_is_refused(tmp_path: Path) -> None:
    """Found by benchmarks.fuzz: Pillow decodes rows whose checksum is wrong, to other pixels, without a word."""
    whole = saved(Image.fromarray(RGB), format="PNG", compress_level=0)
    at = whole.index(b"IDAT") + 20
    (tmp_path / "bad.png").write_bytes(whole[:at] + bytes([whole[at] ^ 1]) + whole[at + 1 :])
    with Image.open(tmp_path / "bad.png") as opened, suppress(OSError):
        assert not np.array_equal(np.asarray(opened), RGB)
    with pytest.raises(ImageError, match=r"bad\.png can't be read as a picture"):
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


def test_a_side_longer_than_a_format_holds_is_refused(tmp_path: Path) -> None:
    for name, longest in (("a.webp", 16383), ("a.jpg", 65500)):
        write_image(tmp_path / name, np.zeros((1, longest, 3), np.uint8))
        assert read_image(tmp_path / name).shape == (1, longest, 3)
        with pytest.raises(
            ImageError, match=rf"holds {longest} pixels a side, .*{longest + 1}×1; expected one of \.png, "
        ):
            write_image(tmp_path / name, np.zeros((1, longest + 1, 3), np.uint8))


@pytest.mark.parametrize("suffix", [".png", ".tif"])
def test_16_bit_grey_files(suffix: str, tmp_path: Path) -> None:
    Image.fromarray(GREY).save(tmp_path / f"a{suffix}")
    got = read_image(tmp_path / f"a{suffix}")
    assert got.dtype == np.uint16
    assert np.array_equal(got, np.stack([GREY] * 3, axis=2))
    assert np.array_equal(as_image(Image.fromarray(GREY)), got)
    write_image(tmp_path / f"b{suffix.upper()}", got)
    with Image.open(tmp_path / f"b{suffix.upper()}") as written:
        assert np.array_equal(np.asarray(written), GREY)


def test_16_bit_grey_is_turned_as_exif_says(tmp_path: Path) -> None:
    turned = Image.fromarray(GREY)
    exif = turned.getexif()
    exif[0x0112] = 6
    turned.save(tmp_path / "turned.png", exif=exif)
    assert np.array_equal(read_image(tmp_path / "turned.png")[:, :, 0], np.rot90(GREY, -1))


def deep_png(channels: int) -> tuple[np.ndarray, bytes]:
    """H×W×C uint16 noise and its PNG, made by hand."""
    levels = np.random.default_rng(0).integers(0, 65536, (5, 4, channels)).astype(">u2")
    rows = b"".join(b"\0" + row.tobytes() for row in levels)
    return levels, png_claiming(4, 5, 16, {2: 4, 3: 2, 4: 6}[channels], rows)


def test_16_bit_colour_files(tmp_path: Path) -> None:
    pytest.importorskip("cv2")
    for channels in (2, 3, 4):
        levels, data = deep_png(channels)
        (tmp_path / "a.png").write_bytes(data)
        got = read_image(tmp_path / "a.png")
        assert got.dtype == np.uint16
        assert np.array_equal(got, levels[:, :, [0, 0, 0, 1]] if channels == 2 else levels)
        for name in ("b.png", "b.TIFF"):
            write_image(tmp_path / name, got)
            assert np.array_equal(read_image(tmp_path / name), got)
            with Image.open(tmp_path / name) as written:  # Pillow keeps the upper 8 bits
                assert np.array_equal(np.asarray(written), got >> 8)
        write_image(tmp_path / "c.bmp", got[:, :, :3])
        assert np.array_equal(read_image(tmp_path / "c.bmp"), np.rint(got[:, :, :3] / 257).astype(np.uint8))
    (tmp_path / "a.png").write_bytes(deep_png(3)[1][:-30])
    with pytest.raises(ImageError, match=r"a\.png can't be read as a picture"):
        read_image(tmp_path / "a.png")


@pytest.mark.parametrize("layout", [{}, {"rowsperstrip": 2}, {"compression": "zlib"}, {"byteorder": ">"}])
def test_channels_that_are_stored_apart_are_read_right_or_refused(layout: Any, tmp_path: Path) -> None:
    """Pillow gives noise for uncompressed 16 bits and no alpha with grey, OpenCV noise for 16 bits."""
    tifffile = pytest.importorskip("tifffile")
    for dtype, channels in ((np.uint8, 3), (np.uint8, 4), (np.uint16, 3), (np.uint16, 4), (np.uint8, 2)):
        levels = np.random.default_rng(0).integers(0, 256, (channels, 5, 4)).astype(dtype)
        kind = {"photometric": "minisblack" if channels == 2 else "rgb", "planarconfig": "separate"}
        alpha = ["unassalpha"] * (channels in (2, 4))
        tifffile.imwrite(tmp_path / "a.tif", levels, **kind, extrasamples=alpha, **layout)
        if (dtype, channels) in ((np.uint8, 3), (np.uint8, 4)):
            assert np.array_equal(read_image(tmp_path / "a.tif"), np.moveaxis(levels, 0, 2))
            continue
        with pytest.raises(ImageError, match=r"a\.tif stores each channel apart .*: store them together"):
            read_image(tmp_path / "a.tif")


def test_16_bit_colour_without_opencv_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(__import__("sys").modules, "cv2", None)
    levels, data = deep_png(3)
    (tmp_path / "a.png").write_bytes(data)
    with pytest.raises(ImageError, match=r"\(mode RGB;16B?\): convert it to 8 bits, or pip install opencv"):
        read_image(tmp_path / "a.png")
    with pytest.raises(ImageError, match=r"b\.png: writing 16 bits a channel in colour needs OpenCV"):
        write_image(tmp_path / "b.png", levels.astype(np.uint16))


def test_grey_and_alpha_of_every_dtype() -> None:
    for dtype, white in WHITE.items():
        grey = np.array([[0, white], [white, 0]], dtype)
        assert np.array_equal(as_image(grey), np.stack([grey] * 3, axis=2))
        assert as_image(grey).dtype == dtype
        clear = np.stack([grey, grey.T[::-1]], axis=2)
        assert np.array_equal(as_image(clear), clear[:, :, [0, 0, 0, 1]])
        assert as_image(clear).dtype == dtype


def test_alpha_is_written_where_a_format_holds_it(tmp_path: Path) -> None:
    clear = np.dstack([RGB, RGB[:, :, 0]])
    for name in ("a.png", "a.tif", "a.webp"):
        write_image(tmp_path / name, clear)
        assert np.array_equal(read_image(tmp_path / name)[:, :, 3], clear[:, :, 3]), name
    opaque = np.dstack([RGB, np.full(RGB.shape[:2], 255, np.uint8)])
    for name in ("a.jpg", "a.bmp"):
        with pytest.raises(ImageError, match=rf"{name}: \.\w+ holds no transparency; expected one of \.png"):
            write_image(tmp_path / name, clear)
        write_image(tmp_path / name, opaque)
        assert read_image(tmp_path / name).shape == RGB.shape


def test_alpha_that_is_multiplied_into_the_colours_is_taken_out_of_them(tmp_path: Path) -> None:
    clear = np.full((5, 4, 4), (200, 100, 50, 51), np.uint8)
    got = as_image(Image.fromarray(clear).convert("RGBa"))
    assert np.abs(got.astype(int) - clear).max() <= 3  # at a fifth of full alpha, half a level is 2.5
    colours = Image.fromarray(RGB)
    for picture in (colours.quantize(8), colours.convert("L")):
        level = picture.getpixel((0, 0))  # of the palette, or grey
        picture.save(tmp_path / "b.png", transparency=level)
        assert np.array_equal(read_image(tmp_path / "b.png")[:, :, 3] == 0, np.asarray(picture) == level)


def test_every_16_bit_level_survives_float_and_back() -> None:
    levels = np.arange(65536, dtype=np.uint16).reshape(256, 256)
    assert np.array_equal(to_dtype(to_dtype(levels, np.float32), np.uint16), levels)
    assert np.array_equal(to_dtype(levels, np.uint8), np.rint(levels / 257))
    eight = np.arange(256, dtype=np.uint8)
    assert np.array_equal(to_dtype(eight, np.uint16), eight.astype(np.uint16) * 257)
    half = np.float16([0, 1 / 3, 1])
    assert np.array_equal(to_dtype(to_dtype(half, np.float32), np.float16), half)


def test_every_level_survives_float_and_back() -> None:
    levels = np.arange(256, dtype=np.uint8).reshape(1, 256, 1).repeat(3, axis=2)
    assert np.array_equal(to_dtype(to_dtype(levels, np.float32), np.uint8), levels)
    wild = np.array([[[-1.0, 0.5, 7.0]]], np.float32)
    assert to_dtype(wild, np.uint8).tolist() == [[[0, 128, 255]]]
    assert to_dtype(wild, np.float32).tolist() == [[[0.0, 0.5, 1.0]]]
