"""Degradations of a 256×256 picture, beside the plain library call that a user might take for each."""

import io
from collections.abc import Callable

import numpy as np
import pytest
from colora.benchmarks.scenarios import picture
from colora.runtime.image import to_dtype
from colora.train.degradations import DEGRADATIONS, prod
from PIL import Image as Pillow
from PIL import ImageFilter
from pytest_benchmark.fixture import BenchmarkFixture


def gaussian_blur() -> Callable[[], object]:
    pillow = Pillow.fromarray(picture(256))
    return lambda: np.asarray(pillow.filter(ImageFilter.GaussianBlur(1.5)))


def white_noise() -> Callable[[], object]:
    clean, rng = to_dtype(picture(256), np.float32), np.random.default_rng(0)
    return lambda: np.clip(clean + rng.normal(0, 0.1, clean.shape), 0, 1)


def jpeg() -> Callable[[], object]:
    pillow = Pillow.fromarray(picture(256))

    def run() -> object:
        file = io.BytesIO()
        pillow.save(file, "JPEG", quality=50)
        return np.asarray(Pillow.open(file))

    return run


PLAIN = {"blur": gaussian_blur, "noise": white_noise, "jpeg": jpeg}
"""Degradation → what Pillow or numpy do alone, in one strength."""


@pytest.mark.parametrize("name", DEGRADATIONS)
def test_degradation(benchmark: BenchmarkFixture, name: str) -> None:
    benchmark.group = f"degradation: {name}" if name in PLAIN else "degradations"
    image, rng = to_dtype(picture(256), np.float32), np.random.default_rng(0)
    benchmark(DEGRADATIONS[name], image, rng)


@pytest.mark.parametrize("name", PLAIN)
def test_plain(benchmark: BenchmarkFixture, name: str) -> None:
    benchmark.group = f"degradation: {name}"
    benchmark(PLAIN[name]())


@pytest.mark.benchmark(group="degradations")
def test_prod(benchmark: BenchmarkFixture) -> None:
    image, rng = to_dtype(picture(256), np.float32), np.random.default_rng(0)
    benchmark(prod, image, rng, tuple(DEGRADATIONS), 3)
