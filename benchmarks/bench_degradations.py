"""Degradations on one thread, a 256×256×3 float32 picture a call: the column OPS is images per second and core.

Beside each function that albumentations has too, albumentations' own, with the same ranges as far as it takes them;
the bracket behind a figure is its ratio to the best of the group. Skipped where albumentations is not installed
(pip install albumentations==2.0.8, the last version under the MIT licence).
"""

from collections.abc import Callable, Iterator
from typing import Any

import cv2
import numpy as np
import pytest
from colora.benchmarks.scenarios import picture
from colora.runtime.image import to_dtype
from colora.train.degradations import DEGRADATIONS, Degradation, Image, prod
from colora.train.noise import gaussian_noise, poisson_noise
from pytest_benchmark.fixture import BenchmarkFixture

FUNCTIONS: dict[str, Degradation] = DEGRADATIONS | {
    "white noise": gaussian_noise,
    "shot noise": poisson_noise,
}

RIVALS: dict[str, Callable[[Any], Any]] = {
    # 7×7 is the median of our kernels; its own choice would be 3 to 7 for any σ
    "blur": lambda a: a.OneOf(
        [
            a.AdvancedBlur(
                blur_limit=(7, 7),
                sigma_x_limit=(0.3, 3.0),
                sigma_y_limit=(0.3, 3.0),
                beta_limit=(0.9, 1.1),
                noise_limit=(1.0, 1.0),
                p=0.7,
            ),
            a.Defocus(radius=(1, 4), p=0.3),
        ],
        p=1,
    ),
    "motion": lambda a: a.MotionBlur(blur_limit=(3, 25), p=1),
    "white noise": lambda a: a.GaussNoise(std_range=(1 / 255, 50 / 255), p=1),
    "shot noise": lambda a: a.ShotNoise(scale_range=(1 / 2000, 1 / 20), p=1),  # in linear light
    "jpeg": lambda a: a.ImageCompression(quality_range=(10, 95), compression_type="jpeg", p=1),
    "resample": lambda a: a.Downscale(
        scale_range=(0.25, 0.83),
        interpolation_pair={"downscale": cv2.INTER_AREA, "upscale": cv2.INTER_CUBIC},
        p=1,
    ),
    "rain": lambda a: a.RandomRain(p=1),  # another model: straight lines drawn on the picture
    "haze": lambda a: a.RandomFog(p=1),  # another model: blurred discs, no depth
}
"""Function → the transform of the module albumentations that does the same."""


@pytest.fixture(autouse=True)
def one_thread() -> Iterator[None]:
    before = cv2.getNumThreads()
    cv2.setNumThreads(1)
    yield
    cv2.setNumThreads(before)


def scene() -> Image:
    return np.ascontiguousarray(to_dtype(picture(256), np.float32))


@pytest.mark.parametrize("name", FUNCTIONS)
def test_colora(benchmark: BenchmarkFixture, name: str) -> None:
    benchmark.group = name
    benchmark(FUNCTIONS[name], scene(), np.random.default_rng(0))


@pytest.mark.parametrize("name", RIVALS)
def test_albumentations(benchmark: BenchmarkFixture, name: str) -> None:
    albumentations = pytest.importorskip("albumentations")
    benchmark.group = name
    transform = albumentations.Compose([RIVALS[name](albumentations)], seed=0)
    benchmark(transform, image=scene())


@pytest.mark.benchmark(group="PROD, as pre-training draws it")
def test_prod(benchmark: BenchmarkFixture) -> None:
    benchmark(prod, scene(), np.random.default_rng(0))
