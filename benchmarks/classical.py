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
}
"""Set of pairs → peers. BM3D needs the noise's σ, which is known for synthetic noise only."""
