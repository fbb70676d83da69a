"""Rates of a CPU, found from networks that were run on it, and kept in a record for later plans."""

import json
import os
from collections.abc import Mapping, Sequence
from dataclasses import asdict, fields
from itertools import combinations
from pathlib import Path

import numpy as np
from colora.devices.cpu import CpuRates
from colora.devices.errors import PlanError
from colora.devices.workload import Workload

CACHE = Path("/sys/devices/system/cpu/cpu0/cache/index2/size")
"""Of the second level, which each core has for itself."""
USUAL_CACHE_BYTES = 2**20
"""Where Linux does not tell."""


def cache_bytes(threads: int, path: Path = CACHE) -> int:
    """Second-level cache of so many cores, 0 of all that this process may use."""
    try:
        text = path.read_text().strip()
        each = int(text.removesuffix("K")) * 1024 if text.endswith("K") else int(text)
    except (OSError, ValueError):
        each = USUAL_CACHE_BYTES
    return each * (threads or len(os.sched_getaffinity(0)))


def fit_rates(
    runs: Sequence[tuple[Workload, int, float]], cache_bytes: int, most_products_per_s: float = np.inf
) -> CpuRates:
    """Rates with the least sum of squared relative errors, none of them negative.

    runs: workload, pixels, seconds; at least four that differ. cache_bytes: as in CpuRates. most_products_per_s: what
    the machine can't exceed. Every choice of columns is solved without the others, and the best without a negative
    share is taken: non-negative least squares by enumeration, exact for so few.
    Raises: PlanError where the runs say nothing.
    """
    if len(runs) < 4 or min(seconds for _, _, seconds in runs) <= 0:
        raise PlanError(f"{len(runs)} runs of {[r[2] for r in runs]} s; expected at least 4, all above 0")
    one_each = CpuRates(1, 1, 1, 1, cache_bytes)
    columns = np.array([[*one_each.shares(w, pixels).values()] for w, pixels, _ in runs])
    columns /= np.array([seconds for _, _, seconds in runs])[:, None]
    least = np.array([1 / most_products_per_s, 0, 0, 0])
    rest = 1 - columns @ least
    best, found = float((rest**2).sum()), np.zeros(4)
    for count in range(1, 5):
        for chosen in combinations(range(4), count):
            shares = np.linalg.lstsq(columns[:, chosen], rest, rcond=None)[0]
            error = float(((columns[:, chosen] @ shares - rest) ** 2).sum())
            if shares.min() >= 0 and error < best * (1 - 1e-9):
                best, found = error, np.zeros(4)
                found[list(chosen)] = shares
    products, near, far, functions = (
        1 / share if share > 0 else np.inf for share in (least + found).tolist()
    )
    return CpuRates(products, near, far, functions, cache_bytes)


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
        return {policy: _rates(of) for policy, of in found.items()}
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as e:
        raise PlanError(
            f"{path} holds no rates of {backend} ({type(e).__name__}: {e}); expected a record that "
            "python -m colora.benchmarks.predictions has written"
        ) from e


def _rates(of: Mapping[str, float | None]) -> CpuRates:
    read = [of[field.name] for field in fields(CpuRates)]
    products, near, far, functions, cache = (np.inf if rate is None else float(rate) for rate in read)
    return CpuRates(products, near, far, functions, int(cache))
