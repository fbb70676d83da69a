"""Graph tensors of a mixture of tasks: W = W0 + Σ strength·ΔW, then the weight program.

Always from the pristine backbone on disk, never from what the graph holds now, and in one order: A → B →
A gives the same bits whatever came between, and a mixture does not depend on the order in which it was
written.
"""

import math
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from functools import lru_cache

import numpy as np
from colora.devices.errors import BackendError, BundleError
from colora.runtime.adapter import Adapter
from colora.runtime.bundle import WEIGHTS, Bundle
from colora.runtime.program import Program, operands, run_steps
from colora.runtime.weights import Array, open_tensors


@dataclass(frozen=True)
class Part:
    """One task's share in a mixture."""

    adapter: Adapter
    strength: float


Mixture = tuple[Part, ...]
"""Sorted by task; empty: the backbone alone."""


def task_strengths(task: str | Mapping[str, float], strength: float) -> dict[str, float]:
    """Task → strength, sorted by task. task: a name, `""` for none, or a mixture `{name: strength}`.

    strength: multiplies each. Raises: BackendError if one is not finite.
    """
    shares = ({task: 1.0} if task else {}) if isinstance(task, str) else task
    strengths = {name: float(shares[name]) * float(strength) for name in sorted(shares)}
    for name, value in strengths.items():
        if not math.isfinite(value):
            raise BackendError(
                f"strength of {name} is {value}; expected a finite number, 1 for what was trained"
            )
    return strengths


def touched(program: Program, *mixtures: Mixture) -> tuple[str, ...]:
    """Graph tensors that depend on a parameter that any of the mixtures changes, in program order."""
    changed = {param for mixture in mixtures for part in mixture for param in part.adapter.params}
    return tuple(name for name, steps in program.items() if not changed.isdisjoint(operands(steps)))


def graph_tensors(bundle: Bundle, mixture: Mixture, names: Iterable[str]) -> Iterator[tuple[str, Array]]:
    """Name and values of graph tensors under a mixture, one after another.

    Source weights are mapped, and their pages released when the last tensor is done.
    Raises: BundleError if the weights can't be read or the program does not fit them.
    """
    with open_tensors(bundle.path / WEIGHTS, BundleError) as read:

        @lru_cache(maxsize=8)  # neighbouring graph tensors share operands
        def param(name: str) -> Array:
            w0: Array = read(name).astype(np.float32, copy=False)
            w: Array = w0
            for part in mixture:
                if name in part.adapter.params:
                    w = w + np.float32(part.strength) * part.adapter.params[name].delta(w0)
            return w

        for name in names:
            yield name, run_steps(name, bundle.manifest.program[name], param)
