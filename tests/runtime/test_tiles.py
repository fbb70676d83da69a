"""Padding and tiles: every size gives its own size back, and tiles meet without a seam."""

from itertools import pairwise
from typing import Any

import numpy as np
import pytest
from colora.runtime import tiles
from colora.runtime.manifest import Pad, Shapes, Tile
from hypothesis import given
from hypothesis import strategies as st

SHAPES = Shapes((16, 16), (32, 32), (64, 64), 8)
TILE = Tile(32, 6, 40)


def identity(tensor: Any) -> Any:
    assert tensor.dtype == np.float32
    assert tensor.flags.c_contiguous
    assert all(n % 8 == 0 and n >= 16 for n in tensor.shape[2:])
    return tensor


@pytest.mark.parametrize("mode", ["zeros", "reflect", "edge"])
@given(st.integers(1, 90), st.integers(1, 90))
def test_the_identity_gives_every_size_back_exactly(mode: str, height: int, width: int) -> None:
    image = np.random.default_rng(0).integers(0, 256, (height, width, 3), dtype=np.uint8)
    assert np.array_equal(tiles.apply(image, identity, SHAPES, Pad(mode, 8), TILE), image)


def test_float_images_keep_their_dtype_and_are_clipped() -> None:
    image = np.random.default_rng(0).random((50, 70, 3), dtype=np.float32)
    same = tiles.apply(image, identity, SHAPES, Pad("zeros", 8), TILE)
    assert same.dtype == np.float32
    assert np.abs(same - image).max() < 1e-6  # weights sum to 1 within two float32 roundings
    brighter = tiles.apply(image, lambda t: t * 4 - 1, SHAPES, Pad("zeros", 8), TILE)
    assert (brighter.min(), brighter.max()) == (0, 1)


@given(st.integers(1, 500), st.integers(8, 64), st.data())
def test_weights_cover_every_pixel_and_sum_to_one(length: int, size: int, data: Any) -> None:
    tile = Tile(size, data.draw(st.integers(0, (size - 1) // 2)), size)
    begins = tiles.starts(length, tile)
    total = np.zeros(length)
    for begin, weights in zip(begins, tiles.feather(length, begins, tile), strict=True):
        assert weights.min() > 0
        total[begin : begin + len(weights)] += weights
    assert np.allclose(total, 1, atol=1e-6)  # at most a few float32 roundings
    assert all(b - a <= size - tile.overlap for a, b in pairwise(begins))
    assert begins[-1] + min(size, length) == length


def test_a_local_network_shows_no_seams(mini: Any, picture: Any) -> None:
    """conv 3×3 sees 1 pixel around: away from tile borders tiles equal the whole, and blending stays between them."""
    image = picture(70, 90)
    run = lambda t: mini.forward(t, {"rain": 1.0}).astype(np.float32)  # noqa: E731
    whole = tiles.apply(image, run, SHAPES, Pad("zeros", 8), Tile(32, 6, 96))
    cut = tiles.apply(image, run, SHAPES, Pad("zeros", 8), TILE)
    differs = np.abs(whole.astype(int) - cut).max(axis=2)
    begins = [tiles.starts(n, TILE) for n in image.shape[:2]]
    near = np.zeros(image.shape[:2], bool)
    for axis, length in enumerate(image.shape[:2]):
        for begin in begins[axis]:
            for border in (begin, begin + TILE.size - 1):
                if 0 < border < length - 1:
                    near[(slice(None),) * axis + (border,)] = True
    assert differs[~near].max() <= 1  # rounding of a blend of two equal values
    assert differs.max() > 0  # the border pixels do see another padding: the test could fail


def test_tiles_are_of_one_size_and_only_large_images_are_cut() -> None:
    seen: list[tuple[int, ...]] = []

    def run(tensor: Any) -> Any:
        seen.append(tensor.shape)
        return tensor

    tiles.apply(np.zeros((40, 40, 3), np.uint8), run, SHAPES, Pad("zeros", 8), TILE)
    assert seen == [(1, 3, 40, 40)]
    seen.clear()
    tiles.apply(np.zeros((90, 41, 3), np.uint8), run, SHAPES, Pad("zeros", 8), TILE)
    assert set(seen) == {(1, 3, 32, 32)}
    assert len(seen) == 4 * 2


def test_memory_beside_picture_and_result_does_not_grow_with_height() -> None:
    import tracemalloc

    def peak(height: int) -> int:
        image = np.zeros((height, 64, 3), np.uint8)
        tracemalloc.start()
        tiles.apply(image, identity, SHAPES, Pad("zeros", 8), TILE)
        most = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
        return most - image.nbytes  # less the result

    assert peak(4000) < peak(400) + 50_000  # a float32 picture of 4000 rows would be 3 million bytes


def test_padding_is_the_official_one() -> None:
    row = np.arange(1, 4, dtype=np.float32).reshape(1, 1, 1, 3)
    shapes = Shapes((1, 5), (5, 5), (10, 10), 1)
    for mode, expected in (
        ("zeros", [1, 2, 3, 0, 0]),
        ("reflect", [1, 2, 3, 2, 1]),
        ("edge", [1, 2, 3, 3, 3]),
    ):
        assert tiles.padded(row, shapes, Pad(mode, 1))[0, 0, 0].tolist() == expected
    short = row[..., :2]  # three columns are missing, one can be reflected: edge
    assert tiles.padded(short, shapes, Pad("reflect", 1))[0, 0, 0].tolist() == [1, 2, 2, 2, 2]
    to_four = tiles.padded(row, Shapes((4, 4), (4, 4), (8, 8), 4), Pad("zeros", 4))
    assert to_four.shape == (1, 1, 4, 4)
