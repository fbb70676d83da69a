"""Rates found from runs, and kept."""

from __future__ import annotations

import json
from dataclasses import astuple
from pathlib import Path

import numpy as np
import pytest
from colora.devices.cpu import CpuRates
from colora.devices.errors import PlanError
from colora.devices.workload import Workload
from colora.runtime.cpu_rates import cache_bytes, fit_rates, rates_record, read_rates
from hypothesis import given, settings
from hypothesis import strategies as st

WORKLOADS = [
    Workload(
        *(1, 1_000_000, 1, 1, moved),
        products_per_pixel=products,
        functions_per_pixel=functions,
        operators=((moved * 0.1, 1000),) * 3 + ((moved * 0.7, 997_000),),
    )
    for products, moved, functions in ((200_000, 8_000, 0), (20_000, 9_000, 300), (60_000, 30_000, 100))
]
RATE = st.floats(1e6, 1e12)
CACHE = 2**26


@settings(deadline=None, max_examples=30)
@given(RATE, RATE, RATE, RATE)
def test_rates_that_made_the_times_are_found_again(
    products: float, near: float, far: float, functions: float
) -> None:
    rates = CpuRates(products, near, far, functions, CACHE)
    runs = [(w, n * n, rates.seconds(w, n * n)) for w in WORKLOADS for n in (128, 256)]
    found = fit_rates(runs, CACHE)
    for workload, pixels, seconds in runs:  # a rate that hardly counts is not known well: the times are
        assert found.seconds(workload, pixels) == pytest.approx(seconds, rel=1e-4)


def test_times_with_noise_are_met_within_it() -> None:
    rng, rates = np.random.default_rng(0), CpuRates(1e11, 4e10, 1e10, 2e8, CACHE)
    runs = [
        (w, n * n, rates.seconds(w, n * n) * rng.uniform(0.9, 1.1)) for w in WORKLOADS for n in (128, 256)
    ]
    found = fit_rates(runs, CACHE)
    for workload, pixels, seconds in runs:
        assert found.seconds(workload, pixels) == pytest.approx(seconds, rel=0.2)


def test_no_rate_is_negative_where_the_times_would_ask_for_it() -> None:
    runs = [(w, n * n, RATES_OF_ARITHMETIC.seconds(w, n * n)) for w in WORKLOADS for n in (128, 256)]
    runs[0] = (*runs[0][:2], runs[0][2] * 1.3)
    found = fit_rates(runs, CACHE)
    assert min(astuple(found)) > 0


RATES_OF_ARITHMETIC = CpuRates(1e11, np.inf, np.inf, np.inf, CACHE)


def test_no_rate_is_above_what_the_machine_can_do() -> None:
    rates = CpuRates(1e11, 4e10, 1e10, 2e8, CACHE)
    runs = [(w, n * n, rates.seconds(w, n * n)) for w in WORKLOADS for n in (128, 256)]
    bound = fit_rates(runs, CACHE, 5e10)
    assert bound.products_per_s == pytest.approx(5e10)  # as near to the truth as is allowed
    assert bound.near_bytes_per_s > rates.near_bytes_per_s or bound.far_bytes_per_s > rates.far_bytes_per_s
    free = fit_rates(runs, CACHE, 1e12)
    assert free.products_per_s == pytest.approx(rates.products_per_s, rel=1e-6)


def test_too_few_runs_are_refused() -> None:
    with pytest.raises(PlanError, match=r"1 runs of \[1\.0\] s; expected at least 4, all above 0"):
        fit_rates([(WORKLOADS[0], 4, 1.0)], CACHE)


def test_a_record_is_read_back(tmp_path: Path) -> None:
    rates = {"ort": {"merged": CpuRates(1e11, np.inf, 1e10, np.inf, CACHE)}}
    path = tmp_path / "record.json"
    path.write_text(json.dumps({"rates": rates_record(rates)}, allow_nan=False))
    assert read_rates(path, "ort") == rates["ort"]
    with pytest.raises(PlanError, match=r"holds no rates of openvino \(KeyError"):
        read_rates(path, "openvino")
    path.write_text('{"rates": {"ort": {"merged": {"far_bytes_per_s": -1}}}}')
    with pytest.raises(PlanError, match=r"expected a record that python -m colora\.benchmarks\.predictions"):
        read_rates(path, "ort")


def test_the_cache_is_that_of_the_cores_in_use(tmp_path: Path) -> None:
    path = tmp_path / "size"
    path.write_text("2048K\n")
    assert cache_bytes(3, path) == 3 * 2**21
    assert cache_bytes(1, tmp_path / "absent") == 2**20
