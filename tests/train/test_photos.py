"""Pictures are read as they look, or refused; held out are whole photographs, from all over the list."""

from pathlib import Path
from struct import pack
from zlib import crc32

import numpy as np
import pytest
from colora.devices.errors import ImageError
from colora.train.photos import photograph, read_rgb, split_files, spread
from PIL import Image


@pytest.mark.parametrize("suffix", ["png", "tif"])
@pytest.mark.parametrize("orientation", [1, 6])
def test_alpha_is_left_out_and_not_multiplied_into_the_colours(
    tmp_path: Path, suffix: str, orientation: int
) -> None:
    pixels = np.random.default_rng(0).integers(0, 256, (6, 4, 4), np.uint8)
    exif = Image.Exif()
    exif[0x0112] = orientation  # 6: to be turned clockwise
    Image.fromarray(pixels).save(tmp_path / f"a.{suffix}", exif=exif)
    upright = np.rot90(pixels, -1) if orientation == 6 else pixels
    assert (read_rgb(tmp_path / f"a.{suffix}") == upright[..., :3]).all()


def test_a_picture_larger_than_opencv_takes_is_refused_by_name(tmp_path: Path) -> None:
    header = b"IHDR" + pack(">IIBBBBB", 60_000, 60_000, 8, 2, 0, 0, 0)
    chunks = [header, b"IDAT", b"IEND"]
    coded = b"".join(pack(">I", len(c) - 4) + c + pack(">I", crc32(c)) for c in chunks)
    (tmp_path / "huge.png").write_bytes(b"\x89PNG\r\n\x1a\n" + coded)
    with pytest.raises(
        ImageError, match=r"huge\.png: (refused by OpenCV|not a picture that OpenCV can read)"
    ):
        read_rgb(tmp_path / "huge.png")


@pytest.mark.parametrize(
    ("name", "photo"),
    [
        ("city_0000_0704.jpg", "city"),
        ("picture_0b_0_12800.png", "picture_0b"),
        ("IMG_20240101_123456.jpg", "IMG_20240101_123456"),
        ("PXL_20240101_123456789.jpg", "PXL_20240101_123456789"),
        ("2024_01_02.jpg", "2024_01_02"),
    ],
)
def test_tiles_are_told_from_what_cameras_write(name: str, photo: str) -> None:
    assert photograph(Path(name).stem) == photo


def test_held_out_photographs_leave_with_all_their_tiles_of_their_folder() -> None:
    files = [Path(f"{folder}/{name}_0000_{x:04}.png") for folder in "ab" for name in "pq" for x in (0, 512)]
    train, kept = split_files(files, 1)
    assert kept == [Path("a/p_0000_0000.png")]
    assert train == files[2:]


def test_held_out_are_from_all_over_the_list() -> None:
    assert spread(range(20), 12) == [0, 1, 3, 5, 6, 8, 10, 11, 13, 15, 16, 18]
    assert spread(range(76), 9) == [*range(0, 72, 8)]  # as the shipped adapters held out
    assert spread(range(67), 24) == [*range(0, 48, 2)]  # as the shipped choice did
    assert (spread(range(16), 1), spread(range(16), 0), spread([], 0)) == ([0], [], [])
    assert spread(range(3), 3) == [0, 1, 2]
