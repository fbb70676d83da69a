"""Which device of the table a machine is, and what it lacks to serve bundles."""

import re

from colora.devices.catalogue import DEVICES
from colora.devices.device import Device
from colora.devices.jetpack import JetPack, find_jetpack, numbers
from colora.devices.probe import TENSORRT_PACKAGE, Machine

OLDEST_PYTHON = (3, 10)
"""What devices/ and runtime/ run on."""
OLDEST_TENSORRT = (10, 3)
"""What the engine builder is written for: strongly typed networks, refit marked by name."""


def find_fitting(machine: Machine) -> Device | None:
    """The device that the machine is; None for a Jetson or GPU that is not in the table.

    A Jetson is found by the part number of its module, a desktop GPU by its compute capability (the first
    one that is in the table), anything else by its processor. The generic `cpu` is never the answer where
    the processor is known.
    """
    for module in machine.modules:
        for device in DEVICES.values():
            if module in device.modules:
                return _by_memory(device, machine)
    if machine.l4t or "Jetson" in machine.model:
        return None
    for gpu in machine.gpus:
        for device in DEVICES.values():
            if (
                not device.jetpacks
                and gpu.compute_capability
                and device.compute_capability == gpu.compute_capability
            ):
                return device
    if machine.gpus:
        return None
    named = (d for d in DEVICES.values() if d.machine and d.machine == machine.machine)
    return next(named, DEVICES["cpu"])


def find_missing(machine: Machine, device: Device | None) -> tuple[str, ...]:
    """What is in the way, each with what brings it; empty if nothing is.

    device: what `find_fitting` said.
    """
    lines = []
    if device is None:
        lines.append(
            f"{_kind(machine)} is not in the table: no memory plan; the CPU serves it as {_cpu(machine)}"
        )
    if machine.l4t:
        lines += _missing_jetpack(machine, device)
    elif device is not None and device.compute_capability and "tensorrt_rtx" not in machine.packages:
        lines.append("TensorRT for RTX, for the GPU: pip install tensorrt-rtx")
    if numbers(machine.python) < OLDEST_PYTHON:
        lines.append(f"Python {machine.python} runs this; colora needs {dotted(OLDEST_PYTHON)} or later")
    if "onnxruntime" not in machine.packages:
        lines.append("ONNX Runtime, which serves on any CPU: pip install 'colora[ort]'")
    return tuple(lines)


def _missing_jetpack(machine: Machine, device: Device | None) -> list[str]:
    jetpack = find_jetpack(machine.l4t)
    usable = [j for j in device.jetpacks if builds_engines(j)] if device else []
    newer = f"flash JetPack {usable[0].version}" if usable else "no JetPack for this board brings it"
    if jetpack is None:
        return [f"L4T {machine.l4t} is not in the table of JetPacks: its TensorRT was not checked"]
    lines = []
    if device is not None and jetpack not in device.jetpacks:
        known = ", ".join(j.version for j in device.jetpacks)
        lines.append(
            f"JetPack {jetpack.version} (L4T {machine.l4t}) on {device.title}; known for it: {known}"
        )
    if numbers(jetpack.python) < OLDEST_PYTHON:
        lines.append(
            f"Python {dotted(OLDEST_PYTHON)} with TensorRT: JetPack {jetpack.version} has Python "
            f"{jetpack.python}: {newer}; under another Python ONNX Runtime serves on the CPU"
        )
    if numbers(jetpack.tensorrt) < OLDEST_TENSORRT:
        lines.append(
            f"TensorRT {dotted(OLDEST_TENSORRT)}: JetPack {jetpack.version} has {jetpack.tensorrt}: {newer}"
        )
    elif not machine.tensorrt:
        lines.append(
            f"TensorRT's Python module: sudo apt install {TENSORRT_PACKAGE} "
            "(or nvidia-jetpack, which brings all of JetPack)"
        )
    elif "tensorrt" not in machine.packages:
        lines.append(
            f"{TENSORRT_PACKAGE} {machine.tensorrt} is installed for Python {jetpack.python}, and this Python "
            f"{machine.python} can't import tensorrt: python{jetpack.python} -m venv --system-site-packages .venv"
        )
    return lines


def builds_engines(jetpack: JetPack) -> bool:
    """Whether its TensorRT and Python are new enough for colora's engines."""
    return numbers(jetpack.python) >= OLDEST_PYTHON and numbers(jetpack.tensorrt) >= OLDEST_TENSORRT


def _by_memory(device: Device, machine: Machine) -> Device:
    """The AGX Orin developer kit's module number is that of 32 and 64 GB: what Linux sees decides."""
    if (
        machine.memory_bytes is None
        or device.memory_gb is None
        or machine.memory_bytes <= device.memory_gb * 2**30
    ):
        return device
    family = re.sub(r"-\d+gb$", "", device.name)
    larger = (
        d
        for d in DEVICES.values()
        if d.name.startswith(family + "-") and (d.memory_gb or 0) > device.memory_gb
    )
    return min(larger, key=lambda d: d.memory_gb or 0, default=device)


def _kind(machine: Machine) -> str:
    if machine.model:
        return f"{machine.model!r}" + (f" ({', '.join(machine.modules)})" if machine.modules else "")
    return (
        ", ".join(f"{gpu.name} (SM {gpu.compute_capability or '?'})" for gpu in machine.gpus)
        or "this machine"
    )


def _cpu(machine: Machine) -> str:
    return next((d.name for d in DEVICES.values() if d.machine and d.machine == machine.machine), "cpu")


def dotted(version: tuple[int, ...]) -> str:
    """(10, 3) → `10.3`."""
    return ".".join(map(str, version))
