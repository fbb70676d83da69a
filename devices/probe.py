"""What this machine is: read from the device tree, L4T's release file, dpkg, nvidia-smi or NVML.

Every source is a field of `Sources`, so that files recorded elsewhere can be read in its place. A source that
is not there leaves its fact empty; nothing here raises for it.
"""

import importlib
import platform
import re
import subprocess
from collections.abc import Callable
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import Any

NVIDIA_SMI = (
    "nvidia-smi",
    "--query-gpu=name,compute_cap,memory.total,driver_version",
    "--format=csv,noheader,nounits",
)
TENSORRT_PACKAGE = "python3-libnvinfer"
"""The apt package that holds TensorRT's Python module on JetPack."""


@dataclass(frozen=True)
class Gpu:
    """A discrete GPU, or an integrated one that the driver lists."""

    name: str
    compute_capability: str
    """Empty where the driver does not tell."""
    memory_bytes: int | None
    """None where it shares the CPU's."""
    driver: str


@dataclass(frozen=True)
class Machine:
    """Facts of one machine; empty or None where nothing tells."""

    machine: str
    """`platform.machine()`: x86_64, aarch64 …"""
    python: str
    """Of this interpreter, e.g. `3.10.12`."""
    model: str = ""
    """What the device tree calls the board."""
    modules: tuple[str, ...] = ()
    """NVIDIA's part numbers in the device tree, e.g. `p3767-0005`."""
    l4t: str = ""
    """Linux for Tegra, e.g. `36.4.3`."""
    memory_bytes: int | None = None
    """What Linux has to give; less than the product's name says."""
    power_mode: str = ""
    tensorrt: str = ""
    """Version of the apt package of TensorRT's Python module."""
    gpus: tuple[Gpu, ...] = ()
    packages: tuple[str, ...] = ()
    """Of `PACKAGES`, those that this Python can import."""


PACKAGES = ("onnxruntime", "tensorrt", "tensorrt_rtx", "openvino")


def _run(command: tuple[str, ...]) -> str | None:
    """Output of a command; None where it is missing, fails or takes more than 20 s."""
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=20, check=True)
    except (OSError, subprocess.SubprocessError):
        return None
    return done.stdout


def _nvml() -> Any:
    """The module `pynvml` (pip package nvidia-ml-py), or None."""
    try:
        return importlib.import_module("pynvml")
    except ImportError:
        return None


def _importable(package: str) -> bool:
    return find_spec(package) is not None


@dataclass(frozen=True)
class Sources:
    """Where facts come from; the defaults are this machine's."""

    model: Path = Path("/proc/device-tree/model")
    compatible: Path = Path("/proc/device-tree/compatible")
    release: Path = Path("/etc/nv_tegra_release")
    memory: Path = Path("/proc/meminfo")
    dpkg: Path = Path("/var/lib/dpkg/status")
    power_mode: Path = Path("/var/lib/nvpmodel/status")
    power_modes: Path = Path("/etc/nvpmodel.conf")
    machine: str = platform.machine()
    python: str = platform.python_version()
    run: Callable[[tuple[str, ...]], str | None] = _run
    nvml: Callable[[], Any] = _nvml
    importable: Callable[[str], bool] = _importable


def probe(sources: Sources | None = None) -> Machine:
    """Facts of the machine that the sources describe; of this one by default."""
    s = sources or Sources()
    compatible = _read(s.compatible).split("\0")
    found = re.search(r"MemTotal:\s+(\d+) kB", _read(s.memory))
    return Machine(
        machine=s.machine,
        python=s.python,
        model=_read(s.model).strip("\0\n "),
        modules=tuple(dict.fromkeys(m for entry in compatible for m in re.findall(r"p\d{4}-\d{4}", entry))),
        l4t=parse_release(_read(s.release)),
        memory_bytes=int(found[1]) * 1024 if found else None,
        power_mode=parse_power_mode(_read(s.power_mode), _read(s.power_modes)),
        tensorrt=package_version(_read(s.dpkg), TENSORRT_PACKAGE),
        gpus=parse_nvidia_smi(s.run(NVIDIA_SMI) or "") or _gpus_by_nvml(s.nvml()),
        packages=tuple(package for package in PACKAGES if s.importable(package)),
    )


def parse_release(text: str) -> str:
    """`# R36 (release), REVISION: 4.3, GCID: …` → `36.4.3`; empty for anything else."""
    found = re.search(r"# R(\d+) \(release\), REVISION: ([\d.]+)", text)
    return f"{found[1]}.{found[2]}" if found else ""


def parse_power_mode(status: str, modes: str) -> str:
    """Name of the mode whose number nvpmodel keeps as `pmode:0002`, by its configuration; empty if unknown."""
    found = re.search(r"pmode:(\d+)", status)
    names = {int(n): name for n, name in re.findall(r"POWER_MODEL\s+ID=(\d+)\s+NAME=(\S+)", modes)}
    return names.get(int(found[1]), "") if found else ""


def package_version(status: str, package: str) -> str:
    """Version of an installed package by dpkg's status file; empty where it is not installed."""
    for entry in status.split("\n\n"):
        fields = dict(line.split(": ", 1) for line in entry.splitlines() if ": " in line and line[0] != " ")
        if fields.get("Package") == package and fields.get("Status", "").endswith(" installed"):
            return fields.get("Version", "")
    return ""


def parse_nvidia_smi(text: str) -> tuple[Gpu, ...]:
    """GPUs by the answer to `NVIDIA_SMI`. Jetsons answer `[N/A]` for their memory, which is the CPU's."""
    gpus = []
    for line in text.splitlines():
        cells = [cell.strip() for cell in line.split(",")]
        if len(cells) != 4:
            continue
        name, capability, memory, driver = cells
        gpus.append(
            Gpu(
                name,
                capability if re.fullmatch(r"\d+\.\d", capability) else "",
                int(memory) * 2**20 if memory.isdigit() else None,
                driver,
            )
        )
    return tuple(gpus)


def _gpus_by_nvml(nvml: Any) -> tuple[Gpu, ...]:
    """GPUs by NVIDIA's management library, where nvidia-smi is not there (containers)."""
    if nvml is None:
        return ()
    try:
        nvml.nvmlInit()
    except nvml.NVMLError:
        return ()
    try:
        driver = _text(nvml.nvmlSystemGetDriverVersion())
        gpus = []
        for i in range(nvml.nvmlDeviceGetCount()):
            handle = nvml.nvmlDeviceGetHandleByIndex(i)
            major, minor = nvml.nvmlDeviceGetCudaComputeCapability(handle)
            try:
                memory = int(nvml.nvmlDeviceGetMemoryInfo(handle).total)
            except nvml.NVMLError:
                memory = None
            gpus.append(Gpu(_text(nvml.nvmlDeviceGetName(handle)), f"{major}.{minor}", memory, driver))
        return tuple(gpus)
    except nvml.NVMLError:
        return ()
    finally:
        nvml.nvmlShutdown()


def _text(value: str | bytes) -> str:
    """Older releases of nvidia-ml-py answer in bytes."""
    return value.decode() if isinstance(value, bytes) else value


def _read(path: Path) -> str:
    try:
        return path.read_text("utf-8", errors="replace")
    except OSError:
        return ""
