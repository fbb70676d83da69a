"""What a bundle takes on a CPU."""

from __future__ import annotations

import pytest
from colora.devices import find_device
from colora.devices.cpu import FOOTPRINTS, CpuRates, Footprint
from colora.devices.errors import PlanError, UnknownName
from colora.devices.plan import make_plan
from colora.devices.workload import Workload

WORKLOAD = Workload(
    operations_per_pixel=250_000,
    weight_bytes=24_000_000,
    activation_bytes_per_pixel=500,
    fused_bytes_per_pixel=10_000,
    moved_bytes_per_pixel=20_000,
    factor_bytes=1_000_000,
    products_per_pixel=200_000,
    functions_per_pixel=50,
    operators=((2_000, 1_000), (6_000, 0), (8_000, 4_000_000)),
)
RATES = CpuRates(1e11, 4e10, 1e10, 1e8, 8_000_000)
CPU = find_device("cpu")


def test_time_is_the_sum_of_what_products_memory_and_functions_take() -> None:
    shares = RATES.shares(WORKLOAD, 1000)
    near, far = (8e6 + 1e3) / 4e10, (8e6 + 4e6) / 1e10  # what an operator moves with its weights
    expected = {"arithmetic": 2e-3, "cache": near, "memory": far, "functions": 5e-4}
    assert shares == pytest.approx(expected)
    assert RATES.seconds(WORKLOAD, 1000) == pytest.approx(sum(shares.values()))
    with pytest.raises(ValueError, match="expected rates above 0"):
        CpuRates(1e11, 0, 1e10, 1e8, 1)


def test_a_plan_takes_the_rates_of_its_policy_and_allows_them_their_error() -> None:
    slow = CpuRates(1e10, 4e9, 1e9, 1e7, 8_000_000)
    plan = make_plan(WORKLOAD, CPU, (64, 64), rates={"merged": RATES, "refit": slow}, policy="refit")
    seconds = slow.seconds(WORKLOAD, 64 * 64)
    assert plan.seconds == pytest.approx((0.75 * seconds, 1.25 * seconds))
    assert plan.bound == "arithmetic"
    unknown = make_plan(WORKLOAD, CPU, (64, 64), rates={"merged": RATES}, policy="refit")
    assert unknown.seconds is None and "measure one with" in unknown.notes[0]


def test_memory_is_what_the_backend_holds() -> None:
    footprint = Footprint(10, 2.0, 5, 1.5)
    assert footprint.weights(WORKLOAD, 3, False) == 144_000_000
    assert footprint.weights(WORKLOAD, 1, True) == 49_000_000
    taken = footprint.activations(WORKLOAD, 1000)
    assert taken == 750_005
    assert footprint.pixels(WORKLOAD, taken) == 1000
    plan = make_plan(WORKLOAD, CPU, (64, 64), tasks=2)
    merged = FOOTPRINTS["ort"]["merged"]
    assert plan.total_bytes == (
        merged.runtime_bytes + merged.weights(WORKLOAD, 2, False) + merged.activations(WORKLOAD, 64 * 64)
    )


def test_a_plan_that_does_not_fit_falls_back_and_then_is_refused() -> None:
    merged, refit = (make_plan(WORKLOAD, CPU, (64, 64), policy=p).total_bytes for p in ("merged", "refit"))
    assert make_plan(WORKLOAD, CPU, (64, 64), memory_bytes=merged).policy == "merged"
    assert make_plan(WORKLOAD, CPU, (64, 64), memory_bytes=refit).policy == "refit"
    with pytest.raises(PlanError, match=r"refit needs \d+: .*What would fit: tiles of at most 48 px"):
        make_plan(WORKLOAD, CPU, (64, 64), memory_bytes=refit - 1)


def test_backends_that_are_not_planned_are_refused() -> None:
    with pytest.raises(UnknownName, match="unknown backend of a CPU plan 'opnvino': did you mean openvino"):
        make_plan(WORKLOAD, CPU, (64, 64), backend="opnvino")
    with pytest.raises(PlanError, match="policy 'refit' of openvino is not planned; expected merged"):
        make_plan(WORKLOAD, CPU, (64, 64), backend="openvino", policy="refit")
