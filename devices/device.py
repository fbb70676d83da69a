"""What is known of a machine that bundles are exported for, and how fast that makes it at best."""

from dataclasses import dataclass

from colora.devices.errors import unknown
from colora.devices.jetpack import JetPack


@dataclass(frozen=True)
class PowerMode:
    """One of the clock settings between which `nvpmodel` switches a board; desktop GPUs have one."""

    name: str
    sms: int | None = None
    """Streaming multiprocessors that are on; None where no figure is published."""
    gpu_mhz: float | None = None
    """Highest clock of the GPU."""
    bandwidth_gb_s: float | None = None
    """Of the memory, theoretical: 10⁹ bytes a second."""


@dataclass(frozen=True)
class Device:
    """One kind of machine."""

    name: str
    """What `--target` takes."""
    title: str
    compute_capability: str
    """Of the GPU, as CUDA numbers it; empty where there is no GPU."""
    memory_gb: int | None
    """By the product's name, in GiB; None where the name does not say. Shared by CPU and GPU on a Jetson."""
    jetpacks: tuple[JetPack, ...] = ()
    """Releases that run on it, oldest first; empty for what is no Jetson."""
    modes: tuple[PowerMode, ...] = ()
    """Fastest first; empty where nothing general can be said (CPUs)."""
    dla: int = 0
    """Deep learning accelerators beside the GPU. colora does not use them."""
    modules: tuple[str, ...] = ()
    """Part numbers that the device tree's `compatible` names, e.g. `p3767-0005`."""
    machine: str = ""
    """`platform.machine()`; empty for any."""

    def __post_init__(self) -> None:
        if self.compute_capability and self.compute_capability not in OPERATIONS:
            raise ValueError(
                f"{self.name}: compute capability {self.compute_capability}; expected one of {', '.join(OPERATIONS)}"
            )
        if self.jetpacks and not self.compute_capability:
            raise ValueError(
                f"{self.name}: a board that JetPack runs on has a GPU; its capability is missing"
            )
        if self.memory_gb is not None and self.memory_gb <= 0:
            raise ValueError(f"{self.name}: memory_gb {self.memory_gb}; expected more than 0")

    def mode(self, name: str | None = None) -> PowerMode:
        """Power mode of that name; without one the fastest. Raises: UnknownName."""
        if name is None:
            return self.modes[0] if self.modes else PowerMode("default")
        for mode in self.modes:
            if mode.name == name:
                return mode
        raise unknown(f"power mode of {self.name}", name, [mode.name for mode in self.modes])

    def rate(self, precision: str, mode: str | None = None) -> float | None:
        """Operations a second at best: `fp32`, `fp16` or `int8`, dense, a multiply-add counted as two.

        None where no figure is published, or where the GPU has no such unit.
        """
        chosen = self.mode(mode)
        each = getattr(OPERATIONS[self.compute_capability], precision) if self.compute_capability else None
        if each is None or chosen.sms is None or chosen.gpu_mhz is None:
            return None
        return float(each * chosen.sms * chosen.gpu_mhz * 1e6)


@dataclass(frozen=True)
class Operations:
    """Of one streaming multiprocessor in one clock, dense, a multiply-add counted as two."""

    fp32: int
    """On the CUDA cores. TensorRT may use tensor cores (TF32) from 8.0 on, which round to 10 bits."""
    fp16: int
    """On tensor cores with fp16 sums where there are any; GeForce halves it for fp32 sums."""
    int8: int | None


# CUDA C++ Programming Guide, "Arithmetic Instructions", for CUDA cores; for tensor cores NVIDIA's architecture papers.
# Multiplied by SMs and clock they give the products' published figures: tests/devices/test_catalogue.py.
OPERATIONS = {
    "5.3": Operations(256, 512, None),
    "6.2": Operations(256, 512, None),
    "7.2": Operations(128, 1024, 2048),
    "7.5": Operations(128, 1024, 2048),
    "8.6": Operations(256, 1024, 2048),
    "8.7": Operations(256, 2048, 4096),
    "8.9": Operations(256, 1024, 2048),
    "11.0": Operations(256, 8192, None),
    "12.0": Operations(256, 1024, 2048),
}
"""Compute capability → operations."""
