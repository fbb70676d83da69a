"""The benchmark that judges plans, with a machine that is a formula in place of the measurements."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from colora.benchmarks import predictions
from colora.benchmarks.predictions import FITTED_SIZES, SIZES, judge
from colora.benchmarks.predictions_run import FITTED, JUDGED
from colora.devices.cpu import CpuRates
from colora.devices.workload import Workload

CACHE = 2**20
TRUE = CpuRates(1e11, 3e10, 1e10, 2e8, CACHE)
WAY = [("ort", "merged")]


def workload(number: int) -> Workload:
    """Of one of several networks that differ in what they do most."""
    moved = (2_000.0 + 500 * number, 300.0 * (7 - number), 10.0)
    return Workload(
        *(1, 1_000_000 * (1 + number), 400, 1, sum(moved)),
        products_per_pixel=20_000 * (1 + 3 * number % 5),
        functions_per_pixel=40 * (number % 3),
        operators=tuple((each, 1000 * number) for each in moved),
    )


WORKLOADS = {name: workload(i) for i, name in enumerate((*FITTED, *JUDGED))}


def measured(monkeypatch: pytest.MonkeyPatch, slower: float = 1.0, held: int = 0) -> None:
    """Runs take what TRUE says; judged ones `slower` times that. held: bytes of every process, 0: as planned."""

    def answer(function: str, *args: Any) -> Any:
        if function.endswith(":times"):
            cases = [case.partition("@") for case in args[-1].split(";")]
            return [
                TRUE.seconds(WORKLOADS[name], int(size) ** 2) * (slower if name in JUDGED else 1)
                for name, _, size in cases
            ]
        if function.endswith(":product_rate"):
            return 1e12
        backend, policy, _, name, sizes = args[1:]
        plans = [
            predictions.predict(WORKLOADS[name], int(n), backend, policy, TRUE) for n in sizes.split(",")
        ]
        return [held or plan.total_bytes for plan in plans]

    monkeypatch.setattr(predictions, "in_fresh_process", answer)
    monkeypatch.setattr(predictions, "cache_bytes", lambda threads: CACHE)


def test_networks_not_seen_are_predicted_where_the_model_holds(monkeypatch: pytest.MonkeyPatch) -> None:
    measured(monkeypatch)
    demands, rates, figures = judge(Path(), WORKLOADS, WAY, "1", "2")
    assert len(demands) == 2 * len(JUDGED) * len(SIZES)
    assert all(d.value == pytest.approx(1, rel=1e-3) and d.holds for d in demands)
    assert rates["ort"]["merged"].far_bytes_per_s == pytest.approx(TRUE.far_bytes_per_s, rel=1e-2)
    fitted = [f for f in figures if f.get("fitted")]
    assert len(fitted) == len(FITTED) * len(FITTED_SIZES)


def test_a_prediction_that_is_off_is_missed(monkeypatch: pytest.MonkeyPatch) -> None:
    measured(monkeypatch, slower=1.4, held=1)
    demands, _, _ = judge(Path(), WORKLOADS, WAY, "1", "2")
    times = [d for d in demands if "time" in d.what]
    assert all(d.value == pytest.approx(1 / 1.4, rel=1e-3) for d in times)
    assert all(d.holds is False for d in demands)
