"""CoLoRA's allocation: the rank of each layer's adapter from its contribution, for a given parameter budget.

The paper gives each layer a share δ_i ∈ [0, 1] of learnable parameters that follows its FAIG contribution, with two
hyper-parameters α and β; its formula is not public. Our reconstruction: with s_i the mean |FAIG| per number of layer i,

    δ_i = clip(β + α · s_i / mean(s), 0, 1)        r_i = max(1, round(δ_i · d·k / (d + k)))

for a kernel flattened to d × k = Cout × (Cin·kh·kw); one of α and β is given, the other solved for the budget. Where
r(d + k) ≥ d·k the delta is stored dense. Depthwise kernels, biases, norms and scales are small and always dense.
A budget too small for so little of everything leaves out what contributes least per number stored (`affordable`).
"""

import json
import math
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, fields
from pathlib import Path

from colora.devices.errors import CheckpointError, ColoraError
from colora.runtime.adapter import ParamDelta
from colora.runtime.atomic import write_text
from colora.runtime.deltas import delta_kind

Shape = tuple[int, ...]


@dataclass(frozen=True)
class Allocation:
    """What an adapter stores for each parameter."""

    ranks: dict[str, int]
    """parameter → rank; 0 means a dense delta; parameters left out stay as they are"""
    alpha: float
    """gain; 0 where the ranks follow no contribution"""
    beta: float
    """share δ of a layer that contributes nothing"""
    stored: int
    """numbers that the deltas hold in all"""
    contribution: dict[str, float]
    """mean |FAIG| per number by parameter; empty where none was measured"""

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
                f"{path}: not a ranks file ({type(error).__name__}: {error}); expected one written by colora adapt"
            ) from error


def has_rank(shape: Shape) -> bool:
    """Whether a parameter of this shape is a kernel that low rank can save on (not depthwise, not a vector)."""
    return len(shape) == 4 and shape[0] > 1 and shape[1] > 1


def rank_of(shape: Shape, delta: float) -> int:
    """Rank that spends the share `delta`, clipped to [0, 1], of a kernel's numbers, at least 1; 0, dense, where that
    costs no more, and for parameters that are no kernel."""
    if not has_rank(shape):
        return 0
    d, k = shape[0], math.prod(shape[1:])
    rank = max(1, round(min(1.0, max(0.0, delta)) * d * k / (d + k)))
    return rank if rank * (d + k) < d * k else 0


def stored_numbers(shapes: Mapping[str, Shape], ranks: Mapping[str, int]) -> int:
    """Numbers that deltas of these ranks hold."""
    total = 0
    for name, rank in ranks.items():
        stored = delta_kind("low-rank" if rank else "dense").shapes(shapes[name], rank)
        total += sum(math.prod(shape) for shape in stored.values())
    return total


def affordable(
    shapes: Mapping[str, Shape], contribution: Mapping[str, float], budget: int, share: float
) -> dict[str, Shape]:
    """The parameters that get a delta: all, where the share δ = `share` of every kernel and the small ones fit.

    Otherwise those that then contribute most per number stored, one after another, each that still fits.
    """
    cost = {name: stored_numbers(shapes, {name: rank_of(shape, share)}) for name, shape in shapes.items()}
    if sum(cost.values()) <= budget:
        return dict(shapes)
    worth = {
        name: contribution.get(name, 0.0) * math.prod(shape) / cost[name] for name, shape in shapes.items()
    }
    left, kept = budget, set()
    for name in sorted(shapes, key=lambda name: worth[name], reverse=True):
        if cost[name] <= left:
            left -= cost[name]
            kept.add(name)
    return {name: shape for name, shape in shapes.items() if name in kept}


def allocation_of(params: Mapping[str, ParamDelta]) -> Allocation:
    """What an adapter stores: its ranks and contributions; α and β, which it doesn't tell, are 0."""
    ranks = {name: p.rank if p.kind == "low-rank" else 0 for name, p in params.items()}
    stored = stored_numbers({name: p.shape for name, p in params.items()}, ranks)
    return Allocation(ranks, 0.0, 0.0, stored, {name: p.contribution for name, p in params.items()})


def allocate(
    shapes: Mapping[str, Shape],
    contribution: Mapping[str, float],
    budget: int,
    beta: float | None = 0.01,
    alpha: float | None = None,
) -> Allocation:
    """Ranks such that at most `budget` numbers are stored: of every parameter, or of the `affordable` ones.

    shapes, contribution: by parameter name; every kernel needs its contribution, finite and at least 0.
    Of α and β the one that is None is solved: the largest that keeps the budget. A solved β lies in
    [-α · max s / mean s, 1]; below 0 it is a threshold, under which layers get rank 1. Both given are taken as given.
    Raises ColoraError where both are None, for a budget above the backbone's own size, and where it can't be kept.
    """
    kernels = [name for name, shape in shapes.items() if has_rank(shape)]
    for name in kernels:
        if not 0 <= contribution.get(name, math.nan) < math.inf:
            raise ColoraError(
                f"the contribution of {name} is {contribution.get(name, 'missing')}, expected a number of at least 0: "
                "take an attribution of this backbone whose tuned copy has finite weights"
            )
    size = sum(math.prod(shape) for shape in shapes.values())
    if budget > size:
        raise ColoraError(
            f"a budget of {budget:,} numbers is more than the backbone's own {size:,}: lower --budget"
        )
    if alpha is None or beta is None:
        shapes = affordable(shapes, contribution, budget, beta or 0.0)
        kernels = [name for name in kernels if name in shapes]
    mean = sum(contribution[name] for name in kernels) / max(1, len(kernels)) or 1.0
    relative = {name: contribution[name] / mean for name in kernels}

    def at(alpha: float, beta: float) -> dict[str, int]:
        return {
            name: rank_of(shape, beta + alpha * relative.get(name, 0.0)) for name, shape in shapes.items()
        }

    def cost(alpha: float, beta: float) -> int:
        return stored_numbers(shapes, at(alpha, beta))

    if alpha is None:
        if beta is None:
            raise ColoraError("neither α nor β is given: give one, the budget decides the other")
        given, high = beta, 1.0
        while cost(high, given) <= budget and high < 1e6:
            high *= 2
        alpha = last_that_fits(lambda gain: cost(gain, given), budget, 0.0, high)
    elif beta is None:
        given, lowest = alpha, -alpha * max(relative.values(), default=0.0)
        beta = last_that_fits(lambda base: cost(given, base), budget, lowest, 1.0)
    ranks = at(alpha, beta)
    stored = stored_numbers(shapes, ranks)
    if stored > budget:
        raise ColoraError(
            f"a budget of {budget:,} numbers is too small: α = {alpha} with β = {beta} stores {stored:,}; "
            "raise --budget or lower --alpha or --beta"
        )
    return Allocation(ranks, alpha, beta, stored, dict(contribution))


def last_that_fits(cost: Callable[[float], int], budget: int, low: float, high: float) -> float:
    """The largest x in [low, high] with cost(x) ≤ budget, by bisection: cost must not fall as x grows.

    `low` where not even that fits.
    """
    for _ in range(60):
        middle = (low + high) / 2
        low, high = (middle, high) if cost(middle) <= budget else (low, middle)
    return low
