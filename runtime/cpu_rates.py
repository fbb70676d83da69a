"""Rates of a CPU, found from networks that were run on it, and kept in a record for later plans."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from itertools import combinations
from pathlib import Path

import numpy as np
from colora.devices.cpu import CpuRates
from colora.devices.errors import PlanError
from colora.devices.workload import Workload

ONE_EACH = CpuRates(1.0, 1.0, 1.0)
"""With these, shares are amounts."""


def fit_rates(runs: Sequence[tuple[Workload, int, float]]) -> CpuRates:
    """Rates with the least sum of squared relative errors, none of them negative.

    runs: workload, pixels, seconds; at least three that differ. Every choice of columns is solved without the others,
    and the best without a negative share is taken: non-negative least squares by enumeration, exact for so few.
    Raises: PlanError where the runs say nothing.
    """
    if len(runs) < 3 or min(seconds for _, _, seconds in runs) <= 0:
        raise PlanError(f"{len(runs)} runs of {[r[2] for r in runs]} s; expected at least 3, all above 0")
    columns = np.array([[*ONE_EACH.shares(w, pixels).values()] for w, pixels, _ in runs])
    columns /= np.array([seconds for _, _, seconds in runs])[:, None]
    best, found = np.inf, np.zeros(columns.shape[1])
    for count in range(1, columns.shape[1] + 1):
        for chosen in combinations(range(columns.shape[1]), count):
            shares = np.linalg.lstsq(columns[:, chosen], np.ones(len(runs)), rcond=None)[0]
            error = float(((columns[:, chosen] @ shares - 1) ** 2).sum())
            if shares.min() >= 0 and error < best * (1 - 1e-9):
                best, found = error, np.zeros(columns.shape[1])
                found[list(chosen)] = shares
    return CpuRates(*(1 / share if share > 0 else np.inf for share in found.tolist()))


def rates_record(
    rates: Mapping[str, Mapping[str, CpuRates]],
) -> dict[str, dict[str, dict[str, float | None]]]:
    """Backend → policy → rates, for JSON, which has no infinity: None stands for it."""
    return {
        backend: {
            policy: {name: rate if np.isfinite(rate) else None for name, rate in asdict(found).items()}
            for policy, found in of.items()
        }
        for backend, of in rates.items()
    }


def read_rates(path: Path, backend: str) -> dict[str, CpuRates]:
    """Policy → rates of a backend, from a record of benchmarks/predictions.py. Raises: PlanError."""
    try:
        found = json.loads(path.read_text("utf-8"))["rates"][backend]
        return {
            policy: CpuRates(**{name: np.inf if rate is None else float(rate) for name, rate in of.items()})
            for policy, of in found.items()
        }
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as e:
        raise PlanError(
            f"{path} holds no rates of {backend} ({type(e).__name__}: {e}); expected a record that "
            "python -m colora.benchmarks.predictions has written"
        ) from e
