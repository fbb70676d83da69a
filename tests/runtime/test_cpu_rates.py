"""Rates found from runs, and kept."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from colora.devices.cpu import CpuRates
from colora.devices.errors import PlanError
from colora.devices.workload import Workload
from colora.runtime.cpu_rates import fit_rates, rates_record, read_rates
from hypothesis import given, settings
from hypothesis import strategies as st

WORKLOADS = [
    Workload(1, 1_000_000, 1, 1, moved, products_per_pixel=products, functions_per_pixel=functions)
    for products, moved, functions in ((200_000, 8_000, 0), (20_000, 9_000, 300), (60_000, 30_000, 100))
]
RATE = st.floats(1e6, 1e12)


@settings(deadline=None, max_examples=30)
@given(RATE, RATE, RATE)
def test_rates_that_made_the_times_are_found_again(products: float, moved: float, functions: float) -> None:
    rates = CpuRates(products, moved, functions)
    runs = [(w, n * n, rates.seconds(w, n * n)) for w in WORKLOADS for n in (128, 256)]
    found = fit_rates(runs)
    for workload, pixels, seconds in runs:  # a rate that hardly counts is not known well: the times are
        assert found.seconds(workload, pixels) == pytest.approx(seconds, rel=1e-4)


def test_times_with_noise_are_met_within_it() -> None:
    rng, rates = np.random.default_rng(0), CpuRates(1e11, 1e10, 2e8)
    runs = [
        (w, n * n, rates.seconds(w, n * n) * rng.uniform(0.9, 1.1)) for w in WORKLOADS for n in (128, 256)
    ]
    found = fit_rates(runs)
    for workload, pixels, seconds in runs:
        assert found.seconds(workload, pixels) == pytest.approx(seconds, rel=0.2)


def test_no_rate_is_negative_where_the_times_would_ask_for_it() -> None:
    runs = [(w, n * n, RATES_OF_ARITHMETIC.seconds(w, n * n)) for w in WORKLOADS for n in (128, 256)]
    runs[0] = (*runs[0][:2], runs[0][2] * 1.3)
    found = fit_rates(runs)
    assert min(found.products_per_s, found.bytes_per_s, found.functions_per_s) > 0


RATES_OF_ARITHMETIC = CpuRates(1e11, np.inf, np.inf)


def test_too_few_runs_are_refused() -> None:
    with pytest.raises(PlanError, match=r"1 runs of \[1\.0\] s; expected at least 3, all above 0"):
        fit_rates([(WORKLOADS[0], 4, 1.0)])


def test_a_record_is_read_back(tmp_path: Path) -> None:
    rates = {"ort": {"merged": CpuRates(1e11, 1e10, np.inf)}}
    path = tmp_path / "record.json"
    path.write_text(json.dumps({"rates": rates_record(rates)}, allow_nan=False))
    assert read_rates(path, "ort") == rates["ort"]
    with pytest.raises(PlanError, match=r"holds no rates of openvino \(KeyError"):
        read_rates(path, "openvino")
    path.write_text('{"rates": {"ort": {"merged": {"bytes_per_s": -1}}}}')
    with pytest.raises(PlanError, match=r"expected a record that python -m colora\.benchmarks\.predictions"):
        read_rates(path, "ort")
