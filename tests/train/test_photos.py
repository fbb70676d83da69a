"""Which pictures are held out: whole photographs, from all over the list."""

from pathlib import Path

import pytest
from colora.train.photos import photograph, split, spread


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
    assert photograph(Path(name)) == photo


def test_held_out_photographs_leave_with_all_their_tiles_of_their_folder() -> None:
    files = [Path(f"{folder}/{name}_0000_{x:04}.png") for folder in "ab" for name in "pq" for x in (0, 512)]
    train, kept = split(files, 1)
    assert kept == [Path("a/p_0000_0000.png")]
    assert train == files[2:]


def test_held_out_are_from_all_over_the_list() -> None:
    assert spread(range(20), 12) == [0, 1, 3, 5, 6, 8, 10, 11, 13, 15, 16, 18]
    assert spread(range(76), 9) == [*range(0, 72, 8)]  # as the shipped adapters held out
    assert spread(range(67), 24) == [*range(0, 48, 2)]  # as the shipped choice did
    assert (spread(range(16), 1), spread(range(16), 0), spread([], 0)) == ([0], [], [])
    assert spread(range(3), 3) == [0, 1, 2]
