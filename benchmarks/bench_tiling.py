"""What a session does around the network: padding, conversion, tiles cut and blended. The network returns its input."""

from typing import TYPE_CHECKING

import numpy as np
import pytest
from colora.runtime import tiles
from colora.runtime.manifest import Pad, Shapes, Tile
from pytest_benchmark.fixture import BenchmarkFixture

if TYPE_CHECKING:
    from colora.runtime.weights import Array

pytestmark = pytest.mark.benchmark(group="a picture without its network, 1280×720")
SHAPES = Shapes((16, 16), (256, 256), (4096, 4096), 16)
PAD = Pad("zeros", 16)


@pytest.fixture(scope="module")
def frame() -> "Array":
    return np.random.default_rng(0).integers(0, 256, (720, 1280, 3), np.uint8)


@pytest.mark.parametrize(
    "tile", [Tile(256, 32, 4096), Tile(256, 32, 256), Tile(512, 32, 512)], ids=["whole", "256 px", "512 px"]
)
def test_apply(benchmark: BenchmarkFixture, frame: "Array", tile: Tile) -> None:
    restored = benchmark(tiles.apply, frame, lambda tensor: tensor, SHAPES, PAD, tile)
    assert np.array_equal(restored, frame)


def test_bands(benchmark: BenchmarkFixture, frame: "Array") -> None:
    """Row by row of tiles, as a picture larger than memory is restored."""
    tile = Tile(256, 32, 256)
    benchmark(lambda: [len(band) for band in tiles.bands(frame, lambda tensor: tensor, SHAPES, PAD, tile)])
