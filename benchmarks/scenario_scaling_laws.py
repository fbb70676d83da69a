"""Cost laws y = a·x^b of what was measured, and where one bends: least squares of logarithms, nothing but numpy."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from colora.runtime.weights import Array

FLOOR = 0.01
"""Relative error that counts as none: clocks and page sizes are no better, and a perfect fit of few is luck."""
SIGNIFICANT = 0.01
"""Probability, of all places for a break together, that a law without one looks as bent."""
LEAST_FOR_BREAK = 6
"""Points; two on either side of it at least, three of a step."""
PLACES = 200
"""Where a break is tried, evenly in log x."""

# 0.975 quantile of Student's t with 1, 2, … degrees of freedom (any table of statistics); beyond, the normal one is
# corrected to first order, which is off by less than 0.3 %
T975 = (12.706, 4.303, 3.182, 2.776, 2.571, 2.447, 2.365, 2.306, 2.262, 2.228)


@dataclass(frozen=True)
class Break:
    """Where a law bends."""

    x: float
    after: float
    """exponent beyond it"""
    chance: float
    """probability that points of a law without it look as if they had it"""
    step: float = 1.0
    """factor of y there: 1 where the law is continuous, as it is not where pictures begin to be cut into tiles"""


@dataclass(frozen=True)
class Law:
    """y = a·x^b up to the break, if there is one, and from there on with another exponent, after a step or without."""

    a: float
    b: float
    low: float
    """95 % interval of b, of the law without a break; minus and plus infinity for two points"""
    high: float
    straight: float
    """exponent of the law without a break"""
    points: int
    bend: Break | None = None

    def __call__(self, x: float) -> float:
        """y at x, also outside of what was measured."""
        y: float = self.a * x**self.b
        if self.bend is not None and x > self.bend.x:
            y *= self.bend.step * (x / self.bend.x) ** (self.bend.after - self.b)
        return y


def fit_law(x: Sequence[float], y: Sequence[float]) -> Law:
    """The law of points (x, y), each above 0, of at least two different x.

    The break is the place with the least residual among PLACES, and is told where the F test against no break, times
    the number of gaps it could lie in (Bonferroni), stays below SIGNIFICANT. With two more parameters and n − 4 degrees
    of freedom the test's probability is (residual with / residual without) ** ((n − 4) / 2). A step, two lines apart,
    is told where the same test says so against the bent law, or the straight one.
    Raises: ValueError for points of which there is no law.
    """
    if len(x) != len(y) or len(set(x)) < 2 or min(*x, *y) <= 0 or not all(map(math.isfinite, (*x, *y))):
        raise ValueError(f"no law of x {list(x)}, y {list(y)}; expected pairs above 0 of two x or more")
    order = np.argsort(x)
    u, v = np.log(np.asarray(x, float))[order], np.log(np.asarray(y, float))[order]
    n = len(u)
    line = np.stack([np.ones(n), u], axis=1)
    (c, b), residual = _solve(line, v)
    half = math.inf
    if n > 2:
        half = _t975(n - 2) * math.sqrt(residual / (n - 2) / float(((u - u.mean()) ** 2).sum()))
    law = Law(math.exp(c), b, b - half, b + half, b, n)
    distinct = np.unique(u)
    if n < LEAST_FOR_BREAK or len(distinct) < LEAST_FOR_BREAK:
        return law
    # what a hinge at each place adds: only its part outside of the line can lessen the residual
    places = np.linspace(distinct[1], distinct[-2], PLACES)
    hinges = np.maximum(u[:, None] - places, 0)
    outside = hinges - line @ np.linalg.lstsq(line, hinges, rcond=None)[0]
    gain = (outside.T @ v) ** 2 / (outside**2).sum(axis=0)
    place = float(places[np.argmax(gain)])
    found, best = _solve(np.column_stack([line, np.maximum(u - place, 0)]), v)
    noise = n * FLOOR**2
    chance = ((best + noise) / (residual + noise)) ** ((n - 4) / 2) * (len(distinct) - 3)
    if chance < SIGNIFICANT:
        bend = Break(math.exp(place), found[1] + found[2], chance)
        law, residual = Law(math.exp(found[0]), found[1], law.low, law.high, b, n, bend), best
    return _stepped(law, line, v, residual + noise, noise)


def _stepped(law: Law, line: Array, v: Array, residual: float, noise: float) -> Law:
    """Two lines apart where they fit much better than `law`, else `law`. line: ones and log x; v: log y; in order."""
    u, n = line[:, 1], len(v)
    gaps = [k for k in range(3, n - 2) if u[0] < u[k - 1] < u[k] < u[-1]]
    if not gaps:
        return law
    apart = {k: (_solve(line[:k], v[:k]), _solve(line[k:], v[k:])) for k in gaps}
    first = min(gaps, key=lambda k: apart[k][0][1] + apart[k][1][1])
    ((c, b), left), ((other, after), right) = apart[first]
    chance = ((left + right + noise) / residual) ** ((n - 4) / 2) * len(gaps)
    if chance >= SIGNIFICANT:
        return law
    place = float(u[first - 1] + u[first]) / 2
    step = math.exp(other + after * place - c - b * place)
    return Law(
        math.exp(c), b, law.low, law.high, law.straight, n, Break(math.exp(place), after, chance, step)
    )


def _solve(columns: Array, v: Array) -> tuple[list[float], float]:
    """Least squares: coefficients and the sum of squared residuals."""
    shares = np.linalg.lstsq(columns, v, rcond=None)[0]
    return shares.tolist(), float(((columns @ shares - v) ** 2).sum())


def _t975(freedom: int) -> float:
    return T975[freedom - 1] if freedom <= len(T975) else 1.96 + 2.4 / freedom
