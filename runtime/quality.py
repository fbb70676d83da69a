"""How close two pictures are: PSNR and SSIM, on RGB, all three channels, no border cut."""

import numpy as np
from colora.devices.errors import ImageError
from colora.runtime.weights import Array

SSIM_WINDOW = 11
SSIM_SIGMA = 1.5


def psnr(image: Array, reference: Array) -> float:
    """Peak signal-to-noise ratio in dB over all pixels and channels; infinite for equal images.

    image, reference: H×W×3 RGB of one dtype: uint8 (peak 255), or float32 or float64 (peak 1).
    Raises: ImageError if shapes or dtypes differ.
    """
    a, b = _unit(image, reference)
    error = float(np.mean((a - b) ** 2))
    return float("inf") if error == 0 else -10 * float(np.log10(error))


def ssim(image: Array, reference: Array) -> float:
    """Structural similarity (Wang et al. 2004), mean over pixels and channels, at most 1.

    Gaussian window of 11×11, σ 1.5, K1 0.01, K2 0.03, only where the window fits. Arguments as for `psnr`.
    Raises: ImageError if shapes or dtypes differ or a side is below 11 pixels.
    """
    a, b = _unit(image, reference)
    if min(a.shape[:2]) < SSIM_WINDOW:
        raise ImageError(f"SSIM of {a.shape[0]}×{a.shape[1]} pixels; expected at least {SSIM_WINDOW} a side")
    c1, c2 = 0.01**2, 0.03**2
    mean_a, mean_b = _blur(a), _blur(b)
    var_a, var_b = _blur(a * a) - mean_a**2, _blur(b * b) - mean_b**2
    covariance = _blur(a * b) - mean_a * mean_b
    likeness = (2 * mean_a * mean_b + c1) * (2 * covariance + c2)
    return float(np.mean(likeness / ((mean_a**2 + mean_b**2 + c1) * (var_a + var_b + c2))))


def _unit(image: Array, reference: Array) -> tuple[Array, Array]:
    """Both as float64 with peak 1."""
    if image.shape != reference.shape or image.dtype != reference.dtype or image.ndim != 3 or not image.size:
        raise ImageError(
            f"images are {image.dtype} {image.shape} and {reference.dtype} {reference.shape}; "
            "expected one dtype and one shape H×W×3"
        )
    if image.dtype == np.uint8:
        return image / 255.0, reference / 255.0
    if image.dtype not in (np.float32, np.float64):
        raise ImageError(f"images are {image.dtype}; expected uint8, or float32 in [0, 1]")
    return image.astype(np.float64), reference.astype(np.float64)


def _blur(image: Array) -> Array:
    """Separable Gaussian window along the first two axes, valid part only."""
    offsets = np.arange(SSIM_WINDOW) - SSIM_WINDOW // 2
    window = np.exp(-(offsets**2) / (2 * SSIM_SIGMA**2))
    window /= window.sum()
    height, width = (n - SSIM_WINDOW + 1 for n in image.shape[:2])
    rows: Array = sum(w * image[i : i + height] for i, w in enumerate(window))
    blurred: Array = sum(w * rows[:, i : i + width] for i, w in enumerate(window))
    return blurred
