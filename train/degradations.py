"""DEGRADATIONS, the table of functions (image, rng) → (image, description), and PROD: their random composition.

PROD: "Contribution-based Low-Rank Adaptation with Pre-training Model for Real Image Restoration", arXiv
2408.01099, figure 2a (blur, noise, rain, JPEG, motion; one to N functions, random order). The paper's parameter
ranges are not public: the ranges here are our choice, each with its source beside it in camera.py, noise.py,
weather.py and haze.py; so are haze, raindrop, lowlight and resample, and the rule that draws how many.
"""

import math
from collections.abc import Sequence
from typing import Literal, get_args

from colora.devices.errors import unknown
from colora.train.camera import Degradation, Image, blur, jpeg, motion, resample
from colora.train.haze import haze
from colora.train.noise import grain, low_light, noise
from colora.train.weather import rain, raindrop
from numpy.random import Generator

__all__ = [
    "DEGRADATIONS",
    "MODES",
    "PROD",
    "Degradation",
    "Image",
    "Mode",
    "count_sequences",
    "count_shares",
    "prod",
]

DEGRADATIONS: dict[str, Degradation] = {
    "haze": haze,
    "rain": rain,
    "raindrop": raindrop,
    "blur": blur,
    "motion": motion,
    "lowlight": low_light,
    "noise": noise,
    "resample": resample,
    "jpeg": jpeg,
    "grain": grain,
}
"""in the order of light's way from scene to file, which is the order of mode `fixed`; `grain` is for tasks"""

PROD = tuple(name for name in DEGRADATIONS if name != "grain")
"""What pre-training draws from unless told otherwise: each leaves something to restore."""

Mode = Literal["single", "fixed", "random"]
MODES: tuple[Mode, ...] = get_args(Mode)
"""The paper's ablation as we read its figure: one function an image; several, always in the order in which the names
are given; several in random order (PROD)."""

MAX_COUNT = len(PROD)
DECAY = 0.5


def count_shares(names: int, max_count: int, mode: Mode = "random", decay: float = DECAY) -> list[float]:
    """Share of the images that get 1, 2, …, min(max_count, names) functions; one share, 1.0, in mode `single`.

    Each count is drawn `decay` times as often as the one before; 1 makes all counts alike. The default halves: of nine
    functions half of the images get one and 6 % five or more, so that a small network, which learns little from a
    picture that was spoilt five times, meets long sequences without spending its steps on them. Mean count 2.0.
    Raises ValueError unless max_count ≥ 1 and 0 < decay ≤ 1, and UnknownName for another mode.
    """
    if mode not in MODES:
        raise unknown("mode", mode, MODES)
    if max_count < 1 or not 0 < decay <= 1:
        raise ValueError(f"max_count is {max_count}, decay {decay}: expected at least 1, and above 0 up to 1")
    weights = [decay**k for k in range(1 if mode == "single" else min(max_count, names))]
    return [w / sum(weights) for w in weights]


def count_sequences(names: int, max_count: int, mode: Mode = "random") -> int:
    """How many different sequences of functions can be drawn from `names` of them.

    A sequence is which functions in which order, each at most once: parameters, which are continuous, don't count.
    With n names and up to m at once: n in mode `single`, Σ n!/(k!·(n-k)!) over k = 1..m in mode `fixed`,
    Σ n!/(n-k)! in mode `random`: 986,409 for all nine. That is what *can* be drawn; half of the draws are single
    functions (`count_shares`). The paper tells of about 137,000 "degradation representations" and not what it counted.
    """
    most = len(count_shares(names, max_count, mode))
    ways = math.perm if mode == "random" else math.comb
    return sum(ways(names, k) for k in range(1, most + 1))


def degrade(image: Image, rng: Generator, steps: Sequence[str]) -> Image:
    """Applies `steps` in their order: names in DEGRADATIONS, or several joined by "|", of which one is drawn."""
    for step in steps:
        names = step.split("|")
        image, _ = DEGRADATIONS[names[rng.integers(len(names))] if len(names) > 1 else step](image, rng)
    return image


def prod(
    image: Image,
    rng: Generator,
    names: Sequence[str] = PROD,
    max_count: int = MAX_COUNT,
    mode: Mode = "random",
    decay: float = DECAY,
) -> tuple[Image, str]:
    """Pre-training with randomly ordered degradations: up to `max_count` of `names`, each at most once, see `Mode`.

    `count_shares` says how many. Returns the degraded image and the draw as text, e.g.
    "motion(θ=31°, 9 px) → rain(…) → jpeg(q=42)". Raises what `count_shares` raises.
    """
    shares = count_shares(len(names), max_count, mode, decay)
    # equal shares are drawn as they were before there was a decay, so that older seeds draw what they drew
    more = rng.integers(len(shares)) if decay == 1 else rng.choice(len(shares), p=shares)
    order = rng.permutation(len(names))[: 1 + more]
    told = []
    for i in sorted(order) if mode == "fixed" else order:
        image, text = DEGRADATIONS[names[i]](image, rng)
        told.append(text)
    return image, " → ".join(told)
