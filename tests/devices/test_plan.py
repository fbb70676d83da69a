"""Memory and time predicted before anything is built."""

from __future__ import annotations

from dataclasses import replace

import pytest
from colora.devices import find_device
from colora.devices.errors import PlanError, UnknownName
from colora.devices.plan import (
    GPU_RUNTIME_BYTES,
    MIB,
    Band,
    Rates,
    available_bytes,
    make_plan,
)
from colora.devices.workload import Workload
from hypothesis import given, settings
from hypothesis import strategies as st

SMALL = Workload(
    operations_per_pixel=200_000,
    weight_bytes=22 * MIB,
    activation_bytes_per_pixel=1500,
    fused_bytes_per_pixel=8000,
    moved_bytes_per_pixel=20000,
    precision="fp16",
    factor_bytes=3 * MIB,
)
"""About a small NAFNet with two tasks."""
NANO = find_device("jetson-orin-nano-8gb")
NANO_4 = find_device("jetson-orin-nano-4gb")


def test_memory_is_weights_activations_and_runtime() -> None:
    plan = make_plan(SMALL, NANO, (256, 250), tasks=2)
    assert (plan.policy, plan.tile, plan.tiles) == ("merged", (256, 250), 1)
    assert plan.weight_bytes == 44 * MIB
    assert plan.activation_bytes == 1500 * 256 * 256  # 250 is padded to a multiple of 16
    assert plan.total_bytes == plan.weight_bytes + plan.activation_bytes + GPU_RUNTIME_BYTES


def test_time_is_the_rooflines_within_the_band() -> None:
    rates = Rates(operations_per_s=1e12, bytes_per_s=1e11)
    plan = make_plan(SMALL, NANO, (256, 256), rates=rates, band=Band(0.5, 0.5))
    pixels = 256 * 256
    arithmetic = 200_000 * pixels / 1e12
    assert plan.seconds == pytest.approx((2 * arithmetic, 2 * (20000 * pixels + 22 * MIB) / 1e11))
    assert plan.bound == "arithmetic"
    slow = make_plan(SMALL, NANO, (256, 256), rates=replace(rates, bytes_per_s=1e10))
    assert slow.bound == "memory"


def test_the_power_mode_scales_the_time() -> None:
    fast, slow = (make_plan(SMALL, NANO, (256, 256), mode=mode) for mode in ("MAXN_SUPER", "7W"))
    assert fast.seconds is not None and slow.seconds is not None
    assert (fast.bound, slow.bound) == ("memory", "memory")
    assert slow.seconds[0] / fast.seconds[0] == pytest.approx(102.4 / 68.3)
    assert (fast.mode, slow.mode) == ("MAXN_SUPER", "7W")
    with pytest.raises(UnknownName, match="unknown power mode of jetson-orin-nano-8gb '8W'"):
        make_plan(SMALL, NANO, (256, 256), mode="8W")


def test_large_images_are_cut_as_the_runtime_cuts_them() -> None:
    tiles = pytest.importorskip("colora.runtime.tiles")
    manifest = pytest.importorskip("colora.runtime.manifest")
    plan = make_plan(SMALL, NANO, (720, 1280), tile=256, overlap=32, when_above=384)
    cut = manifest.Tile(256, 32, 384)
    assert plan.tiles == len(tiles.cuts(720, cut)) * len(tiles.cuts(1280, cut))
    assert plan.tile == (256, 256)
    one = make_plan(SMALL, NANO, (256, 256))
    assert plan.activation_bytes == one.activation_bytes
    assert plan.seconds is not None and one.seconds is not None
    assert plan.seconds[0] == pytest.approx(plan.tiles * one.seconds[0])


def test_weights_are_shared_where_whole_models_do_not_fit() -> None:
    many = make_plan(SMALL, NANO_4, (256, 256), tasks=60)
    assert many.policy == "refit"
    assert many.weight_bytes == 25 * MIB
    with pytest.raises(PlanError, match=r"merged needs \d+: 1320 of weights.*What would fit: .*policy refit"):
        make_plan(SMALL, NANO_4, (256, 256), tasks=60, policy="merged")


def test_what_can_not_fit_is_refused_with_what_would() -> None:
    with pytest.raises(
        PlanError,
        match=r"Jetson Orin Nano 4 GB has 1662 MiB for this; refit needs 12543: 25 of weights, 11865 of activations "
        r"at 3840×2160 px, 653 of runtime\. What would fit: tiles of at most 816 px, or jetson-orin-nx-16gb",
    ):
        make_plan(SMALL, NANO_4, (2160, 3840), when_above=4096)
    huge = replace(SMALL, weight_bytes=200_000 * MIB)
    with pytest.raises(PlanError, match="What would fit: nothing in the table; take a smaller backbone"):
        make_plan(huge, NANO, (256, 256))


def test_a_board_on_which_no_engine_can_be_built_is_refused_with_what_serves() -> None:
    for name, found in (
        ("jetson-nano", "TensorRT 8.2.1 and Python 3.6"),
        ("jetson-agx-xavier", "8.5.2 and Python 3.8"),
    ):
        with pytest.raises(
            PlanError, match=rf"{found} at best .* engines need 10\.3 and 3\.10.*plan for cpu-aarch64"
        ):
            make_plan(SMALL, find_device(name), (256, 256))


def test_the_refused_tile_would_really_fit() -> None:
    with pytest.raises(PlanError) as refused:
        make_plan(SMALL, NANO_4, (2160, 3840), when_above=4096)
    side = int(str(refused.value).partition("at most ")[2].split()[0])
    assert make_plan(SMALL, NANO_4, (2160, 3840), tile=side, when_above=side).tile == (side, side)
    with pytest.raises(PlanError):
        make_plan(SMALL, NANO_4, (side + 32, side + 32), when_above=side + 32)


def test_what_is_not_known_is_said_not_guessed() -> None:
    cpu = make_plan(SMALL, find_device("cpu"), (256, 256))
    assert (cpu.seconds, cpu.available_bytes) == (None, None)
    assert cpu.notes == (
        "no fp16 rate of any CPU that ONNX Runtime runs on is known: time not predicted: "
        "measure one with colora.benchmarks.predictions",
        "memory of any CPU that ONNX Runtime runs on is not known: nothing was held against it",
    )
    measured = make_plan(SMALL, find_device("cpu"), (256, 256), rates=Rates(1e11, 1e10), memory_bytes=2**34)
    assert measured.seconds is not None
    assert measured.notes == ()


def test_this_very_machines_memory_wins_over_the_name() -> None:
    assert available_bytes(NANO, 6 * 2**30) == 6 * 2**30 - 2147 * MIB
    assert available_bytes(NANO, MIB) == 0
    assert available_bytes(find_device("rtx-40"), 12 * 2**30) == 12 * 2**30
    assert available_bytes(find_device("rtx-40")) == 24 * 2**30


@settings(deadline=None, max_examples=50)
@given(st.integers(1, 5000), st.integers(1, 5000))
def test_a_larger_image_never_takes_less(height: int, width: int) -> None:
    rates = Rates(1e12, 1e11)
    small = make_plan(SMALL, NANO, (height, width), rates=rates)
    large = make_plan(SMALL, NANO, (height + 100, width), rates=rates)
    assert small.seconds is not None and large.seconds is not None
    assert small.seconds[0] <= small.seconds[1]
    assert small.tiles <= large.tiles
    if small.tiles > 1:  # whole images below a tile's size may take less than the tile they grow into
        assert small.seconds[0] <= large.seconds[0]


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"precision": "int4"}, "precision 'int4'; expected fp32, fp16 or int8"),
        ({"fused_bytes_per_pixel": 30000}, "expected 0 < fused <= moved"),
        ({"weight_bytes": 0}, "all more than 0"),
    ],
)
def test_workloads_that_contradict_are_refused(changes: dict[str, object], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        replace(SMALL, **changes)  # type: ignore[arg-type]


def test_wrong_arguments_are_refused() -> None:
    with pytest.raises(
        PlanError, match=r"image \(0, 5\), tasks 1, tile 256 with overlap 32, policy 'auto'; expected"
    ):
        make_plan(SMALL, NANO, (0, 5))
    with pytest.raises(ValueError, match=r"band 0\.9 to 0\.5; expected 0 < low <= high <= 1"):
        Band(0.9, 0.5)
