"""Machines read back from their recorded files, and what is said of them."""

from __future__ import annotations

from collections.abc import Callable
from types import SimpleNamespace

import pytest
from colora.devices.fit import find_fitting, find_missing
from colora.devices.probe import (
    Gpu,
    Sources,
    package_version,
    parse_nvidia_smi,
    parse_power_mode,
    parse_release,
    probe,
)

Record = Callable[..., Sources]


@pytest.mark.parametrize(
    ("name", "l4t", "device"),
    [
        ("jetpack-4-nano", "32.7.1", "jetson-nano"),
        ("jetpack-5-xavier-nx", "35.4.1", "jetson-xavier-nx"),
        ("jetpack-6-orin-nano", "36.4.3", "jetson-orin-nano-8gb"),
        ("jetpack-7-thor", "38.2.2", "jetson-agx-thor"),
        ("workstation", "", "rtx-40"),
        ("server", "", "cpu-x86-64"),
    ],
)
def test_each_generation_is_recognised(name: str, l4t: str, device: str, recorded: Record) -> None:
    machine = probe(recorded(name))
    assert machine.l4t == l4t
    fitting = find_fitting(machine)
    assert fitting is not None
    assert fitting.name == device


def test_all_facts_of_a_board_are_read(recorded: Record) -> None:
    machine = probe(recorded("jetpack-6-orin-nano"))
    assert machine.model == "NVIDIA Jetson Orin Nano Engineering Reference Developer Kit Super"
    assert machine.modules == ("p3768-0000", "p3767-0005")
    assert machine.memory_bytes == 7802880 * 1024
    assert machine.power_mode == "MAXN_SUPER"
    assert machine.tensorrt == "10.3.0.30-1+cuda12.5"
    assert machine.packages == ("onnxruntime", "tensorrt")


def test_nothing_is_missing_on_a_complete_board(recorded: Record) -> None:
    machine = probe(recorded("jetpack-6-orin-nano"))
    assert find_missing(machine, find_fitting(machine)) == ()


@pytest.mark.parametrize(
    ("name", "changes", "missing"),
    [
        (
            "jetpack-4-nano",
            {},
            "Python 3.10 with TensorRT: JetPack 4.6.1-4.6.6 has Python 3.6: no JetPack for this board brings it; "
            "under another Python ONNX Runtime serves on the CPU",
        ),
        ("jetpack-4-nano", {}, "Python 3.6.9 runs this; colora needs 3.10 or later"),
        (
            "jetpack-5-xavier-nx",
            {},
            "TensorRT 10.3: JetPack 5.1 has 8.5.2: no JetPack for this board brings it",
        ),
        (
            "jetpack-6-orin-nano",
            {"release": "# R36 (release), REVISION: 3.0, GCID: 1"},
            "TensorRT 10.3: JetPack 6.0 has 8.6.2: flash JetPack 6.1-6.2",
        ),
        (
            "jetpack-6-orin-nano",
            {"tensorrt": ""},
            "TensorRT's Python module: sudo apt install python3-libnvinfer "
            "(or nvidia-jetpack, which brings all of JetPack)",
        ),
        (
            "jetpack-6-orin-nano",
            {"packages": ("onnxruntime",), "python": "3.11.2"},
            "python3-libnvinfer 10.3.0.30-1+cuda12.5 is installed for Python 3.10, and this Python 3.11.2 can't "
            "import tensorrt: python3.10 -m venv --system-site-packages .venv",
        ),
        (
            "jetpack-6-orin-nano",
            {"release": "# R41 (release), REVISION: 1.0, GCID: 1"},
            "L4T 41.1.0 is not in the table of JetPacks: its TensorRT was not checked",
        ),
        (
            "jetpack-6-orin-nano",
            {"release": "# R38 (release), REVISION: 2.0, GCID: 1"},
            "JetPack 7.0-7.1 (L4T 38.2.0) on Jetson Orin Nano 8 GB; known for it: 5.1, 6.0, 6.1-6.2, 7.2",
        ),
        ("workstation", {}, "TensorRT for RTX, for the GPU: pip install tensorrt-rtx"),
        (
            "server",
            {"packages": ()},
            "ONNX Runtime, which serves on any CPU: pip install 'colora[ort]'",
        ),
    ],
)
def test_what_is_missing_comes_with_what_brings_it(
    name: str, changes: dict[str, object], missing: str, recorded: Record
) -> None:
    machine = probe(recorded(name, **changes))
    assert missing in find_missing(machine, find_fitting(machine))


@pytest.mark.parametrize(
    ("name", "changes", "said"),
    [
        (
            "jetpack-6-orin-nano",
            {"compatible": "acme,p9999-0000\0nvidia,tegra234\0", "model": "Acme Box"},
            "'Acme Box' (p9999-0000) is not in the table: no memory plan; the CPU serves it as cpu-aarch64",
        ),
        (
            "workstation",
            {"nvidia_smi": "NVIDIA H100 PCIe, 9.0, 81559, 550.54\n"},
            "NVIDIA H100 PCIe (SM 9.0) is not in the table: no memory plan; the CPU serves it as cpu-x86-64",
        ),
    ],
)
def test_a_board_that_is_not_in_the_table_is_not_guessed(
    name: str, changes: dict[str, object], said: str, recorded: Record
) -> None:
    machine = probe(recorded(name, **changes))
    assert find_fitting(machine) is None
    assert said in find_missing(machine, None)


@pytest.mark.parametrize(
    ("memory_kb", "device"), [(31268864, "jetson-agx-orin-32gb"), (64325632, "jetson-agx-orin-64gb")]
)
def test_memory_decides_where_the_module_does_not(memory_kb: int, device: str, recorded: Record) -> None:
    changes = {"compatible": "nvidia,p3737-0000+p3701-0000\0nvidia,tegra234\0", "memory_kb": memory_kb}
    fitting = find_fitting(probe(recorded("jetpack-6-orin-nano", **changes)))
    assert fitting is not None
    assert fitting.name == device


def test_a_machine_without_any_source_is_a_cpu(recorded: Record) -> None:
    machine = probe(recorded("server", memory_kb=0))
    assert (machine.model, machine.l4t, machine.memory_bytes, machine.gpus) == ("", "", None, ())


class NVMLError(Exception):
    """As pynvml's."""


def nvml(**changes: object) -> SimpleNamespace:
    """A double of pynvml as of nvidia-ml-py 11, which answers in bytes, on a machine with one GPU."""
    return SimpleNamespace(
        **{
            "NVMLError": NVMLError,
            "nvmlInit": lambda: None,
            "nvmlShutdown": lambda: None,
            "nvmlSystemGetDriverVersion": lambda: b"550.54.14",
            "nvmlDeviceGetCount": lambda: 1,
            "nvmlDeviceGetHandleByIndex": lambda i: i,
            "nvmlDeviceGetCudaComputeCapability": lambda _: (8, 6),
            "nvmlDeviceGetMemoryInfo": lambda _: SimpleNamespace(total=25769803776),
            "nvmlDeviceGetName": lambda _: b"NVIDIA GeForce RTX 3090",
            **changes,
        }
    )


def fail(*_: object) -> None:
    raise NVMLError


def test_nvml_answers_where_nvidia_smi_is_absent(recorded: Record) -> None:
    machine = probe(recorded("server", nvml=nvml()))
    assert machine.gpus == (Gpu("NVIDIA GeForce RTX 3090", "8.6", 25769803776, "550.54.14"),)


def test_nvml_without_memory_figures_or_driver(recorded: Record) -> None:
    shared = probe(recorded("server", nvml=nvml(nvmlDeviceGetMemoryInfo=fail)))
    assert [gpu.memory_bytes for gpu in shared.gpus] == [None]
    assert probe(recorded("server", nvml=nvml(nvmlInit=fail))).gpus == ()
    assert probe(recorded("server", nvml=nvml(nvmlDeviceGetCount=fail))).gpus == ()


def test_parsers_refuse_what_they_do_not_know() -> None:
    assert parse_release("Ubuntu 22.04") == ""
    assert parse_power_mode("", "< POWER_MODEL ID=0 NAME=15W >") == ""
    assert parse_power_mode("pmode:0007", "< POWER_MODEL ID=0 NAME=15W >") == ""
    assert parse_nvidia_smi("No devices were found\n") == ()
    assert package_version("Package: a\nStatus: deinstall ok config-files\nVersion: 1\n", "a") == ""
