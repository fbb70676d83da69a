"""More pictures from few photographs: other scales, tilts, light and colours, drawn before anything degrades them.

A network that has seen a photograph often enough knows by heart how bright it was and how far its haze reached, which
the degraded picture doesn't tell. A/B: a NAFNet of width 12 on six photographs, 1,500 steps of four 48×48 patches,
PROD, one seed: held out 21.5 dB at the end with augmentation and 19.5 without; the best of ten validations was 21.6
with both.

Real pairs are turned and mirrored only (`pair_crop`): more would make other pairs.
"""

from collections.abc import Sequence

import cv2
import numpy as np
from colora.train.camera import GAMMA, Image, clip, log_uniform
from colora.train.photos import Pixels, corner, to_float, turned
from numpy.random import Generator
from numpy.typing import NDArray

SHRINK = 3.0
"""largest factor by which a crop is a smaller copy; Real-ESRGAN's multi-scale pictures: 4/3, 2, 3"""
TILT = 10.0
"""largest tilt in degrees (our choice: horizons stay nearly level), of crops that shrink by more than TILTED, in which
the interpolation leaves no blur"""
TILTED = 1.75
EXPOSURE = (-1.0, 0.5)
"""stops, in linear light; Afifi et al. (CVPR 2021) render raw files at -1.5 to 1.5 to have them badly exposed"""
BALANCE = 0.12
"""largest change of red and blue against green, in linear light: what Brooks et al. (CVPR 2019) draw around a camera's
mean white balance, red 1.9-2.4, blue 1.5-1.9"""
CURVE = (0.8, 1.25)
"""exponent of the numbers: contrast of the shadows against the lights (our choice)"""
SATURATION = (0.6, 1.4)
"""factor of the distance from grey, as torchvision's trainings on ImageNet jitter it"""


def augmented_crop(photos: Sequence[Pixels], size: int, rng: Generator) -> Image:
    """Random crop of a random photo, size×size×3, float32 in [0, 1], in one of 8 orientations.

    Half of the draws are smaller copies, by up to SHRINK and tilted by up to TILT; half have other light and colours
    (`toned`). photos: H×W×3 RGB uint8, no side below `size`.
    """
    pixels = photos[int(rng.integers(len(photos)))]
    factor = log_uniform(rng, 1.0, SHRINK) if rng.random() < 0.5 else 1.0
    span = min(int(size * factor), *pixels.shape[:2])
    y, x = corner(pixels.shape, span, rng)
    crop = pixels[y : y + span, x : x + span]
    if span > TILTED * size:
        crop = tilted(crop, size, rng.uniform(-TILT, TILT))
    elif span != size:
        crop = np.asarray(cv2.resize(crop, (size, size), interpolation=cv2.INTER_AREA), np.uint8)
    image = toned(crop, rng) if rng.random() < 0.5 else to_float(crop)
    return turned(image, int(rng.integers(8)))


def tilted(square: Pixels, size: int, degrees: float) -> Pixels:
    """The n×n×3 picture turned around its centre: the largest upright square inside, n / (cos + sin of the angle),
    shrunk to size×size. A mean over as many pixels as become one comes first, lest texture turn into aliases."""
    side, angle = len(square), np.radians(degrees)
    factor = side / (np.cos(angle) + abs(np.sin(angle))) / size
    middle, seen = (side - 1) / 2, max(1, round(factor))
    turn = np.asarray(cv2.getRotationMatrix2D((middle, middle), degrees, 1 / factor), np.float64)
    turn[:, 2] += (size - 1) / 2 - middle
    return np.asarray(cv2.warpAffine(cv2.blur(square, (seen, seen)), turn, (size, size)), np.uint8)


def toned(pixels: Pixels, rng: Generator) -> Image:
    """H×W×3 uint8 as another exposure, white balance, tone curve and saturation would show it; what gets too bright is
    cut off, as a camera does. float32 in [0, 1]."""
    gain = 2 ** rng.uniform(*EXPOSURE) * (1 + np.array([1, 0, 1]) * rng.uniform(-BALANCE, BALANCE, 3))
    exponent, saturation = log_uniform(rng, *CURVE), rng.uniform(*SATURATION)
    levels = np.arange(256)[:, None] / 255
    table: NDArray[np.float32] = np.minimum(levels * gain ** (1 / GAMMA), 1).astype(np.float32) ** exponent
    image = cv2.LUT(np.ascontiguousarray(pixels), table.reshape(1, 256, 3).astype(np.float32))
    grey = (1 - saturation) * np.array([0.299, 0.587, 0.114])
    return clip(np.asarray(cv2.transform(image, saturation * np.eye(3) + grey), np.float32))
