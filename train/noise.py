"""What the sensor adds: white, shot and correlated noise, and under-exposure, which is mostly noise."""

import math
from functools import cache
from statistics import NormalDist

import cv2
import numpy as np
from colora.train.camera import GAMMA, Image, clip, compress, log_uniform, power, save
from numpy.random import Generator
from numpy.typing import NDArray

EXACT_BELOW = 4.0
"""photons; fewer are drawn by adding up the distribution, which is short there"""
MOST = 24
"""photons that are never exceeded where 4 are expected, but for one draw in 10^11"""


LEVELS = 1 << 16


@cache
def quantiles() -> NDArray[np.float32]:
    """LEVELS quantiles of the standard normal distribution: σ 0.99999, at most ±4.32."""
    upper = [NormalDist().inv_cdf(0.5 + (i + 0.5) / LEVELS) for i in range(LEVELS // 2)]
    return np.array([-z for z in upper] + upper, np.float32)


def normal(rng: Generator, shape: tuple[int, ...]) -> NDArray[np.float32]:
    """Standard normal numbers in steps far below those of 8 bits, in a third of the time of numpy's own."""
    count = math.prod(shape)
    bits = rng.integers(
        0, 2**64 - 1, -(-count // 4), np.uint64, endpoint=True
    )  # LEVELS fit four times into one
    drawn: NDArray[np.float32] = quantiles().take(bits.view(np.uint16)[:count].reshape(shape), mode="clip")
    return drawn


def photons(rate: NDArray[np.float32], rng: Generator) -> NDArray[np.float32]:
    """Photon counts where `rate` (≥ 0) are expected: Poisson, whole numbers as float32.

    Exact below 4 photons. Above, rint(λ + z·√(λ - 5/36) + (z² - 1)/6) with z normal: the Cornish-Fisher expansion up to
    the skewness, a few operations on arrays where an exact draw is a loop per pixel. 5/36 is the variance that rounding
    (1/12) and the square (1/18) add. From 4 photons on, its mean is within 0.002 of λ, its variance within 0.4 %, its
    third moment within 1.2 % of Poisson's, and the two distributions differ by 0.7 % at most (total variation).
    """
    z = normal(rng, rate.shape)
    spread = np.sqrt(np.maximum(rate - np.float32(5 / 36), 0))
    counts: NDArray[np.float32] = np.rint(rate + z * (spread + z / 6) - np.float32(1 / 6))
    np.maximum(counts, 0, out=counts)
    few = rate < EXACT_BELOW
    counts[few] = _few_photons(rate[few], rng)
    return counts


def _few_photons(rate: NDArray[np.float32], rng: Generator) -> NDArray[np.float32]:
    """By inversion: how many of the distribution's partial sums a uniform number exceeds; N rates below 4, N counts."""
    share = np.asarray(np.exp(-rate))
    counts, drawn, total = np.zeros_like(rate), rng.random(rate.shape, np.float32), share.copy()
    for k in range(1, MOST):
        more = drawn > total
        if not more.any():
            break
        counts += more
        share *= rate
        share *= np.float32(1 / k)
        total += share
    return counts


def gaussian_noise(image: Image, rng: Generator) -> tuple[Image, str]:
    """White Gaussian noise, σ 1-50 of 255: independent by colour, or grey (DegAE: 40 % grey; here 20 %)."""
    sigma = rng.uniform(1, 50)
    grey = rng.random() < 0.2
    shape = (*image.shape[:2], 1) if grey else image.shape
    noisy = image + np.float32(sigma / 255) * normal(rng, shape)
    return clip(noisy), f"noise(σ={sigma:.0f}{', grey' if grey else ''})"


def poisson_noise(image: Image, rng: Generator) -> tuple[Image, str]:
    """Shot noise: `peak` photons at white, 20-2000 (DegAE: 10^2-10^4), with read noise σ 0-5 of 255."""
    peak, read = log_uniform(rng, 20, 2000), rng.uniform(0, 5)
    shot = photons(image * np.float32(peak), rng) / np.float32(peak)
    noisy = shot + np.float32(read / 255) * normal(rng, image.shape)
    return clip(noisy), f"poisson(peak={peak:.0f}, read σ={read:.1f})"


def sensor_noise(image: Image, rng: Generator) -> tuple[Image, str]:
    """Spatially correlated noise as a camera's demosaicing leaves it: signal-dependent, σ 2-40 of 255 (log-uniform, as
    most pictures are taken by daylight), low-passed by σ 0.4-1.2 px; six in ten then go through the camera's JPEG."""
    sigma, spread, gain = log_uniform(rng, 2, 40), rng.uniform(0.4, 1.2), rng.uniform(0.0, 1.0)
    white = normal(rng, image.shape)
    grain = np.asarray(cv2.GaussianBlur(white, (0, 0), spread))
    grain = grain * np.float32(sigma / 255 / max(float(grain.std()), 1e-6))
    noisy, told = clip(image + grain * np.sqrt(1 - gain + gain * image)), f"σ={sigma:.0f}, {spread:.1f} px"
    if rng.random() < 0.4:
        return noisy, f"sensor({told})"
    quality = int(rng.integers(60, 99))
    return compress(noisy, quality), f"sensor({told}, q={quality})"


def noise(image: Image, rng: Generator) -> tuple[Image, str]:
    """One of the three noise models: white Gaussian 50 %, shot 15 %, sensor 35 %."""
    return (gaussian_noise, poisson_noise, sensor_noise)[rng.choice(3, p=[0.5, 0.15, 0.35])](image, rng)


def grain(image: Image, rng: Generator) -> tuple[Image, str]:
    """What any sensor adds by daylight: white Gaussian noise, σ 0-3 of 255. A network that learns to sharpen without it
    learns to amplify it."""
    sigma = rng.uniform(0, 3)
    noisy = image + np.float32(sigma / 255) * normal(rng, image.shape)
    return clip(noisy), f"grain(σ={sigma:.1f})"


def low_light(image: Image, rng: Generator) -> tuple[Image, str]:
    """Under-exposure in linear light by 1-9 stops (of LOL's training pairs, Wei et al. 2018, nine in ten are 2.7 to 9.5
    apart, the median 6.2), then shot and read noise of a raised gain, development, and 8 bits.

    Half of the draws are as if the camera had developed the short exposure otherwise than the long one (our choice):
    the picture's numbers are light to a power of 1.8-2.7 below a shoulder that lifts mid-tones by up to 1.8 times, the
    dark picture's to another such power; white balance is off by gains of σ 6 %, black by -2 to 4 of 255.
    Independent of that, noise is low-passed by σ 0.4-1 px in four draws of ten, as demosaicing and noise reduction
    leave it, and JPEG of quality 80-97 follows in 35 %.
    """
    stops, peak, read = rng.uniform(1, 9), log_uniform(rng, 500, 20_000), rng.uniform(0, 3)
    taken = developed = GAMMA
    shoulder, black, gains = 0.0, 0.0, np.ones(3)
    if other := rng.random() < 0.5:
        (taken, developed), shoulder = rng.uniform(1.8, 2.7, 2), rng.uniform(0, 0.8)
        gains, black = np.exp(rng.normal(0, 0.06, 3)), rng.uniform(-2, 4) / 255
    light = power(image, taken)
    if shoulder:
        light /= np.float32(1 + shoulder) - np.float32(shoulder) * light
    sensed = np.asarray(cv2.multiply(light, np.array([*(gains * 2.0**-stops), 0])), np.float32)
    shot = photons(sensed * np.float32(peak), rng)
    shot *= np.float32(1 / peak)
    shot += np.float32(read / 255 / 8) * normal(rng, image.shape)
    if correlated := rng.random() < 0.4:
        spread, gain = rng.uniform(0.4, 1.0), rng.uniform(1, 2)
        shot = sensed + np.float32(gain) * np.asarray(cv2.GaussianBlur(shot - sensed, (0, 0), spread))
    dark = clip(power(shot, 1 / developed) + np.float32(black))
    saved, file = save(dark, rng, 0.35)
    told = f"-{stops:.1f} EV, peak={peak:.0f}{', other curve' if other else ''}{', low-passed' if correlated else ''}"
    return saved, f"lowlight({told}{file})"
