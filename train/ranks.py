"""CoLoRA's allocation: the rank of each layer's adapter from its contribution, for a given parameter budget.

The paper gives each layer a share δ_i ∈ [0, 1] of learnable parameters that follows its FAIG contribution, with two
hyper-parameters α and β; its formula is not public. Our reconstruction: with s_i the mean |FAIG| per number of layer i,

    δ_i = clip(β + α · s_i / mean(s), 0, 1)        r_i = max(1, round(δ_i · d·k / (d + k)))

for a kernel flattened to d × k = Cout × (Cin·kh·kw); β is given, α is solved for the budget. Where r(d + k) ≥ d·k the
delta is stored dense. Depthwise kernels, biases, norms and scales are small and always dense.
"""

import json
import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields
from pathlib import Path

from colora.devices.errors import CheckpointError, ColoraError
from colora.runtime.atomic import write_text
from colora.runtime.deltas import delta_kind

Shape = tuple[int, ...]


@dataclass(frozen=True)
class Allocation:
    """What an adapter stores for each parameter."""

    ranks: dict[str, int]
    """parameter → rank; 0 means a dense delta"""
    alpha: float
    """gain that met the budget"""
    beta: float
    stored: int
    """numbers that the deltas hold in all"""
    contribution: dict[str, float]
    """the scores it follows, by parameter"""

    def write(self, path: Path) -> None:
        """Writes JSON, whole or not at all."""
        write_text(path, json.dumps(asdict(self), indent=1))

    @staticmethod
    def read(path: Path) -> "Allocation":
        """Raises CheckpointError where `path` is no file that `write` made."""
        try:
            facts = json.loads(path.read_text())
            return Allocation(**{field.name: facts[field.name] for field in fields(Allocation)})
        except (OSError, KeyError, TypeError, ValueError) as error:
            raise CheckpointError(
                f"{path}: not a ranks file ({error!r}); expected one written by colora adapt"
            ) from error


def has_rank(shape: Shape) -> bool:
    """Whether a parameter of this shape is a kernel that low rank can save on (not depthwise, not a vector)."""
    return len(shape) == 4 and shape[0] > 1 and shape[1] > 1


def rank_of(shape: Shape, delta: float) -> int:
    """Rank that spends the share `delta` ∈ [0, 1] of a kernel's numbers, at least 1; 0 where dense costs no more."""
    d, k = shape[0], math.prod(shape[1:])
    rank = max(1, round(delta * d * k / (d + k)))
    return rank if rank * (d + k) < d * k else 0


def stored_numbers(shapes: Mapping[str, Shape], ranks: Mapping[str, int]) -> int:
    """Numbers that deltas of these ranks hold."""
    total = 0
    for name, rank in ranks.items():
        stored = delta_kind("low-rank" if rank else "dense").shapes(shapes[name], rank)
        total += sum(math.prod(shape) for shape in stored.values())
    return total


def allocate(
    shapes: Mapping[str, Shape], contribution: Mapping[str, float], budget: int, beta: float = 0.01
) -> Allocation:
    """Ranks for every parameter such that at most `budget` numbers are stored and no larger α fits.

    shapes, contribution: by parameter name, equal keys. Raises ColoraError where not even rank 1 everywhere fits.
    """
    kernels = [name for name, shape in shapes.items() if has_rank(shape)]
    mean = sum(contribution[name] for name in kernels) / max(1, len(kernels)) or 1.0

    def at(alpha: float) -> dict[str, int]:
        return {
            name: rank_of(shape, min(1.0, max(0.0, beta + alpha * contribution[name] / mean)))
            if has_rank(shape)
            else 0
            for name, shape in shapes.items()
        }

    def cost(alpha: float) -> int:
        return stored_numbers(shapes, at(alpha))

    if cost(0.0) > budget:
        raise ColoraError(
            f"a budget of {budget:,} numbers is too small: β = {beta} alone stores {cost(0.0):,}; "
            "raise --budget or lower --beta"
        )
    low, high = 0.0, 1.0
    while cost(high) <= budget and high < 1e6:
        low, high = high, 2 * high
    for _ in range(60):  # the cost never falls as α grows, so bisection finds the last α that fits
        middle = (low + high) / 2
        low, high = (middle, high) if cost(middle) <= budget else (low, middle)
    ranks = at(low)
    return Allocation(ranks, low, beta, stored_numbers(shapes, ranks), dict(contribution))
