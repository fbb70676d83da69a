"""Classical restorers to compare with, each at its best setting for the set: H×W×3 RGB uint8 in and out."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass

import numpy as np
from colora.devices.errors import missing_extra
from colora.runtime.weights import Array

Restore = Callable[[Array], Array]


@dataclass(frozen=True)
class Classical:
    """A peer on one set of pairs."""

    column: str
    told: str
    restore: Restore


def non_local_means(image: Array, h: float, h_color: float) -> Array:
    """OpenCV's non-local means (Buades et al. 2011), patch 7, search window 21."""
    import cv2

    bgr = cv2.fastNlMeansDenoisingColored(np.ascontiguousarray(image[..., ::-1]), None, h, h_color, 7, 21)
    return np.ascontiguousarray(bgr[..., ::-1])


def median(image: Array, size: int) -> Array:
    """OpenCV's median filter, size×size pixels."""
    import cv2

    return np.asarray(cv2.medianBlur(np.ascontiguousarray(image), size))


def block_matching(image: Array, sigma: float) -> Array:
    """BM3D for colour images (Dabov et al. 2007; package bm3d, profile np). sigma: of 255."""
    try:
        import bm3d
    except ImportError as e:
        raise missing_extra("bm3d", "bench", "the comparison with BM3D") from e
    restored = bm3d.bm3d_rgb(image / 255.0, sigma / 255)
    levels: Array = np.rint(np.clip(restored, 0, 1) * 255).astype(np.uint8)
    return levels


def bilateral(image: Array, sigma_color: float) -> Array:
    """OpenCV's bilateral filter, σ 2 px in space, sigma_color of 255."""
    import cv2

    return np.asarray(cv2.bilateralFilter(np.ascontiguousarray(image), 9, sigma_color, 2.0))


def unsharp(image: Array, sigma: float, amount: float) -> Array:
    """Unsharp mask: what a Gaussian of sigma px takes away, added `amount` times."""
    import cv2

    soft = np.asarray(cv2.GaussianBlur(image, (0, 0), sigma), np.float32)
    levels: Array = np.rint(np.clip(image + amount * (image - soft), 0, 255)).astype(np.uint8)
    return levels


def auto_gamma(image: Array, mean: float) -> Array:
    """The one gamma that brings the mean of a picture to `mean` of 1."""
    bright = float(np.clip(image.mean() / 255, 1e-3, 0.999))
    levels: Array = np.rint(255 * (image / 255.0) ** (np.log(mean) / np.log(bright))).astype(np.uint8)
    return levels


def dark_channel(image: Array, omega: float, patch: int = 15, radius: int = 40) -> Array:
    """Dark channel prior (He, Sun, Tang, TPAMI 2011): airlight from the haziest thousandth, transmission at least 0.1,
    refined by a guided filter (He et al., ECCV 2010; grey guide, ε 1e-3)."""
    import cv2

    hazy = image.astype(np.float32) / 255
    window = np.ones((patch, patch), np.uint8)
    dark = cv2.erode(hazy.min(2), window)
    haziest = dark.ravel().argsort()[-max(1, dark.size // 1000) :]
    light = hazy.reshape(-1, 3)[haziest].mean(0)
    rough = 1 - omega * cv2.erode((hazy / np.maximum(light, 1e-3)).min(2), window)

    def mean(x: Array) -> Array:
        return np.asarray(cv2.boxFilter(x, -1, (2 * radius + 1, 2 * radius + 1)))

    guide = np.asarray(cv2.cvtColor(hazy, cv2.COLOR_RGB2GRAY))
    slope = (mean(guide * rough) - mean(guide) * mean(rough)) / (
        mean(guide * guide) - mean(guide) ** 2 + np.float32(1e-3)
    )
    offset = mean(rough) - slope * mean(guide)
    t = np.maximum(mean(slope) * guide + mean(offset), 0.1)[..., None]
    levels: Array = np.rint(np.clip((hazy - light) / t + light, 0, 1) * 255).astype(np.uint8)
    return levels


CLASSICAL: Mapping[str, tuple[Classical, ...]] = {
    "denoise_awgn25": (
        Classical(
            "opencv",
            "non-local means, h 17: the best of 10 to 30 on this set",
            lambda x: non_local_means(x, 17, 17),
        ),
        Classical("bm3d", "BM3D, told the true σ of 25", lambda x: block_matching(x, 25)),
    ),
    "derain_rain100h": (
        Classical("opencv", "median 11×11: the best of 3 to 19 on this set", lambda x: median(x, 11)),
    ),
    "denoise_real_polyu": (
        Classical("opencv", "bilateral, σ 30: the best of 5 to 50 on this set", lambda x: bilateral(x, 30)),
    ),
    "jpeg": (
        Classical("opencv", "bilateral, σ 40: the best of 5 to 70 on this set", lambda x: bilateral(x, 40)),
    ),
    "deblur_camerashake": (
        Classical(
            "opencv",
            "unsharp mask, σ 3 px, 0.3 times: the best of 1 to 3 px, 0.3 to 1.5 on this set",
            lambda x: unsharp(x, 3, 0.3),
        ),
    ),
    "dehaze_sots_indoor": (
        Classical(
            "opencv",
            "dark channel prior, ω 0.8: the best of 0.6 to 0.95 on this set",
            lambda x: dark_channel(x, 0.8),
        ),
    ),
    "dehaze_real_ohaze": (
        Classical(
            "opencv",
            "dark channel prior, ω 0.95: the best of 0.6 to 0.95 on this set",
            lambda x: dark_channel(x, 0.95),
        ),
    ),
    "lowlight_lol": (
        Classical(
            "opencv",
            "one gamma for a mean of 0.5: the best of 0.3 to 0.55 on this set",
            lambda x: auto_gamma(x, 0.5),
        ),
    ),
    "raindrop_real": (
        Classical("opencv", "median 3×3: the best of 3 to 15 on this set", lambda x: median(x, 3)),
    ),
}
"""Set of pairs → peers. BM3D needs the noise's σ, which is known for synthetic noise only."""
