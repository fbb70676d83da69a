"""Haze between scene and lens, over depth invented for a photograph that tells none."""

import cv2
import numpy as np
from colora.train.camera import Image, clip, save
from colora.train.noise import grain
from numpy.random import Generator
from numpy.typing import NDArray

SHRINK = 4
"""depth is invented on a copy that is smaller by this; the picture's edges are put back in full size"""
EDGE = np.float32(1e-3)
"""variance of grey values that counts as an edge"""


def _plane_and_field(shape: tuple[int, int], rng: Generator) -> NDArray[np.float32]:
    """H×W in [0, 1]: a plane, mostly farther at the top, mixed with a field smooth at 1/2-1/5 of the picture."""
    height, width = shape
    cells, share = int(rng.integers(2, 6)), rng.uniform(0.3, 0.9)
    field = rng.random((cells + 1, cells + 1), dtype=np.float32) * np.float32(1 - share)
    field = np.asarray(cv2.resize(field, (width, height), interpolation=cv2.INTER_CUBIC))
    down, sideways = rng.uniform(0, 1), rng.normal(0, 0.4)
    field += (share * (1 - down * (np.arange(height, dtype=np.float32) / height)))[:, None]
    field += share * sideways * (np.arange(width, dtype=np.float32) / width - 0.5)
    return clip(field)


def _objects(image: Image, rng: Generator) -> NDArray[np.float32]:
    """H×W in [0, 1]: a distance for each of 2-16 regions alike in colour and place (one round of SLIC, Achanta et al.
    2012, from random pixels). It is drawn anew each time, so that no colour means near or far."""
    height, width = image.shape[:2]
    points = np.empty((height, width, 5), np.float32)
    points[..., :3] = cv2.medianBlur(image, 5)
    points[..., :3] *= np.float32(np.exp(rng.uniform(0.5, 2.5)))
    points[..., 3] = (np.arange(height, dtype=np.float32) / max(height, width))[:, None]
    points[..., 4] = np.arange(width, dtype=np.float32) / max(height, width)
    listed = points.reshape(-1, 5)
    seeds = listed[rng.integers(len(listed), size=int(rng.integers(2, 17)))]
    nearest = np.argmax(listed @ seeds.T - 0.5 * (seeds**2).sum(1), axis=1)
    distance: NDArray[np.float32] = rng.random(len(seeds), dtype=np.float32)[nearest].reshape(height, width)
    return distance


def invent_depth(image: Image, rng: Generator) -> NDArray[np.float32]:
    """H×W in [0, 1], 1 far: a plane mixed with a smooth field, and in three draws of four with objects whose distance
    jumps at the picture's own edges: a fast guided filter (He & Sun, arXiv 1505.00996) carries them to full size."""
    height, width = image.shape[:2]
    small = (max(1, width // SHRINK), max(1, height // SHRINK))
    coarse = np.asarray(cv2.resize(image, small, interpolation=cv2.INTER_AREA), np.float32)
    depth = _plane_and_field(small[::-1], rng)
    if rng.random() < 0.25:
        return np.asarray(cv2.resize(depth, (width, height)), np.float32)
    share, side = np.float32(rng.uniform(0.3, 1.0)), (3, 5, 9)[rng.integers(3)]
    distance, guide = _objects(coarse, rng), np.asarray(cv2.cvtColor(coarse, cv2.COLOR_RGB2GRAY), np.float32)

    def mean(values: NDArray[np.floating]) -> NDArray[np.float32]:
        return np.asarray(cv2.blur(values, (side, side)), np.float32)

    mean_distance, mean_guide = mean(distance), mean(guide)
    spread = mean(guide * guide) - mean_guide * mean_guide  # 0 where flat, up to rounding
    slope = (mean(distance * guide) - mean_distance * mean_guide) / (spread + EDGE)
    offset = mean(mean_distance - slope * mean_guide) * share + depth * (1 - share)
    full = np.asarray(cv2.resize(mean(slope) * share, (width, height)), np.float32)
    full *= np.asarray(cv2.cvtColor(image, cv2.COLOR_RGB2GRAY), np.float32)
    full += np.asarray(cv2.resize(offset, (width, height)), np.float32)
    return clip(full)


def haze(image: Image, rng: Generator) -> tuple[Image, str]:
    """Haze I = J·t + A·(1-t), t = exp(-β·d) (Koschmieder), d as `invent_depth` has it, then the camera.

    RESIDE (Li et al., TIP 2019) draws β 0.6-1.8 and A 0.7-1.0 and takes d from a depth camera; here β 0.4-2.3 and A
    0.65-1.0. A patch is a part of a scene: its d spans the range of three random numbers in 0.05-1, so that t is
    0.1-0.98. Our choice: A is warmer or colder than grey (σ 0.02; in three draws of ten 0.05), in three of ten short
    waves are scattered more (β ± up to 15 %), and in one of four light adds up where it is linear (squares, as of a
    gamma of 2), as outdoors. Removing haze amplifies what the camera adds: `grain` in a quarter of the draws, JPEG of
    quality 80-97 in 35 %, 8 bits in all.
    """
    beta, light = rng.uniform(0.4, 2.3), rng.uniform(0.65, 1.0)
    warm = rng.normal(0, 0.05 if rng.random() < 0.3 else 0.02)
    airlight = np.clip(light + warm * np.array([1, 0.2, -1]) + rng.normal(0, 0.01, 3), 0, 1)
    blue = rng.uniform(0, 0.15) if rng.random() < 0.3 else 0.0
    linear = rng.random() < 0.25
    near, _, far = np.sort(rng.uniform(0.05, 1, 3)).astype(np.float32)
    depth = near + (far - near) * invent_depth(image, rng)
    t = [cv2.exp(depth * np.float32(-beta * (1 + k * blue))) for k in ((-1, 0, 1) if blue else (0,))]
    transmitted = cv2.merge(t if blue else t * 3)
    source = np.array([*(airlight * airlight if linear else airlight), 0])  # a colour to OpenCV
    hazy = np.asarray(cv2.subtract(image * image if linear else image, source), np.float32)
    hazy *= transmitted
    hazy = np.asarray(cv2.add(hazy, source), np.float32)
    if linear:
        hazy = np.sqrt(hazy)
    told = f"β={beta:.1f}, d={near:.1f}-{far:.1f}, A={light:.2f}"
    if rng.random() < 0.25:
        hazy, grainy = grain(hazy, rng)
        told += f", {grainy}"
    saved, file = save(hazy, rng, 0.35)
    return saved, f"haze({told}{file})"
