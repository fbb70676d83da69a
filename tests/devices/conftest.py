"""Machines as their files describe them, in the forms that each generation of JetPack writes.

The forms are those of published listings; numbers without meaning here (GCID, dates) are made up.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import pytest
from colora.devices.probe import Sources

NVPMODEL_ORIN_NANO = """\
< PARAM TYPE=FILE NAME=CPU_ONLINE >
< POWER_MODEL ID=0 NAME=15W >
GPU MAX_FREQ 612000000
< POWER_MODEL ID=1 NAME=25W >
< POWER_MODEL ID=2 NAME=MAXN_SUPER >
< PM_CONFIG DEFAULT=1 >
"""
DPKG = """\
Package: libc6
Status: install ok installed
Version: 2.35-0ubuntu3

Package: python3-libnvinfer
Status: {status}
Section: multiverse/devel
Version: {version}
Description: Python 3 bindings for TensorRT standard runtime
 a line of more: with a colon
"""


@dataclass(frozen=True)
class Recorded:
    """Contents of the files; empty ones are not written."""

    model: str = ""
    compatible: str = ""
    release: str = ""
    memory_kb: int = 0
    tensorrt: str = ""
    power_mode: str = ""
    machine: str = "aarch64"
    python: str = "3.10.12"
    nvidia_smi: str | None = None
    packages: tuple[str, ...] = ("onnxruntime",)


RECORDED = {
    "jetpack-4-nano": Recorded(
        model="NVIDIA Jetson Nano Developer Kit\0",
        compatible="nvidia,p3449-0000-b00+p3448-0000-b00\0nvidia,jetson-nano\0nvidia,tegra210\0",
        release="# R32 (release), REVISION: 7.1, GCID: 10000001, BOARD: t210ref, EABI: aarch64, DATE: Wed\n",
        memory_kb=4059392,
        tensorrt="8.2.1-1+cuda10.2",
        python="3.6.9",
    ),
    "jetpack-5-xavier-nx": Recorded(
        model="NVIDIA Jetson Xavier NX Developer Kit\0",
        compatible="nvidia,p3509-0000+p3668-0000\0nvidia,p3668-0000\0nvidia,tegra194\0",
        release="# R35 (release), REVISION: 4.1, GCID: 10000002, BOARD: t186ref, EABI: aarch64, DATE: Wed\n",
        memory_kb=6990848,
        tensorrt="8.5.2-1+cuda11.4",
    ),
    "jetpack-6-orin-nano": Recorded(
        model="NVIDIA Jetson Orin Nano Engineering Reference Developer Kit Super\0",
        compatible="nvidia,p3768-0000+p3767-0005-super\0nvidia,p3767-0005\0nvidia,tegra234\0",
        release=(
            "# R36 (release), REVISION: 4.3, GCID: 10000003, BOARD: generic, EABI: aarch64, DATE: Wed\n"
            "# KERNEL_VARIANT: oot\nTARGET_USERSPACE_LIB_DIR=nvidia\n"
        ),
        memory_kb=7802880,
        tensorrt="10.3.0.30-1+cuda12.5",
        power_mode="pmode:0002 fmode:quiet",
        packages=("onnxruntime", "tensorrt"),
    ),
    "jetpack-7-thor": Recorded(
        model="NVIDIA Jetson AGX Thor Developer Kit\0",
        compatible="nvidia,p4071-0000+p3834-0008\0nvidia,p3834-0008\0nvidia,tegra264\0",
        release="# R38 (release), REVISION: 2.2, GCID: 10000004, BOARD: generic, EABI: aarch64, DATE: Wed\n",
        memory_kb=128775948,
        tensorrt="10.13.3.9-1+cuda13.0",
        python="3.12.3",
        nvidia_smi="NVIDIA Thor, 11.0, [N/A], 580.00\n",
        packages=("onnxruntime", "tensorrt"),
    ),
    "workstation": Recorded(
        memory_kb=65000000,
        machine="x86_64",
        python="3.12.4",
        nvidia_smi="NVIDIA GeForce RTX 4070 Ti, 8.9, 12282, 550.54.14\n",
    ),
    "server": Recorded(memory_kb=24684084, machine="x86_64", python="3.11.7"),
}
"""Name → machine."""


@pytest.fixture
def recorded(tmp_path: Path) -> Callable[..., Sources]:
    """Writes a machine of RECORDED, changed by fields; returns what `probe` reads instead of this machine's."""

    def write(name: str, nvml: Any = None, **changes: Any) -> Sources:
        machine = replace(RECORDED[name], **changes)
        tensorrt = machine.tensorrt and DPKG.format(status="install ok installed", version=machine.tensorrt)
        contents = {
            "model": machine.model,
            "compatible": machine.compatible,
            "release": machine.release,
            "memory": f"MemTotal:       {machine.memory_kb} kB\nMemFree: 1 kB\n" if machine.memory_kb else "",
            "dpkg": tensorrt,
            "power_mode": machine.power_mode,
            "power_modes": NVPMODEL_ORIN_NANO if machine.power_mode else "",
        }
        for field, text in contents.items():
            if text:
                (tmp_path / field).write_text(text)
        return Sources(
            **{field: tmp_path / field for field in contents},  # type: ignore[arg-type]
            machine=machine.machine,
            python=machine.python,
            run=lambda _: machine.nvidia_smi,
            nvml=lambda: nvml,
            importable=lambda package: package in machine.packages,
        )

    return write
