"""Two other ways to degrade for pre-training, after what their public code does; each left simpler where told.

DegAE (Liu et al., CVPR 2023): blur, Gaussian, shot and speckle noise, JPEG, each at most once, half of the time in
random order. Real-ESRGAN (Wang et al., ICCVW 2021): two rounds of blur, resize, noise, JPEG in this order.
"""

from collections.abc import Callable

import cv2
import numpy as np
from colora.train.camera import Image, clip, compress, convolve
from numpy.random import Generator
from numpy.typing import NDArray


def _gaussian(image: Image, rng: Generator, low: float, high: float) -> Image:
    """Blur by a Gaussian with axes of σ `low` to `high` px, at any angle."""
    sigmas, angle = rng.uniform(max(low, 0.1), high, 2), rng.uniform(0, np.pi)
    half = int(np.ceil(3 * sigmas.max()))
    y, x = np.mgrid[-half : half + 1, -half : half + 1]
    u, v = x * np.cos(angle) + y * np.sin(angle), y * np.cos(angle) - x * np.sin(angle)
    kernel = np.exp(-0.5 * ((u / sigmas[0]) ** 2 + (v / sigmas[1]) ** 2))
    return clip(convolve(image, kernel / kernel.sum(), cv2.BORDER_REFLECT_101))


def _white(image: Image, rng: Generator, low: float, high: float, grey: float) -> Image:
    """Gaussian noise of σ `low` to `high` of 255, the same in all colours with probability `grey`."""
    shape = (*image.shape[:2], 1) if rng.random() < grey else image.shape
    noise = rng.standard_normal(shape, dtype=np.float32)
    return clip(image + np.float32(rng.uniform(low, high) / 255) * noise)


def _shot(image: Image, rng: Generator, peak: float) -> Image:
    """Poisson noise with `peak` photons at white."""
    noisy: NDArray[np.float64] = rng.poisson(image * peak) / peak
    return clip(noisy)


def degae(image: Image, rng: Generator) -> tuple[Image, str]:
    """DegAE's five operations with its probabilities and ranges: three pictures in ten stay clean; kernels without its
    wide ones, noise without correlation between colours."""

    def speckle(image: Image) -> Image:
        noise = rng.standard_normal(image.shape, dtype=np.float32)
        return clip(image + image * np.float32(rng.uniform(2, 25) / 255) * noise)

    steps: list[tuple[float, Callable[[Image], Image]]] = [
        (0.7, lambda image: _gaussian(image, rng, 0.1, 2.2)),
        (0.5, lambda image: _white(image, rng, 2, 30, 0.4)),
        (0.2, lambda image: _shot(image, rng, 10 ** rng.uniform(2, 4))),
        (0.2, speckle),
        (0.5, lambda image: compress(image, int(rng.integers(30, 96)))),
    ]
    if rng.random() < 0.3:
        return image, "clean"
    order = rng.permutation(5) if rng.random() < 0.5 else [0, *(1 + rng.permutation(3)), 4]
    for i in order:
        if rng.random() < steps[i][0]:
            image = steps[i][1](image)
    return image, "DegAE"


RESIZES = (cv2.INTER_AREA, cv2.INTER_LINEAR, cv2.INTER_CUBIC)


def real_esrgan(image: Image, rng: Generator) -> tuple[Image, str]:
    """Real-ESRGAN's two rounds with its ranges, back at full size: Gaussian kernels only, without sinc filters."""
    height, width = image.shape[:2]
    for blur, sigma, scales, noise, scale in (
        (1.0, 3.0, (0.15, 1.5), 30, (0.05, 3.0)),
        (0.8, 1.5, (0.3, 1.2), 25, (0.05, 2.5)),
    ):
        if rng.random() < blur:
            image = _gaussian(image, rng, 0.2, sigma)
        factor = rng.uniform(*scales)
        size = (max(8, round(width * factor)), max(8, round(height * factor)))
        image = clip(np.asarray(cv2.resize(image, size, interpolation=int(rng.choice(RESIZES)))))
        if rng.random() < 0.5:
            image = _white(image, rng, 1, noise, 0.4)
        else:
            image = _shot(image, rng, 255 / rng.uniform(*scale) ** 2)
        image = compress(image, int(rng.integers(30, 96)))
    full = cv2.resize(image, (width, height), interpolation=int(rng.choice(RESIZES)))
    return clip(np.asarray(full)), "Real-ESRGAN"
