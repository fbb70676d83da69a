"""`colora devices`."""

import platform

from click.testing import CliRunner
from colora.devices.catalogue import DEVICES
from colora.devices.probe import Gpu, Machine
from colora.runtime.cli_devices import command, here_lines, table


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
    assert "6.1-6.2  R36.4-R36.5  12.6  10.3.0    3.10" in lines
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
