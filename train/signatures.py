"""Failure signatures of an adaptation, in plain language: what a table of PSNR alone doesn't say.

Rules and thresholds are ours; each says why it is where it is. A function returns its warning, or None.
"""

import math
from collections.abc import Mapping, Sequence

import numpy as np
from colora.train.allocations import uniform
from colora.train.ranks import Allocation, Shape, has_rank, stored_numbers

MOVED = 0.1
"""Share of an adapter's numbers that attribution must put elsewhere than uniform shares would. A contribution that
varies by a quarter around its mean moves about this much, which at the small ranks of a budget of a few per cent is
hardly more than rounding; for the shipped adapters, rain and noise, it is above a half."""

UNDERFIT_DB = 0.5
"""Published adapters trail full tuning by 0.06 to 0.31 dB, on average over six tasks (read from the figure on CoLoRA's
project page): so much is the price of being small."""

HURT_DB = 0.1
"""Below this, another dozen of pictures might say the opposite."""


def moved_share(shapes: Mapping[str, Shape], found: Allocation) -> float:
    """Share in [0, 1] of the numbers stored for kernels that lie elsewhere than in `uniform` of the same size: the
    total variation distance between the two ways to spread them."""
    even = uniform(shapes, {}, found.stored)
    kernels = [name for name, shape in shapes.items() if has_rank(shape)]
    spread = []
    for ranks in (found.ranks, even.ranks):
        stored = [stored_numbers(shapes, {name: ranks[name]} if name in ranks else {}) for name in kernels]
        spread.append(np.array(stored) / max(1, sum(stored)))
    return float(np.abs(spread[0] - spread[1]).sum() / 2)


def nearly_uniform(shapes: Mapping[str, Shape], found: Allocation) -> str | None:
    """Where contribution tells layers hardly apart: `moved_share` below MOVED."""
    moved = moved_share(shapes, found)
    if moved >= MOVED:
        return None
    return (
        f"contribution is nearly uniform over layers: it puts {moved:.0%} of the adapter's numbers elsewhere than "
        f"uniform shares would (below {MOVED:.0%} is a warning), so it can't gain much here: --ranks uniform saves "
        "full tuning, or give attribution more to go by, --target-steps or --faig-images"
    )


def underfits(
    adapted_db: Sequence[float], tuned_db: Sequence[float], steps: int, tuned_steps: int
) -> str | None:
    """Where the adapter is worse than the fully tuned copy on what it was trained on: by more than UNDERFIT_DB, and by
    more than two standard errors of the difference.

    adapted_db, tuned_db: PSNR in dB of the same training patches; one tells nothing. The two had `steps` and
    `tuned_steps`: an adapter that had fewer can't be blamed, and the warning says so.
    """
    gap, error = _ahead(tuned_db, adapted_db)
    if gap <= max(UNDERFIT_DB, 2 * error):
        return None
    told = f"{gap:.2f} ± {error:.2f} dB below the fully tuned copy on {len(tuned_db)} patches that it was trained on"
    if steps < tuned_steps:
        return (
            f"the adapter is {told}, but had {steps} steps and the copy {tuned_steps}: too few to say that it "
            f"underfits, raise --steps to {tuned_steps} at least"
        )
    return f"the adapter underfits: {told} (above {UNDERFIT_DB} dB is a warning): raise --budget, --steps or --lr"


def _ahead(one_db: Sequence[float], other_db: Sequence[float]) -> tuple[float, float]:
    """(mean of one - other, its standard error) in dB, over the same patches."""
    gaps = np.array(one_db) - np.array(other_db)
    error = float(gaps.std(ddof=1)) / math.sqrt(len(gaps)) if len(gaps) > 1 else math.inf
    return float(gaps.mean()), error


def worse_than_random(pre_trained_db: Sequence[float], random_db: Sequence[float], steps: int) -> str | None:
    """Where a copy that began from random weights restores patches of the training better than one that began from the
    backbone, both after `steps` steps on the same batches: by more than two standard errors of the difference.

    Both in dB, of the same patches; one patch tells nothing. That is the cheap half of the question: a random start
    that needs more steps than these to overtake is not seen, while one that is ahead so soon tells that pre-training is
    in the way.
    """
    gap, error = _ahead(random_db, pre_trained_db)
    if gap <= 2 * error:
        return None
    return (
        f"pre-trained is worse than random initialisation: after {steps} steps of full tuning on the same batches, a "
        f"copy that began from random weights is {gap:.2f} ± {error:.2f} dB ahead on {len(random_db)} patches: "
        "pre-train on degradations nearer to the task, or tune a network from scratch"
    )


def pre_training_hurts(table: Mapping[str, Mapping[str, float]]) -> str | None:
    """Where the backbone without adapter leaves a set's pictures worse than they came: by more than HURT_DB.

    table: set → {"input", "backbone", …} in dB, as `compare` makes it.
    """
    lost = {name: row["input"] - row["backbone"] for name, row in table.items()}
    worse = [f"{db:.2f} dB on {name}" for name, db in lost.items() if HURT_DB < db < math.inf]
    if not worse:
        return None
    return (
        f"the backbone without adapter leaves pictures worse than they came, by {', '.join(worse)}: pre-training hurts "
        "on this task, and the adapter has to undo that first; pre-train on degradations nearer to the task"
    )
