"""`colora devices`."""

from __future__ import annotations

import platform
from pathlib import Path

import pytest
from click.testing import CliRunner
from colora.devices.catalogue import DEVICES
from colora.devices.cpu import CpuRates
from colora.devices.errors import PlanError
from colora.devices.plan import MIB, Rates, make_plan
from colora.devices.probe import Gpu, Machine
from colora.devices.workload import Workload
from colora.runtime.cli_devices import bundle_plan, command, here_lines, parse_size, plan_lines, table


def test_every_device_and_release_is_listed_and_the_alias_explained() -> None:
    result = CliRunner().invoke(command)
    assert result.exit_code == 0
    lines = result.output.splitlines()
    header = lines[0]
    assert [line.split()[0] for line in lines[1 : len(DEVICES) + 1]] == list(DEVICES)
    nano = next(line for line in lines if line.startswith("jetson-orin-nano-8gb"))
    column = header.index("GB/s")
    assert nano[column : column + 5] == "102.4"
    assert nano[header.index("power modes") :] == "MAXN_SUPER, 25W, 15W, 7W"
    assert ["6.1-6.2", "R36.4-R36.5", "12.6", "10.3.0", "3.10"] in [line.split() for line in lines]
    assert lines[-1] == "jetson means jetson-orin-nano-8gb"


def test_columns_are_as_wide_as_their_widest_cell() -> None:
    assert table([("a", "b"), ("long", "")]) == ["a     b", "long"]


def test_here_names_the_board_and_what_it_lacks() -> None:
    board = Machine(
        "aarch64",
        "3.10.12",
        model="NVIDIA Jetson Orin Nano Developer Kit",
        modules=("p3767-0005",),
        l4t="36.4.3",
        memory_bytes=7620 * 2**20,
        power_mode="15W",
        packages=("onnxruntime",),
    )
    assert here_lines(board) == [
        "board       NVIDIA Jetson Orin Nano Developer Kit p3767-0005",
        "processor   aarch64",
        "memory      7.4 GiB",
        "L4T         36.4.3 (JetPack 6.1-6.2)",
        "power mode  15W",
        "Python      3.10.12",
        "packages    onnxruntime",
        "fits        jetson-orin-nano-8gb",
        "missing     TensorRT's Python module: sudo apt install python3-libnvinfer "
        "(or nvidia-jetpack, which brings all of JetPack)",
    ]


def test_here_shows_a_gpu_that_is_not_in_the_table() -> None:
    lines = here_lines(Machine("x86_64", "3.12.1", gpus=(Gpu("NVIDIA H100", "9.0", 80 * 2**30, "550"),)))
    assert "GPU        NVIDIA H100 (SM 9.0, 80.0 GiB)" in lines
    assert "fits       no device of the table" in lines


def test_here_reads_this_machine() -> None:
    result = CliRunner().invoke(command, ["--here"])
    assert result.exit_code == 0
    assert f"processor  {platform.machine()}" in result.output.replace("processor   ", "processor  ")


def test_a_plan_in_words() -> None:
    workload = Workload(1000, 20 * MIB, 100, 1000, 2000, "fp16", 2 * MIB)
    rates = Rates(1e15, 655.36e6 + 20 * MIB * 10)
    plan = make_plan(workload, DEVICES["jetson-orin-nano-8gb"], (256, 256), tasks=2, rates=rates)
    assert plan_lines(plan) == [
        "target       jetson-orin-nano-8gb, Jetson Orin Nano 8 GB, power mode MAXN_SUPER",
        "policy       merged: 2 whole models",
        "runs         1 of 256×256 px",
        "weights      40.0 MiB",
        "activations  6.2 MiB",
        "runtime      653.0 MiB",
        "total        699.2 of 5472 MiB",
        "time         143 to 703 ms, predicted: nobody measured it; memory-bound",
        "             between 70% and 25% of the roofline",
    ]


def test_a_plan_without_rates_says_so() -> None:
    workload = Workload(1000, 20 * MIB, 100, 1000, 2000)
    lines = plan_lines(make_plan(workload, DEVICES["cpu-x86-64"], (256, 256)))
    assert (
        lines[-2] == "note         no fp32 rate of CPU, x86-64 is known: time not predicted: "
        "measure one with colora.benchmarks.predictions"
    )
    assert not any(line.startswith("time") for line in lines)


def test_sizes_are_width_by_height() -> None:
    assert parse_size("1280x720") == (720, 1280)
    result = CliRunner().invoke(command, ["--plan", "nowhere", "--image", "1280"])
    assert result.exit_code == 2
    assert "got '1280'; expected WIDTHxHEIGHT, e.g. 1280x720" in result.output


def test_a_plan_for_a_cpu_tells_where_its_rates_come_from() -> None:
    workload = Workload(
        *(1000, 20 * MIB, 100, 1000, 2000), products_per_pixel=1000, operators=((2000, 20 * MIB),)
    )
    rates = {"merged": CpuRates(1e9, 1e9, 1e9, 1e9, 1)}
    lines = plan_lines(make_plan(workload, DEVICES["cpu"], (256, 256), policy="merged", rates=rates))
    seconds = rates["merged"].seconds(workload, 256 * 256)
    assert lines[-3:-1] == [
        f"time         {750 * seconds:.3g} to {1250 * seconds:.3g} ms, predicted: nobody measured it; memory-bound",
        f"             {1000 * seconds:.3g} ms by the rates measured there, ±25%",
    ]


def test_a_plan_here_takes_the_memory_and_the_power_mode_that_are_there(ort_bundle: Path) -> None:
    board = Machine(
        *("aarch64", "3.10.12"),
        modules=("p3767-0005",),
        l4t="36.4.3",
        memory_bytes=6000 * MIB,
        power_mode="15W",
    )
    plan = bundle_plan(ort_bundle, (16, 16), here=board)
    assert (plan.device.name, plan.mode) == ("jetson-orin-nano-8gb", "15W")
    assert plan.available_bytes is not None and plan.available_bytes < 6000 * MIB
    unknown = Machine("aarch64", "3.10.12", model="Acme Box", modules=("p9999-0000",), l4t="36.4.3")
    with pytest.raises(PlanError, match=r"'Acme Box' \(p9999-0000\) is not in the table.*with --target"):
        bundle_plan(ort_bundle, (16, 16), here=unknown)
