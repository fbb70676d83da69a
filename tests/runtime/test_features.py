"""Features: finite for whatever a picture may be, blind to its dtype and size, and moved by what they are named for."""

from collections.abc import Callable

import numpy as np
import pytest
from colora.runtime.features import BLOCK, GRID, SIDE, Features, measure, windows
from colora.runtime.weights import Array
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays


@pytest.fixture
def scene() -> Array:
    """192×192×3 float32: flat areas, edges and shades, as photographs have them."""
    y, x = np.mgrid[0:192, 0:192]
    shade = 0.3 + 0.2 * np.sin(x / 40) + 0.2 * ((x // 48 + y // 64) % 2)
    return np.repeat(shade[..., None], 3, 2).astype(np.float32) * np.array([1, 0.9, 0.8], np.float32)


def noisy(image: Array, sigma: float) -> Array:
    grain = np.random.default_rng(0).normal(0, sigma / 255, image.shape)
    return np.clip(image + grain, 0, 1).astype(np.float32)


@given(st.tuples(st.integers(32, 70), st.integers(32, 130)), st.sampled_from([0, 7, 255]), st.integers(0, 9))
def test_finite_and_alike_in_name_whatever_the_picture(size: tuple[int, int], level: int, seed: int) -> None:
    flat = np.full((*size, 3), level, np.uint8)
    wild = np.random.default_rng(seed).integers(0, 256, (*size, 3), dtype=np.uint8)
    both = measure(flat), measure(wild)
    assert both[0].keys() == both[1].keys()
    assert all(np.isfinite([*found.values()]).all() for found in both)


@given(arrays(np.uint8, (40, 48, 3)))
def test_depth_does_not_matter(image: Array) -> None:
    wanted = np.array([*measure(image).values()])
    for other in (image.astype(np.uint16) * 257, (image / 255).astype(np.float32)):
        # the same numbers up to a rounding of float32, and logarithms of differences near zero magnify that
        np.testing.assert_allclose([*measure(other).values()], wanted, rtol=2e-3, atol=2e-3)


@pytest.mark.parametrize(
    ("size", "count"), [((32, 39), 1), ((200, 100), 2), ((512, 384), 16), ((20_000, 30_000), 16)]
)
def test_windows_are_few_aligned_and_within(size: tuple[int, int], count: int) -> None:
    cut = windows(np.broadcast_to(np.uint8(255), (*size, 3)))
    assert len(cut) == count <= GRID**2
    assert all(side % BLOCK == 0 and side <= SIDE for side in cut.shape[1:3])
    assert (cut == 1).all()


def test_windows_lie_on_the_grid_of_jpeg() -> None:
    image = np.zeros((317, 509, 3), np.uint8)
    image[::8, ::8] = 255
    assert (windows(image)[:, ::8, ::8] == 1).all()


def changes(name: str, before: Features, after: Features) -> float:
    return after[name] - before[name]


def blocky(image: Array) -> Array:
    means = image.reshape(24, 8, 24, 8, 3).mean((1, 3))
    return np.roll(means.repeat(8, 0).repeat(8, 1), (3, 5), (0, 1))  # a cropped JPEG


def streaked(image: Array) -> Array:
    wet = image.copy()
    for x, y in np.random.default_rng(1).integers(0, 180, (300, 2)):
        wet[y : y + 12, x] += 0.3
    return np.clip(wet, 0, 1)


def smeared(image: Array) -> Array:
    return np.mean([np.roll(image, shift, 1) for shift in range(9)], axis=0).astype(np.float32)


@pytest.mark.parametrize(
    ("name", "change", "sign"),
    [
        ("fine5", lambda image: noisy(image, 20), 1),
        ("blocks", lambda image: blocky(noisy(image, 20)), 1),
        ("1normal_skew", streaked, 1),
        ("1across", streaked, 1),
        ("1across", smeared, -1),
        ("dark50", lambda image: 0.4 * image + 0.6, 1),
        ("span", lambda image: 0.4 * image + 0.6, -1),
        ("log_mean", lambda image: image**3, -1),
    ],
    ids=["noise", "blocks", "rain skew", "rain direction", "motion", "haze", "haze span", "darkness"],
)
def test_traces(scene: Array, name: str, change: Callable[[Array], Array], sign: int) -> None:
    start = noisy(scene, 2)
    assert sign * changes(name, measure(start), measure(change(start))) > 0.1


def test_noise_level_is_told_in_units(scene: Array) -> None:
    for sigma in (5, 20):
        found = measure(noisy(scene * 0.5 + 0.25, sigma))
        luma_share = np.sqrt(0.299**2 + 0.587**2 + 0.114**2)  # grey of three independent colours
        # a block of 64 pixels tells σ within 10 %, the median of blocks better; edges are few
        assert np.exp(found["fine50"]) == pytest.approx(sigma / 255 * luma_share, rel=0.1)
