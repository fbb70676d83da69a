"""Rain: streaks between scene and lens, and drops on the glass."""

from functools import lru_cache

import cv2
import numpy as np
from colora.train.camera import Image, clip, convolve_inside, log_uniform
from numpy.random import Generator
from numpy.typing import NDArray


def streak_kernel(length: float, theta: float, sigma: float) -> NDArray[np.float32]:
    """One out-of-focus drop on its way: a line of `length` px at `theta` (rad), fading at both ends, with a Gaussian
    cross-section of `sigma` px; peak 1."""
    half = int(np.ceil(length / 2 + 3 * sigma))
    x = np.arange(-half, half + 1, dtype=np.float32)
    y = x[:, None]
    cos, sin = np.float32(np.cos(theta)), np.float32(np.sin(theta))
    across = y * cos - x * sin
    near = np.abs(across) <= 3 * sigma
    along = np.abs(x * cos + y * sin)[near]
    kernel = np.zeros_like(across)
    fade = np.clip((length / 2 - along) / (0.2 * length) + 0.5, 0, 1)
    kernel[near] = fade * np.exp(-0.5 * (across[near] / sigma) ** 2)
    return kernel


SHARED, SIDE = 256, 320
"""pictures up to SHARED px take parts of layers of SIDE px that are kept; larger ones get layers of their own"""
DIRECTIONS, VARIANTS = 36, 6
"""sectors of 5° that streaks fall along, and kept layers in each, once for rain and once for downpours; some 300 come
up often and take a process 0.2 MB and a few ms each, when they first do"""
UNIT = 1 / 8192
"""of the layers' 16-bit integers: drops that overlap add up to less than 8"""


def streak_layer(
    shape: tuple[int, int], direction: int, downpour: bool, variant: int
) -> tuple[NDArray[np.uint16], float]:
    """Drops smeared along one fall line, H×W of `shape` in UNIT, and how dense they are, up to 1.

    What differs between variants (direction within its sector, length, width, share of the pixels under a streak)
    follows from the arguments, so that any process draws the same.
    """
    rng = np.random.default_rng((*shape, direction, downpour, variant))
    theta = np.pi / DIRECTIONS * (direction + rng.random())
    longest, widest, densest = (150, 2.5, 0.8) if downpour else (60, 1.4, 0.5)
    length, sigma = log_uniform(rng, 6, longest), log_uniform(rng, 0.35, widest)
    cover = log_uniform(rng, 0.1 if downpour else 0.01, densest)  # share of the pixels under a streak
    kernel = streak_kernel(length, theta, sigma)
    drops = np.zeros([n + kernel.shape[0] - 1 for n in shape], np.float32)
    count = rng.binomial(drops.size, min(1.0, cover / float(kernel.sum())))
    drops.flat[rng.integers(drops.size, size=count)] = rng.uniform(0.2, 1.0, count)
    layer = convolve_inside(drops, kernel) / np.float32(UNIT)
    return np.rint(layer).clip(0, 65535).astype(np.uint16), cover / densest


kept_layer = lru_cache(maxsize=2 * DIRECTIONS * VARIANTS)(streak_layer)


def rain(image: Image, rng: Generator) -> tuple[Image, str]:
    """Rain streaks: 1-5 layers of drops smeared along a fall line, added (O = B + ΣS, Yang et al., CVPR 2017).

    Each layer has its own length, width, density and brightness: dense layers are fainter (far rain), sparse ones
    brighter. Layers share a wind direction up to a spread. Four draws in ten are downpours: longer, wider and denser
    streaks that run together. Three in ten get a veil of mist as well. Small pictures take random parts of layers from
    a stock, since making them costs most of the time.
    """
    height, width = image.shape[:2]
    layers = int(rng.integers(1, 6))
    wind, spread = np.pi / 2 + rng.normal(0, 0.4), rng.uniform(0.0, 0.5)
    downpour = bool(rng.random() < 0.4)
    strength = rng.uniform(0.7, 1.3) if downpour else rng.uniform(0.2, 1.3)
    streaks = np.zeros((height, width), np.float32)
    for _ in range(layers):
        direction = int((wind + rng.normal(0, spread)) // (np.pi / DIRECTIONS)) % DIRECTIONS
        if max(height, width) <= SHARED:
            layer, dense = kept_layer((SIDE, SIDE), direction, downpour, int(rng.integers(VARIANTS)))
            y, x = int(rng.integers(SIDE - height + 1)), int(rng.integers(SIDE - width + 1))
            layer = layer[y : y + height, x : x + width]
        else:
            layer, dense = streak_layer((height, width), direction, downpour, int(rng.integers(2**32)))
        bright = strength * rng.uniform(0.5, 1.0) * (1 - 0.6 * dense)
        cv2.addWeighted(layer, bright * UNIT, streaks, 1, 0, dst=streaks, dtype=cv2.CV_32F)
    streaks *= min(
        1.0, rng.uniform(0.08, 0.3) / max(cv2.mean(streaks)[0], 1e-6)
    )  # the more, the more translucent
    veil = rng.uniform(0, 0.3) * strength if rng.random() < 0.3 else 0.0
    wet = np.asarray(cv2.cvtColor(streaks, cv2.COLOR_GRAY2RGB), np.float32)
    wet += image * np.float32(1 - veil) + np.float32(veil * rng.uniform(0.6, 0.9)) if veil else image
    return clip(wet), (
        f"rain({layers} layers, wind {np.degrees(wind) - 90:+.0f}°, covers {np.mean(streaks > 0.05):.0%})"
    )


SHRINK = 4
"""drops look at a copy of the picture that is smaller by this: they show it tiny, and it would alias"""


def raindrop(image: Image, rng: Generator) -> tuple[Image, str]:
    """Drops on the glass: I = (1 - M)·B + R with mask M and refracted light R (Qian et al., CVPR 2018).

    A drop is a short wide-angle lens: however small, it shows 0.3-1.2 of the picture's longer side either way, upside
    down, stretched towards its rim, 0.7-1.15 times as bright, under a veil of 0-50 % of grey sky.
    Radii scatter around 2.5-10 px (log-uniform) and cover 2-30 % of the picture before they meet; outlines are lobed,
    and where drops meet, each keeps the pixels nearest to its centre. The camera looks past them: M and R are out of
    focus by a Gaussian of 0.2-0.7 radii, so that small drops are translucent. The numbers are our choice, by eye.
    """
    height, width = image.shape[:2]
    typical, cover = log_uniform(rng, 2.5, 10.0), log_uniform(rng, 0.02, 0.3)
    soft, view = typical * rng.uniform(0.2, 0.7), max(height, width) * rng.uniform(0.3, 1.2)
    bright, veil, sky = log_uniform(rng, 0.7, 1.15), rng.uniform(0.0, 0.5), rng.uniform(0.3, 0.9)
    drops = max(1, round(cover * height * width / (np.pi * typical**2 * 1.4)))  # 1.4: mean (r/typical)²
    radius = typical * np.minimum(np.exp(rng.normal(0, 0.4, drops)), 3)
    gain = bright * np.exp(rng.normal(0, 0.15, drops))
    lobes, phases = rng.normal(0, 0.07, (3, drops)), rng.uniform(0, 2 * np.pi, (3, drops))
    cy, cx = rng.uniform(0, height, drops), rng.uniform(0, width, drops)

    nearest = _nearest(cy, cx, (height, width))
    y = np.arange(height, dtype=np.float32)[:, None] - cy.astype(np.float32)[nearest]
    x = np.arange(width, dtype=np.float32) - cx.astype(np.float32)[nearest]
    angle = np.arctan2(y, x)
    outline = np.ones_like(angle)
    for k, (lobe, phase) in enumerate(
        zip(lobes.astype(np.float32), phases.astype(np.float32), strict=True), 1
    ):
        outline += lobe[nearest] * np.cos(k * angle + phase[nearest])
    outline *= radius.astype(np.float32)[nearest]
    rim = np.hypot(x, y) / outline  # 0 at the centre, 1 at the rim
    mask = np.clip((1 - rim) * outline + np.float32(0.5), 0, 1)
    magnified = np.float32(view) / outline * (np.float32(0.5) + np.float32(0.5) * rim * rim)

    small = (max(1, width // SHRINK), max(1, height // SHRINK))
    scene = cv2.resize(image, small, interpolation=cv2.INTER_AREA)
    seen_x = _mirrored(
        (cx.astype(np.float32)[nearest] - x * magnified) * np.float32(small[0] / width), small[0]
    )
    seen_y = _mirrored(
        (cy.astype(np.float32)[nearest] - y * magnified) * np.float32(small[1] / height), small[1]
    )
    seen = cv2.remap(scene, seen_x, seen_y, cv2.INTER_LINEAR, borderMode=cv2.BORDER_REFLECT)
    light = np.asarray(seen, np.float32)
    light *= np.float32(1 - veil)
    light += np.float32(sky * veil)
    light *= cv2.merge([gain.astype(np.float32)[nearest] * mask] * 3)
    told = f"raindrop({drops} drops, r={typical:.0f} px, covers {mask.mean():.0%})"
    glass = cv2.GaussianBlur(np.float32(1) - mask, (0, 0), soft)
    wet = image * cv2.merge([glass] * 3)
    wet += cv2.GaussianBlur(light, (0, 0), soft)
    return clip(wet), told


def _mirrored(at: NDArray[np.float32], size: int) -> NDArray[np.float32]:
    """Coordinates as cv2.BORDER_REFLECT takes them inside `size` pixels; far outside, remap takes its time for that."""
    turned = (at + np.float32(0.5)) % np.float32(2 * size)
    folded: NDArray[np.float32] = np.minimum(turned, np.float32(2 * size) - turned) - np.float32(0.5)
    return folded


def _nearest(cy: NDArray[np.float64], cx: NDArray[np.float64], shape: tuple[int, int]) -> NDArray[np.intp]:
    """H×W: index of the point (cy, cx) nearest to each pixel, up to a pixel or so; of two in one pixel, the later."""
    pixels = (cy.astype(int), cx.astype(int))
    elsewhere = np.ones(shape, np.uint8)
    elsewhere[pixels] = 0
    _, label = cv2.distanceTransformWithLabels(
        elsewhere, cv2.DIST_L2, cv2.DIST_MASK_5, labelType=cv2.DIST_LABEL_PIXEL
    )
    index = np.zeros(int(label.max()) + 1, np.intp)
    index[label[pixels]] = np.arange(len(cy))
    nearest: NDArray[np.intp] = index[label]
    return nearest
