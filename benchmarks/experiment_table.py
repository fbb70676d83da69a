"""EXPERIMENTS: what each of the paper's experiments runs, and what the paper found.

Sources of the paper's figures: read from the project page's plots.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import product
from typing import Any

from colora.benchmarks.experiment_data import REAL
from colora.benchmarks.experiment_runs import Run
from colora.benchmarks.experiment_view import Claim

PAIRS, SEEDS = (16, 32, 64, 128), (0, 1)
TASKS = ("rain", "haze", REAL)
"""known to pre-training, new to it, and new and real"""

NEW = ("haze", "raindrop", "lowlight", "haze+noise", "raindrop+jpeg")


@dataclass(frozen=True)
class Experiment:
    """Runs, and how they are told: a line for each value of `line`, along `axis`."""

    title: str
    runs: tuple[Run, ...]
    line: str
    """fields of Run, joined by "+", that tell the lines of the plot apart"""
    axis: str
    """field of Run along which they go"""
    claims: tuple[Claim, ...] = ()
    exports: bool = False
    """whether the adapters are exported in the end, with their backbone"""


def grid(**values: Sequence[Any]) -> tuple[Run, ...]:
    """Runs of all combinations; fields that are not given are Run's own. The last field changes fastest."""
    return tuple(Run(**dict(zip(values, chosen, strict=True))) for chosen in product(*values.values()))


EXPERIMENTS: dict[str, Experiment] = {
    "a": Experiment(
        "FAIG-sized adapters, uniform ones, the decoder's, full tuning",
        grid(seed=SEEDS, task=TASKS, pairs=PAIRS, method=("colora", "uniform", "decoder", "full")),
        "method",
        "pairs",
        (
            Claim("colora", "full", {16: -0.06, 32: -0.06, 64: -0.14, 128: -0.20}),
            Claim("colora", "uniform", {16: 0.05, 32: 0.07, 64: 0.17, 128: 0.23}),
            Claim("colora", "decoder", {16: 0.19, 32: 0.27, 64: 0.29, 128: 0.32}),
        ),
    ),
    "b": Experiment(
        "PROD, one degradation, fixed order, random initialisation; all fully tuned",
        grid(
            seed=SEEDS, task=TASKS, pairs=PAIRS, recipe=("prod", "single", "fixed", "none"), method=("full",)
        ),
        "recipe",
        "pairs",
        (
            Claim("prod", "none", {16: 1.23, 32: 0.99, 64: 0.84, 128: 0.79}),
            Claim("prod", "fixed", {16: 1.12, 32: 0.94, 64: 0.80, 128: 0.73}),
            Claim("prod", "single", {16: 0.47, 32: 0.30, 64: 0.28, 128: 0.21}),
        ),
    ),
    "c": Experiment(
        "Budgets of 1 to 20 % of the backbone",
        grid(
            seed=SEEDS,
            task=TASKS,
            pairs=(64,),
            budget=(0.01, 0.02, 0.03, 0.05, 0.07, 0.1, 0.15, 0.2),
            method=("colora", "uniform"),
        )
        + grid(seed=SEEDS, task=TASKS, pairs=(64,), budget=(0.2,), method=("full",)),
        "method",
        "budget",
        (Claim("colora", "uniform", {0.07: 0.17}),),
    ),
    "d": Experiment(
        "Degradations and mixtures that pre-training never saw",
        grid(
            seed=SEEDS,
            task=NEW,
            pairs=(32,),
            recipe=("prod", "none"),
            method=("full",),
        )
        + grid(seed=SEEDS, task=NEW, pairs=(32,), method=("colora",)),
        "recipe+method",
        "pairs",
        (
            Claim("prod, full", "none, full", {32: 0.99}),
            Claim("prod, colora", "none, full", {32: 0.93}),
            Claim("prod, colora", "prod, full", {32: -0.06}),
        ),
    ),
    "e": Experiment(
        "A small Restormer",
        grid(
            task=("rain", "haze"),
            pairs=(32,),
            budget=(0.11,),
            method=("colora", "uniform", "full"),
            architecture=("restormer",),
        ),
        "method",
        "pairs",
        (Claim("colora", "full", {32: -0.09}), Claim("colora", "uniform", {})),
        exports=True,
    ),
    "f": Experiment(
        "PROD, DegAE-style and Real-ESRGAN's two rounds; all fully tuned",
        grid(
            seed=SEEDS, task=TASKS, pairs=(16, 128), recipe=("prod", "degae", "real-esrgan"), method=("full",)
        ),
        "recipe",
        "pairs",
        (Claim("prod", "degae", {16: 0.68, 128: 0.54}), Claim("prod", "real-esrgan", {})),
    ),
    "g": Experiment(
        "×2 super-resolution of bicubically enlarged pictures, which pre-training never saw",
        grid(
            seed=SEEDS,
            task=("x2",),
            pairs=(16, 64),
            recipe=("prod", "none"),
            method=("full",),
        )
        + grid(seed=SEEDS, task=("x2",), pairs=(16, 64), method=("colora",)),
        "recipe+method",
        "pairs",
        (Claim("prod, full", "none, full", {}), Claim("prod, colora", "prod, full", {})),
    ),
}
"""NAME → what it runs. Paper: averages over its six real tasks, NAFNet of 29 million numbers (e: Restormer of 26)."""
