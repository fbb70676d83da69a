"""What has to be there before an engine is built or opened: TensorRT and its version, memory, room on the disk.

Each check says what was found, what is needed and what brings it. Nothing is changed.
"""

import importlib
import math
import re
import shutil
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType

from colora.devices.errors import BackendError, MissingExtra, PlanError
from colora.devices.fit import OLDEST_TENSORRT, find_fitting, find_missing
from colora.devices.jetpack import find_jetpack, numbers
from colora.devices.probe import Machine, Sources, probe
from colora.runtime.cuda_memory import Cuda
from colora.runtime.engine import profile_shapes
from colora.runtime.manifest import Manifest

MEMORY = Path("/proc/meminfo")
MIB = 2**20
GRAPH_FILES = "graph."
"""How the names of the graph and of its numbers begin."""
BUILD_COPIES = 3
"""Of the graph's numbers on the disk while an engine is built: the graph with other weights, the engine, the one
before."""
CACHE_BYTES = 64 * MIB
"""Room for the timing cache and the record."""


@dataclass(frozen=True)
class Here:
    """What an engine is tied to besides its graph."""

    tensorrt: str
    compute_capability: str
    device: str
    """As CUDA names it, e.g. `Orin`."""
    jetpack: str
    """Empty elsewhere."""
    folder: str
    """Of a bundle's `engines/`: the board by the device table, elsewhere the GPU's name."""


def machine_here() -> Machine:
    """Facts of this machine, without asking a driver: that takes a second."""
    return probe(Sources(run=lambda _: None, nvml=lambda: None))


def tensorrt(machine: Machine | None = None) -> ModuleType:
    """TensorRT's Python module. machine: the one that is told what it lacks; this one by default.

    Raises: MissingExtra naming the JetPack or package that brings it; BackendError for a version that is too old.
    """
    oldest = ".".join(map(str, OLDEST_TENSORRT))
    try:
        found = importlib.import_module("tensorrt")
        reason = "" if hasattr(found, "Builder") else "a folder of that name is no TensorRT"
    except ImportError as e:
        reason = str(e)
    if reason:
        raise MissingExtra(
            f"backend tensorrt needs TensorRT {oldest} or later for this Python ({reason}): "
            f"{_remedy(machine or machine_here())}; meanwhile ONNX Runtime serves: backend='ort'"
        )
    if numbers(found.__version__) < OLDEST_TENSORRT:
        raise BackendError(
            f"TensorRT {found.__version__} is installed; backend tensorrt needs {oldest} or later: "
            f"{_remedy(machine or machine_here())}; meanwhile ONNX Runtime serves: backend='ort'"
        )
    return found


def _remedy(machine: Machine) -> str:
    device = find_fitting(machine)
    if machine.l4t:
        lines = [line for line in find_missing(machine, device) if not line.startswith("ONNX Runtime")]
        return "; ".join(lines) or "sudo apt install --reinstall nvidia-jetpack"
    return "pip install tensorrt, on a machine with an NVIDIA GPU"


def here(api: ModuleType, cuda: Cuda, machine: Machine | None = None) -> Here:
    """Facts of this machine. Raises: BackendError where CUDA finds no GPU."""
    machine = machine or machine_here()
    device, jetpack, name = find_fitting(machine), find_jetpack(machine.l4t), cuda.name()
    board = device.name if machine.l4t and device is not None else name
    return Here(
        tensorrt=str(api.__version__),
        compute_capability=cuda.capability(),
        device=name,
        jetpack=jetpack.version if jetpack else "",
        folder=re.sub(r"[^a-z0-9]+", "-", board.lower()).strip("-") or "gpu",
    )


def graph_bytes(manifest: Manifest) -> int:
    """Of the graph and its numbers."""
    return sum(record.size_bytes for name, record in manifest.files.items() if name.startswith(GRAPH_FILES))


def check_memory(manifest: Manifest, available: int) -> int:
    """What is left for the builder's own needs, of `available` bytes. Raises: PlanError saying what would fit.

    Counted: the engine's weights, a copy of them, and the most that is alive at one time in the largest picture.
    """
    weights, per_pixel = 2 * graph_bytes(manifest), manifest.activation_bytes_per_pixel
    height, width = profile_shapes(manifest.shapes)[2][2:]
    needed = weights + round(per_pixel * height * width)
    if needed <= available:
        return available - weights
    multiple = manifest.shapes.multiple_of
    side = int(math.sqrt(max(available - weights, 0) / per_pixel)) // multiple * multiple
    would = f"export with --tile {side} or less" if side else "a smaller backbone"
    raise PlanError(
        f"{available / MIB:.0f} MiB are free; an engine for {height}×{width} px needs {needed / MIB:.0f}: "
        f"{weights / MIB:.0f} for weights, {(needed - weights) / MIB:.0f} for activations. What would fit: {would}; "
        "or close other programs"
    )


def available_bytes(cuda: Cuda, machine: Machine, memory: Path = MEMORY) -> int:
    """Memory for the GPU: on a Jetson what Linux can free for it, which its driver does not count, else the driver's.

    Source: CUDA for Tegra Application Note, "Estimating Total Allocatable Device Memory".
    """
    found = re.search(r"MemAvailable:\s+(\d+) kB", memory.read_text()) if machine.l4t else None
    return int(found[1]) * 1024 if found else cuda.free_bytes()


def check_disk(manifest: Manifest, folder: Path) -> None:
    """Raises: BackendError where a file system has too little room for a build."""
    needed = BUILD_COPIES * graph_bytes(manifest) + CACHE_BYTES
    free = shutil.disk_usage(folder).free
    if free < needed:
        raise BackendError(
            f"{folder} has {free / MIB:.0f} MiB free; building an engine needs {needed / MIB:.0f}: make room, or move "
            "the bundle to a larger disk"
        )
