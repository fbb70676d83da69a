"""A mixture of tasks: whose changes, and how much of each."""

import math
from collections.abc import Mapping
from dataclasses import dataclass

from colora.devices.errors import BackendError
from colora.runtime.adapter import Adapter


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
