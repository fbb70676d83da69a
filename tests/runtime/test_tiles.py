"""Padding and tiles: every size gives its own size back, and tiles meet without a seam."""

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


@given(st.integers(1, 500), st.integers(8, 64), st.sampled_from([1, 4, 8]), st.data())
def test_pieces_cover_a_side_and_their_weights_sum_to_one(
    length: int, size: int, multiple: int, data: Any
) -> None:
    tile = Tile(size, data.draw(st.integers(0, (size - 1) // 2)), size)
    pieces = tiles.cuts(length, tile, multiple)
    total = np.zeros(length)
    for piece in pieces:
        assert piece.weights.min() > 0
        assert len(piece.weights) == len(pieces[0].weights)
        total[piece.span] += piece.weights
    assert np.allclose(total, 1, atol=1e-6)  # at most a few float32 roundings
    assert [p.begin for p in pieces[1:]] + [length] == [p.done for p in pieces]
    for piece in pieces[:-1]:
        assert piece.span.stop - piece.done >= tile.overlap
    assert pieces[-1].span.stop == length


@given(st.integers(65, 5000), st.integers(0, 31))
def test_tiles_are_as_few_as_possible_and_no_larger_than_needed(length: int, overlap: int) -> None:
    pieces = tiles.cuts(length, Tile(64, overlap, 64), 16)
    count, size = len(pieces), len(pieces[0].weights)
    assert (count - 1) * (64 - overlap) + overlap < length  # one less would not reach
    assert size % 16 == 0
    assert count * (size - 16 - overlap) + overlap < length  # the next smaller multiple would not reach


def test_a_local_network_shows_no_seams(mini: Any, picture: Any) -> None:
    """conv 3×3 sees 1 pixel around: away from tile borders tiles equal the whole, and blending stays between them."""
    image = picture(70, 90)
    run = lambda t: mini.forward(t, {"rain": 1.0}).astype(np.float32)  # noqa: E731
    whole = tiles.apply(image, run, SHAPES, Pad("zeros", 8), Tile(32, 6, 96))
    cut = tiles.apply(image, run, SHAPES, Pad("zeros", 8), TILE)
    differs = np.abs(whole.astype(int) - cut).max(axis=2)
    near = np.zeros(image.shape[:2], bool)
    for axis, length in enumerate(image.shape[:2]):
        for piece in tiles.cuts(length, TILE, 8):
            for border in (piece.begin, piece.span.stop - 1):
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
    assert set(seen) == {(1, 3, 32, 24)}  # 41 px in two tiles with 6 in common
    assert len(seen) == 4 * 2


@pytest.mark.parametrize(
    ("height", "width", "runs"),
    [(32, 56, 1), (20, 50, 1), (33, 56, 2), (32, 57, 2), (60, 100, 6), (70, 130, 9)],
)
def test_a_graph_of_one_size_gets_pieces_of_that_size(height: int, width: int, runs: int) -> None:
    """Zeros where a picture could have been cost 3 to 6 dB: 24.81 → 19.21, 20.30 → 17.56 (haze)."""
    shapes, image = Shapes((32, 56), (32, 56), (32, 56), 8), np.ones((height, width, 3), np.float32)
    seen: list[tuple[int, ...]] = []

    def run(tensor: Any) -> Any:
        assert tensor.mean() == min(height / 32, 1) * min(width / 56, 1)  # the share that is no padding
        seen.append(tensor.shape[2:])
        return tensor

    whole = tiles.apply(image, run, shapes, Pad("zeros", 8), Tile(32, 6, 32))
    assert seen == [(32, 56)] * runs
    assert np.abs(whole - image).max() < 1e-6  # weights sum to 1 within two float32 roundings
    bands = [*tiles.bands(Owned(image), run, shapes, Pad("zeros", 8), Tile(32, 6, 32))]
    assert np.array_equal(np.concatenate(bands), whole)
    assert seen == [(32, 56)] * 2 * runs


class Owned:
    """Rows that the caller owns, as a file gives them."""

    def __init__(self, image: Any) -> None:
        self.image, self.shape, self.dtype = image, image.shape, image.dtype

    def __getitem__(self, rows: slice) -> Any:
        return self.image[rows].copy()


@pytest.mark.parametrize("dtype", [np.uint8, np.uint16, np.float32])
@given(st.integers(1, 120), st.integers(1, 120), st.integers(0, 2**31))
def test_bands_written_over_their_own_rows_are_the_same_picture(
    dtype: Any, height: int, width: int, seed: int
) -> None:
    white = 1 if dtype is np.float32 else np.iinfo(dtype).max
    image = (np.random.default_rng(seed).random((height, width, 3)) * white).astype(dtype)
    run = lambda t: t[:, :, ::-1] * 0.7 + t.mean(dtype=np.float64).astype(np.float32)  # noqa: E731
    whole = tiles.apply(image, run, SHAPES, Pad("edge", 8), TILE)
    bands = list(tiles.bands(Owned(image), run, SHAPES, Pad("edge", 8), TILE))
    assert np.array_equal(np.concatenate(bands), whole)
    clear = np.dstack([image, image[:, :, 0]])
    kept = np.dstack([whole, image[:, :, 0]])
    assert np.array_equal(tiles.apply(clear, run, SHAPES, Pad("edge", 8), TILE), kept)
    bands = list(tiles.bands(Owned(clear), run, SHAPES, Pad("edge", 8), TILE))
    assert np.array_equal(np.concatenate(bands), kept)


def test_memory_beside_picture_and_result_is_that_of_a_tile_and_its_borders() -> None:
    import tracemalloc

    def peak(height: int, width: int) -> int:
        image = np.zeros((height, width, 3), np.uint8)
        tracemalloc.start()
        tiles.apply(image, identity, SHAPES, Pad("zeros", 8), TILE)
        most = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
        return most - image.nbytes  # less the result

    small = peak(400, 64)
    assert peak(4000, 64) < small + 100_000  # a float32 picture of 4000 rows would be 3 million bytes
    # above and below, of up to 7 rows each for an overlap of 6: 12 bytes a pixel; a row of tiles would be 32 rows
    assert peak(400, 4064) < small + 4000 * 12 * 15 + 100_000


def test_padding_is_the_official_one() -> None:
    row = np.arange(1, 4, dtype=np.float32).reshape(1, 1, 1, 3)
    shapes = Shapes((1, 5), (5, 5), (10, 10), 1)
    for mode, expected in (
        ("zeros", [1, 2, 3, 0, 0]),
        ("reflect", [1, 2, 3, 2, 1]),
        ("edge", [1, 2, 3, 3, 3]),
    ):
        assert tiles.padded(row, shapes, Pad(mode, 1))[0, 0, 0].tolist() == expected
    for pixels, expected in ((2, [1, 2, 1, 2, 1]), (1, [1, 1, 1, 1, 1])):  # more is missing than there is
        assert tiles.padded(row[..., :pixels], shapes, Pad("reflect", 1))[0, 0, 0].tolist() == expected
    to_four = tiles.padded(row, Shapes((4, 4), (4, 4), (8, 8), 4), Pad("zeros", 4))
    assert to_four.shape == (1, 1, 4, 4)
