"""What a bundle takes on a CPU: memory by what its backend holds, time by rates measured on that very CPU.

Time: a roofline without overlap (Williams, Waterman, Patterson, "Roofline", CACM 2009, takes the longer of arithmetic
and memory; on a core of a CPU neither hides the other): products / rate + functions / rate + bytes / bandwidth, where
what an operator reads and writes is near if all of it fits the cores' own caches, else far. The rates are those of one
backend with so many threads, not of the processor alone: what it fuses or reorders is in them.
No table has them: `python -m colora.benchmarks.predictions` finds them by running other networks.
"""

from dataclasses import astuple, dataclass

from colora.devices.workload import Workload

WITHIN = 0.25
"""Relative error that a prediction is allowed, either way."""
MB = 10**6


@dataclass(frozen=True)
class Footprint:
    """What a process holds beside the caller's pictures, for one backend and one way of changing weights."""

    runtime_bytes: int
    """Python, the packages, and what they take whatever the graph."""
    weight_copies: float = 1.0
    """Of the graph's weights, for each model that is open."""
    arena_bytes: int = 0
    """With activations, whatever their size."""
    activation_share: float = 1.0
    """Taken for each byte that is alive by the graph's shapes."""

    def weights(self, workload: Workload, models: int, factors: bool) -> int:
        """Bytes of so many open models, with or without the adapters beside them."""
        return round(self.weight_copies * workload.weight_bytes * models) + workload.factor_bytes * factors

    def activations(self, workload: Workload, pixels: int) -> int:
        """Bytes while an image of so many pixels runs."""
        return self.arena_bytes + round(self.activation_share * workload.activation_bytes_per_pixel * pixels)

    def pixels(self, workload: Workload, free_bytes: int) -> int:
        """The most that so much memory is enough for."""
        left = max(free_bytes - self.arena_bytes, 0)
        return int(left / (self.activation_share * workload.activation_bytes_per_pixel))


# ONNX Runtime 1.32.0, OpenVINO 2026.4.1, Python 3.11, one thread, x86-64, in decimal megabytes: resident memory at the
# peak of runs of seven networks of 0.4 to 29 M parameters, at 128 to 384 px (2026-11-23; those that
# benchmarks/predictions.py judges are among them: of memory it shows how well one line describes all, and whether it
# still does with later versions). The arena of ONNX Runtime keeps an index of 1/32 of its first block of 192 MiB.
# These move with versions: merged held 3.2 copies with ONNX Runtime 1.31.1 and the way a session was opened then.
FOOTPRINTS = {
    "ort": {
        "refit": Footprint(85 * MB, 1.11, 6 * MB, 1.04),
        "merged": Footprint(90 * MB, 2.2, 6 * MB, 1.11),
    },
    "openvino": {"merged": Footprint(145 * MB, 5.0, 20 * MB, 1.7)},
}
"""Backend → way → what it takes."""


@dataclass(frozen=True)
class CpuRates:
    """Of a machine with one backend. inf: what takes no time of its own."""

    products_per_s: float
    near_bytes_per_s: float
    far_bytes_per_s: float
    functions_per_s: float
    cache_bytes: int
    """An operator that reads and writes no more than this is near."""

    def __post_init__(self) -> None:
        if not min(astuple(self)) > 0:
            raise ValueError(f"{self}; expected rates above 0")

    def shares(self, workload: Workload, pixels: int) -> dict[str, float]:
        """Seconds of one run that products, near and far bytes and functions take."""
        moved = [each * pixels + weights for each, weights in workload.operators]
        near = sum(each for each in moved if each <= self.cache_bytes)
        return {
            "arithmetic": workload.products_per_pixel * pixels / self.products_per_s,
            "cache": near / self.near_bytes_per_s,
            "memory": (sum(moved) - near) / self.far_bytes_per_s,
            "functions": workload.functions_per_pixel * pixels / self.functions_per_s,
        }

    def seconds(self, workload: Workload, pixels: int) -> float:
        """Predicted time of one run."""
        return sum(self.shares(workload, pixels).values())
