"""Degradation functions (image, rng) → (image, description), and PROD: their random composition in random order.

Images are H×W×3 RGB float32 in [0, 1]; every function returns the same and clips. All randomness comes from the
`numpy.random.Generator` handed in, so a seed reproduces a draw; the description tells it in the field's units.
PROD: "Contribution-based Low-Rank Adaptation with Pre-training Model for Real Image Restoration", arXiv
2408.01099, figure 2a (blur, noise, rain, JPEG, motion; one to N functions, random order). The paper's parameter
ranges are not public: the ranges here are our choice, each with its source beside it.
"""

from collections.abc import Callable, Sequence

import cv2
import numpy as np
from numpy.random import Generator
from numpy.typing import NDArray

Image = NDArray[np.float32]
Degradation = Callable[[Image, Generator], tuple[Image, str]]


def _clip(image: NDArray[np.floating]) -> Image:
    clipped: Image = np.clip(image, 0.0, 1.0).astype(np.float32, copy=False)
    return clipped


def _log_uniform(rng: Generator, low: float, high: float) -> float:
    return float(np.exp(rng.uniform(np.log(low), np.log(high))))


def _convolve(image: Image, kernel: NDArray[np.floating]) -> Image:
    smooth = cv2.filter2D(image, -1, kernel.astype(np.float32), borderType=cv2.BORDER_REFLECT_101)
    return _clip(np.asarray(smooth))


def blur(image: Image, rng: Generator) -> tuple[Image, str]:
    """Optical blur: an anisotropic Gaussian (σ 0.3-3 px, as in Real-ESRGAN's first round) or a defocus disc."""
    if rng.random() < 0.3:
        radius = rng.uniform(0.8, 4.0)
        half = int(np.ceil(radius))
        y, x = np.mgrid[-half : half + 1, -half : half + 1]
        disc = np.clip(radius + 0.5 - np.hypot(x, y), 0.0, 1.0)
        return _convolve(image, disc / disc.sum()), f"defocus(r={radius:.1f} px)"
    long, ratio, theta = _log_uniform(rng, 0.3, 3.0), rng.uniform(0.4, 1.0), rng.uniform(0, np.pi)
    half = int(np.ceil(3 * long))
    y, x = np.mgrid[-half : half + 1, -half : half + 1]
    u, v = x * np.cos(theta) + y * np.sin(theta), y * np.cos(theta) - x * np.sin(theta)
    kernel = np.exp(-0.5 * ((u / long) ** 2 + (v / (long * ratio)) ** 2))
    return _convolve(image, kernel / kernel.sum()), f"blur(σ={long:.1f}×{long * ratio:.1f} px)"


def line_kernel(length: float, theta: float, width: float = 1.0) -> NDArray[np.float64]:
    """Anti-aliased straight segment of `length` px at angle `theta` (rad, 0 = along x), normalised to sum 1."""
    half = int(np.ceil(length / 2 + width))
    y, x = np.mgrid[-half : half + 1, -half : half + 1]
    along, across = x * np.cos(theta) + y * np.sin(theta), y * np.cos(theta) - x * np.sin(theta)
    inside = np.clip(length / 2 + 0.5 - np.abs(along), 0, 1) * np.clip(width / 2 + 0.5 - np.abs(across), 0, 1)
    kernel: NDArray[np.float64] = inside / inside.sum()
    return kernel


def motion(image: Image, rng: Generator) -> tuple[Image, str]:
    """Motion blur: a straight line, or a camera-shake trajectory (random walk with inertia, Boracchi & Foi 2012)."""
    length = rng.uniform(3, 25)
    if rng.random() < 0.5:
        theta = rng.uniform(0, np.pi)
        return _convolve(
            image, line_kernel(length, theta)
        ), f"motion(θ={np.degrees(theta):.0f}°, {length:.0f} px)"
    turns = np.cumsum(rng.normal(0, rng.uniform(0.05, 0.5), 64)) + rng.uniform(0, 2 * np.pi)
    path = np.cumsum(np.stack([np.cos(turns), np.sin(turns)], 1) * (length / 64), axis=0)
    path -= path.mean(0)
    half = int(np.ceil(np.abs(path).max())) + 1
    kernel = np.zeros((2 * half + 1, 2 * half + 1))
    x0, y0 = np.floor(path[:, 0]).astype(int), np.floor(path[:, 1]).astype(int)
    fx, fy = path[:, 0] - x0, path[:, 1] - y0
    for dx, dy, weight in (
        (0, 0, (1 - fx) * (1 - fy)),
        (1, 0, fx * (1 - fy)),
        (0, 1, (1 - fx) * fy),
        (1, 1, fx * fy),
    ):
        np.add.at(kernel, (y0 + dy + half, x0 + dx + half), weight)
    return _convolve(image, kernel / kernel.sum()), f"shake({length:.0f} px)"


def gaussian_noise(image: Image, rng: Generator) -> tuple[Image, str]:
    """White Gaussian noise, σ 1-50 of 255: independent by colour, or grey (DegAE: 40 % grey; here 20 %)."""
    sigma = rng.uniform(1, 50)
    grey = rng.random() < 0.2
    shape = (*image.shape[:2], 1) if grey else image.shape
    noisy = image + np.float32(sigma / 255) * rng.standard_normal(shape, dtype=np.float32)
    return _clip(noisy), f"noise(σ={sigma:.0f}{', grey' if grey else ''})"


def poisson_noise(image: Image, rng: Generator) -> tuple[Image, str]:
    """Shot noise: `peak` photons at white, 20-2000 (DegAE: 10^2-10^4), with read noise σ 0-5 of 255."""
    peak, read = _log_uniform(rng, 20, 2000), rng.uniform(0, 5)
    noisy = rng.poisson(image * peak) / peak + rng.normal(0, read / 255, image.shape)
    return _clip(noisy), f"poisson(peak={peak:.0f}, read σ={read:.1f})"


def sensor_noise(image: Image, rng: Generator) -> tuple[Image, str]:
    """Spatially correlated noise as a camera's demosaicing leaves it: signal-dependent, low-passed by σ 0.4-1.2 px."""
    sigma, spread, gain = rng.uniform(3, 40), rng.uniform(0.4, 1.2), rng.uniform(0.0, 1.0)
    white = rng.standard_normal(image.shape, dtype=np.float32)
    grain = np.asarray(cv2.GaussianBlur(white, (0, 0), spread))
    grain = grain * np.float32(sigma / 255 / max(float(grain.std()), 1e-6))
    return _clip(image + grain * np.sqrt(1 - gain + gain * image)), f"sensor(σ={sigma:.0f}, {spread:.1f} px)"


def noise(image: Image, rng: Generator) -> tuple[Image, str]:
    """One of the three noise models: white Gaussian 60 %, shot 20 %, sensor 20 %."""
    return (gaussian_noise, poisson_noise, sensor_noise)[rng.choice(3, p=[0.6, 0.2, 0.2])](image, rng)


def streak_kernel(length: float, theta: float, sigma: float) -> NDArray[np.float64]:
    """One out-of-focus drop on its way: a line of `length` px at `theta` (rad), fading at both ends, with a Gaussian
    cross-section of `sigma` px; peak 1."""
    half = int(np.ceil(length / 2 + 3 * sigma))
    y, x = np.mgrid[-half : half + 1, -half : half + 1]
    along, across = x * np.cos(theta) + y * np.sin(theta), y * np.cos(theta) - x * np.sin(theta)
    fade = np.clip((length / 2 - np.abs(along)) / (0.2 * length) + 0.5, 0, 1)
    kernel: NDArray[np.float64] = fade * np.exp(-0.5 * (across / sigma) ** 2)
    return kernel


def rain(image: Image, rng: Generator) -> tuple[Image, str]:
    """Rain streaks: 1-5 layers of drops smeared along a fall line, added (O = B + ΣS, Yang et al., CVPR 2017).

    Each layer has its own length, width, density and brightness: dense layers are fainter (far rain), sparse ones
    brighter. Layers share a wind direction up to a spread. Four draws in ten are downpours: longer, wider and denser
    streaks that run together. Three in ten get a veil of mist as well.
    """
    height, width = image.shape[:2]
    layers = int(rng.integers(1, 6))
    wind, spread = np.pi / 2 + rng.normal(0, 0.4), rng.uniform(0.0, 0.5)
    downpour = rng.random() < 0.4
    strength = rng.uniform(0.7, 1.3) if downpour else rng.uniform(0.2, 1.3)
    longest, widest, densest = (150, 2.5, 0.8) if downpour else (60, 1.4, 0.5)
    streaks = np.zeros((height, width), np.float32)
    for _ in range(layers):
        length, sigma = _log_uniform(rng, 6, longest), _log_uniform(rng, 0.35, widest)
        cover = _log_uniform(rng, 0.1 if downpour else 0.01, densest)  # share of the pixels under a streak
        kernel = streak_kernel(length, wind + rng.normal(0, spread), sigma)
        margin = kernel.shape[0] // 2
        shape = (height + 2 * margin, width + 2 * margin)
        drops = rng.random(shape, dtype=np.float32)
        drops = np.where(drops < cover / kernel.sum(), rng.uniform(0.2, 1.0, shape), 0).astype(np.float32)
        layer = cv2.filter2D(drops, -1, kernel.astype(np.float32), borderType=cv2.BORDER_CONSTANT)
        bright = strength * rng.uniform(0.5, 1.0) * (1 - 0.6 * cover / densest)
        streaks += np.float32(bright) * layer[margin : margin + height, margin : margin + width]
    streaks *= min(
        1.0, rng.uniform(0.08, 0.3) / max(float(streaks.mean()), 1e-6)
    )  # the more, the more translucent
    veil = rng.uniform(0, 0.3) * strength if rng.random() < 0.3 else 0.0
    wet = image * (1 - veil) + veil * rng.uniform(0.6, 0.9)
    return _clip(wet + streaks[..., None]), (
        f"rain({layers} layers, wind {np.degrees(wind) - 90:+.0f}°, covers {np.mean(streaks > 0.05):.0%})"
    )


def jpeg(image: Image, rng: Generator) -> tuple[Image, str]:
    """JPEG at quality 10-95 (Real-ESRGAN, DegAE: 30-95; lower here, as old cameras send it), 4:2:0 or 4:4:4."""
    quality = int(rng.integers(10, 96))
    sampling = rng.choice(
        [cv2.IMWRITE_JPEG_SAMPLING_FACTOR_420, cv2.IMWRITE_JPEG_SAMPLING_FACTOR_444], p=[0.7, 0.3]
    )
    options = [cv2.IMWRITE_JPEG_QUALITY, quality, cv2.IMWRITE_JPEG_SAMPLING_FACTOR, int(sampling)]
    _, code = cv2.imencode(".jpg", np.rint(image[..., ::-1] * 255).astype(np.uint8), options)
    decoded = np.asarray(cv2.imdecode(code, cv2.IMREAD_COLOR))[..., ::-1]
    return decoded.astype(np.float32) / np.float32(255), f"jpeg(q={quality})"


def _smooth_field(shape: tuple[int, int], rng: Generator, cells: int) -> NDArray[np.float32]:
    """Random field in [0, 1], smooth at about 1/`cells` of the image's size; stands in for unknown scene depth."""
    coarse = rng.random((cells + 1, cells + 1)).astype(np.float32)
    return np.clip(cv2.resize(coarse, shape[::-1], interpolation=cv2.INTER_CUBIC), 0, 1)


def haze(image: Image, rng: Generator) -> tuple[Image, str]:
    """Haze I = J·t + A·(1-t), t = exp(-β·depth) (Koschmieder; RESIDE: A 0.7-1.0, β 0.6-1.8); depth is a ramp plus a
    smooth random field, since a single photograph tells none."""
    height, width = image.shape[:2]
    beta, light = rng.uniform(0.4, 2.0), rng.uniform(0.7, 1.0)
    airlight = np.clip(light + rng.normal(0, 0.02, 3), 0, 1)
    ramp = np.linspace(1.0, rng.uniform(0.0, 1.0), height, dtype=np.float32)[:, None]
    depth = 0.3 + 0.7 * (0.6 * ramp + 0.4 * _smooth_field((height, width), rng, int(rng.integers(2, 6))))
    t = np.exp(-beta * depth)[..., None]
    return _clip(image * t + airlight * (1 - t)), f"haze(β={beta:.1f}, A={light:.2f})"


def low_light(image: Image, rng: Generator) -> tuple[Image, str]:
    """Under-exposure in linear light (γ 2.2) by 1-5 stops, then shot and read noise of a raised gain, and 8 bits."""
    stops, peak, read = rng.uniform(1, 5), _log_uniform(rng, 200, 5000), rng.uniform(0, 3)
    linear = image**2.2 * 2.0**-stops
    noisy = rng.poisson(linear * peak) / peak + rng.normal(0, read / 255 / 8, image.shape)
    dark = np.clip(noisy, 0, 1) ** (1 / 2.2)
    return _clip(np.rint(dark * 255) / 255), f"lowlight(-{stops:.1f} EV, peak={peak:.0f})"


DEGRADATIONS: dict[str, Degradation] = {
    "blur": blur,
    "motion": motion,
    "noise": noise,
    "rain": rain,
    "jpeg": jpeg,
    "haze": haze,
    "lowlight": low_light,
}


def prod(image: Image, rng: Generator, names: Sequence[str], max_count: int) -> tuple[Image, str]:
    """Pre-training with randomly ordered degradations: 1 to `max_count` of `names`, each at most once, in random order.

    Returns the degraded image and the draw as text, e.g. "motion(θ=31°, 9 px) → rain(…) → jpeg(q=42)". Without
    repetition (n names) there are Σ n!/(n-k)! for k = 1..max_count sequences of functions.
    """
    count = int(rng.integers(1, min(max_count, len(names)) + 1))
    told = []
    for name in rng.permutation(np.asarray(names))[:count]:
        image, text = DEGRADATIONS[str(name)](image, rng)
        told.append(text)
    return image, " → ".join(told)
