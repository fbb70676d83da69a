"""What a bundle will take and how long it will run on a device, before anything is built there.

Memory: weights + activations + what the runtime itself takes, against what the device has left for one process.
Time on a GPU: a roofline (Williams, Waterman, Patterson, "Roofline", CACM 2009): the longer of bytes over bandwidth and
operations over rate. It is a bound, so a range is given: the fast end moves each tensor once between the
heavy layers only (all else fused) at `Band.high` of the bound, the slow end moves every tensor of the graph at
`Band.low` of it. On a CPU: rates measured there (devices/cpu.py), and the error that they are allowed either way.
"""

import math
from collections.abc import Mapping
from dataclasses import dataclass

from colora.devices.catalogue import DEVICES
from colora.devices.cpu import FOOTPRINTS, WITHIN, CpuRates, Footprint
from colora.devices.device import Device
from colora.devices.errors import PlanError, unknown
from colora.devices.fit import OLDEST_PYTHON, OLDEST_TENSORRT, builds_engines, dotted
from colora.devices.jetpack import numbers
from colora.devices.workload import Workload

MIB = 2**20
VISIBLE = 0.93
"""Share of a Jetson's memory that Linux sees: tegrastats shows 7620 of 8192, 15368 of 16384, 30536 of 32768 MB."""
SYSTEM_BYTES = 2147 * MIB
"""What the system uses: the larger of two published idle lines of tegrastats with L4T R36.4.3 (Orin Nano, Orin NX)."""
GPU_RUNTIME_BYTES = 653 * MIB
"""A process with CUDA, cuBLAS, cuDNN and TensorRT started, engine not counted: log in NVIDIA/TensorRT issue 2217."""
GPU = Footprint(GPU_RUNTIME_BYTES)


@dataclass(frozen=True)
class Rates:
    """What a machine does at best, or what was measured on it."""

    operations_per_s: float
    bytes_per_s: float


@dataclass(frozen=True)
class Band:
    """Shares of the roofline's bound between which a whole network is expected to run.

    Measured and published for an Orin Nano in MAXN_SUPER: 8.8 of 16.7 TFLOPS for a 2048² matrix product in
    fp16 (0.53), 1.3 of 2.1 in fp32 (0.62): no layer of ours will do better by much, hence `high` 0.7.
    `low` is an assumption: nobody has measured colora on a Jetson yet. Put your own measurement here.
    """

    low: float = 0.25
    high: float = 0.7

    def __post_init__(self) -> None:
        if not 0 < self.low <= self.high <= 1:
            raise ValueError(f"band {self.low} to {self.high}; expected 0 < low <= high <= 1")


@dataclass(frozen=True)
class Plan:
    """What will be built, and what it is predicted to take."""

    device: Device
    mode: str
    policy: str
    """`merged`: a whole model for each task; `refit`: one whose weights change."""
    tasks: int
    tile: tuple[int, int]
    """Height and width that run at once; the image's where it runs whole."""
    tiles: int
    """How many of them an image takes."""
    weight_bytes: int
    activation_bytes: int
    runtime_bytes: int
    available_bytes: int | None
    """For this process; None where the device's memory is not known."""
    seconds: tuple[float, float] | None
    """For one image; None where no rate is known."""
    bound: str
    """`memory`, `arithmetic` or, on a CPU, `cache` or `functions`: what takes longest; empty without rates."""
    notes: tuple[str, ...] = ()
    """What was assumed or left open."""

    @property
    def total_bytes(self) -> int:
        """Weights, activations and runtime together."""
        return self.weight_bytes + self.activation_bytes + self.runtime_bytes


def make_plan(
    workload: Workload,
    device: Device,
    image: tuple[int, int],
    *,
    tile: int = 256,
    overlap: int = 32,
    when_above: int = 256,
    multiple_of: int = 16,
    tasks: int = 1,
    policy: str = "auto",
    mode: str | None = None,
    memory_bytes: int | None = None,
    rates: Rates | Mapping[str, CpuRates] | None = None,
    band: Band | None = None,
    backend: str = "ort",
) -> Plan:
    """Predict memory and time of one image on a device, and choose tile and policy. Computes; touches nothing.

    image: height, width in pixels. tile, overlap, when_above, multiple_of: the bundle's, in pixels; larger
    images are cut. policy: `auto` takes merged models if all fit, else refit. mode: power mode; the fastest
    by default. memory_bytes: what the machine has, where it is known better than by the product's name.
    rates: measured ones, instead of the table's; of a CPU: policy → those of the backend.
    backend: of a CPU, a key of FOOTPRINTS.
    Raises: PlanError with what would fit, or where no engine can be built; UnknownName for the mode.
    """
    if (
        min(image) < 1
        or tasks < 1
        or not 0 <= 2 * overlap < tile
        or policy not in ("auto", "refit", "merged")
    ):
        raise PlanError(
            f"image {image}, tasks {tasks}, tile {tile} with overlap {overlap}, policy {policy!r}; expected "
            "positive sizes, 0 <= 2·overlap < tile, policy auto, refit or merged"
        )
    if device.jetpacks and not any(map(builds_engines, device.jetpacks)):
        last = device.jetpacks[-1]
        raise PlanError(
            f"{device.title} has TensorRT {last.tensorrt} and Python {last.python} at best (JetPack {last.version}); "
            f"engines need {dotted(OLDEST_TENSORRT)} and {dotted(OLDEST_PYTHON)}. ONNX Runtime serves on its CPU: "
            "plan for cpu-aarch64, or for a Jetson Orin"
        )
    whole = max(image) <= when_above
    piece = image if whole else (min(tile, image[0]), min(tile, image[1]))
    tiles = 1 if whole else _steps(image[0], tile, overlap) * _steps(image[1], tile, overlap)
    available = available_bytes(device, memory_bytes)
    pixels = _up(piece[0], multiple_of) * _up(piece[1], multiple_of)
    models = {"merged": tasks, "refit": 1}
    footprints = {"merged": GPU, "refit": GPU} if device.compute_capability else _of_cpu(backend)
    ways = [p for p in ("merged", "refit") if policy in ("auto", p) and p in footprints]
    if not ways:
        raise PlanError(f"policy {policy!r} of {backend} is not planned; expected {' or '.join(footprints)}")
    for name in ways:
        rate: Rates | CpuRates | None
        if rates is None:
            rate = _rates(workload, device, mode)
        else:
            rate = rates.get(name) if isinstance(rates, Mapping) else rates
        notes = [] if rate else [_unknown_rate(workload, device)]
        if available is None:
            notes.append(f"memory of {device.title} is not known: nothing was held against it")
        footprint = footprints[name]
        plan = Plan(
            device=device,
            mode=device.mode(mode).name,
            policy=name,
            tasks=tasks,
            tile=piece,
            tiles=tiles,
            weight_bytes=footprint.weights(workload, models[name], name == "refit"),
            activation_bytes=footprint.activations(workload, pixels),
            runtime_bytes=footprint.runtime_bytes,
            available_bytes=available,
            seconds=None if rate is None else _seconds(workload, rate, band or Band(), pixels, tiles),
            bound="" if rate is None else _bound(workload, rate, pixels),
            notes=tuple(notes),
        )
        if available is None or plan.total_bytes <= available:
            return plan
    raise PlanError(_refusal(plan, workload, available or 0, footprints))


def available_bytes(device: Device, memory_bytes: int | None = None) -> int | None:
    """What one process can have: on a Jetson less what the system takes, elsewhere all that there is.

    memory_bytes: what Linux or the driver reports for this very machine.
    """
    if memory_bytes is None and device.memory_gb is None:
        return None
    if not device.jetpacks:
        return memory_bytes if memory_bytes is not None else (device.memory_gb or 0) * 2**30
    visible = memory_bytes if memory_bytes is not None else round((device.memory_gb or 0) * 2**30 * VISIBLE)
    return max(visible - SYSTEM_BYTES, 0)


def _times(workload: Workload, rates: Rates, pixels: int) -> tuple[float, float, float]:
    """Seconds of one run, each at the full rate: arithmetic, fewest bytes, most bytes."""
    return (
        workload.operations_per_pixel * pixels / rates.operations_per_s,
        (workload.fused_bytes_per_pixel * pixels + workload.weight_bytes) / rates.bytes_per_s,
        (workload.moved_bytes_per_pixel * pixels + workload.weight_bytes) / rates.bytes_per_s,
    )


def _seconds(
    workload: Workload, rates: Rates | CpuRates, band: Band, pixels: int, runs: int
) -> tuple[float, float]:
    if isinstance(rates, CpuRates):
        predicted = runs * rates.seconds(workload, pixels)
        return predicted * (1 - WITHIN), predicted * (1 + WITHIN)
    arithmetic, least, most = _times(workload, rates, pixels)
    return runs * max(arithmetic, least) / band.high, runs * max(arithmetic, most) / band.low


def _bound(workload: Workload, rates: Rates | CpuRates, pixels: int) -> str:
    if isinstance(rates, CpuRates):
        shares = rates.shares(workload, pixels)
        return max(shares, key=lambda name: shares[name])
    arithmetic, least, _ = _times(workload, rates, pixels)
    return "arithmetic" if arithmetic > least else "memory"


def _rates(workload: Workload, device: Device, mode: str | None) -> Rates | None:
    operations, bandwidth = device.rate(workload.precision, mode), device.mode(mode).bandwidth_gb_s
    return None if operations is None or bandwidth is None else Rates(operations, bandwidth * 1e9)


def _of_cpu(backend: str) -> Mapping[str, Footprint]:
    if backend not in FOOTPRINTS:
        raise unknown("backend of a CPU plan", backend, FOOTPRINTS)
    return FOOTPRINTS[backend]


def _unknown_rate(workload: Workload, device: Device) -> str:
    measure = "" if device.compute_capability else ": measure one with colora.benchmarks.predictions"
    return f"no {workload.precision} rate of {device.title} is known: time not predicted{measure}"


def _refusal(plan: Plan, workload: Workload, available: int, footprints: Mapping[str, Footprint]) -> str:
    """Got, needed, and what would fit: a smaller tile, sharing the weights, the next larger board."""
    would = []
    left = available - plan.weight_bytes - plan.runtime_bytes
    side = math.isqrt(footprints[plan.policy].pixels(workload, left)) // 16 * 16
    if side:
        would.append(f"tiles of at most {side} px")
    if plan.policy == "merged":
        shared = footprints["refit"]
        refit = plan.activation_bytes + shared.weights(workload, 1, True) + shared.runtime_bytes
        would += ["policy refit"] if refit <= available else []
    newer = [
        d
        for d in DEVICES.values()
        if bool(d.jetpacks) == bool(plan.device.jetpacks)
        and numbers(d.compute_capability) >= numbers(plan.device.compute_capability)
        and (available_bytes(d) or 0) >= plan.total_bytes
    ]
    if newer:
        would.append(min(newer, key=lambda d: d.memory_gb or 0).name)
    return (
        f"{plan.device.title} has {available / MIB:.0f} MiB for this; {plan.policy} needs "
        f"{plan.total_bytes / MIB:.0f}: {plan.weight_bytes / MIB:.0f} of weights, "
        f"{plan.activation_bytes / MIB:.0f} of activations at {plan.tile[1]}×{plan.tile[0]} px, "
        f"{plan.runtime_bytes / MIB:.0f} of runtime. What would fit: "
        f"{', or '.join(would) or 'nothing in the table; take a smaller backbone'}"
    )


def _up(length: int, multiple: int) -> int:
    return -(-length // multiple) * multiple


def _steps(length: int, tile: int, overlap: int) -> int:
    """How many tiles cover a side, as runtime/tiles.py cuts it."""
    return len([*range(0, max(length - tile, 0), tile - overlap), 0])
