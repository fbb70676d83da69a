"""Where the time of a picture goes by operator, and how near each comes to what this machine can do.

Times are of ONNX Runtime's own profiler over the bundle's graph, fully optimised, as the policy `merged` runs it. The
roofline (Williams, Waterman, Patterson, CACM 2009) has the rate of a large matrix product by numpy as its flat part and
the bandwidth of a large copy as its slope, both measured here with as many threads.
"""

import json
import math
import os
import statistics
import time
from collections import defaultdict
from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from colora.benchmarks.resident import in_fresh_process
from colora.benchmarks.section import Cell, Column, Plot, Section, Series
from colora.benchmarks.settings import Settings
from colora.devices.errors import BackendError
from colora.runtime.bundle import GRAPH, Bundle, open_bundle

WARMUPS = 2
SIDE = 1024
"""Of the square matrices that are multiplied."""
COPIED_BYTES = 2**27
"""More than any cache holds."""
REPEATS = 5
"""The best of which is a rate."""
DRAWN = 7
"""Kinds of operators on the roofline, those that take longest."""
NO_ARITHMETIC = frozenset(
    (
        *("ReorderInput", "ReorderOutput", "Transpose", "Reshape", "DepthToSpace", "SpaceToDepth", "Concat"),
        *("Slice", "Split", "Pad", "Gather", "Cast", "Expand", "Squeeze", "Unsqueeze", "Resize"),
    )
)
Shape = tuple[int, ...]


@dataclass(frozen=True)
class Node:
    """One operator of a graph as it was run."""

    kind: str
    ms: float
    """Median over the rounds."""
    flops: int
    """A multiplication with an addition counts as two."""
    moved_bytes: int
    """Read and written, weights included: each tensor once."""


@dataclass(frozen=True)
class Kind:
    """All operators of one kind."""

    name: str
    count: int
    ms: float
    flops: int
    moved_bytes: int

    @property
    def flops_per_s(self) -> float:
        return self.flops / (self.ms / 1e3)

    @property
    def intensity(self) -> float:
        """Operations for each byte."""
        return self.flops / self.moved_bytes if self.moved_bytes else 0.0


@dataclass(frozen=True)
class Roof:
    """What a machine can do at most."""

    flops_per_s: float
    bytes_per_s: float

    @property
    def ridge(self) -> float:
        """Operations for each byte from which arithmetic is the limit."""
        return self.flops_per_s / self.bytes_per_s

    def at(self, intensity: float) -> float:
        """Operations a second."""
        return min(self.flops_per_s, intensity * self.bytes_per_s)


def section(bundle: Path, settings: Settings, report: Callable[[str], None]) -> Section:
    """Raises: BundleError; BackendError where ONNX Runtime can't run the graph; ModuleNotFoundError without it."""
    report("rate of products, bandwidth")
    threads = settings.threads or len(os.sched_getaffinity(0))
    variables = {f"{name}_NUM_THREADS": str(threads) for name in ("OMP", "OPENBLAS", "MKL")}
    rates = in_fresh_process("colora.benchmarks.scenario_ops:rates", str(threads), variables=variables)
    report(f"profile at {settings.size}×{settings.size}")
    kinds = by_kind(profile(open_bundle(bundle), settings, threads))
    return told(kinds, Roof(*rates), settings.size, threads)


def told(kinds: Sequence[Kind], roof: Roof, size: int, threads: int) -> Section:
    """What was found, as a section. kinds: those that take longest first."""
    total = sum(kind.ms for kind in kinds)
    flops = sum(kind.flops for kind in kinds)
    rows: list[tuple[Cell, ...]] = []
    for kind in kinds:
        at_most = roof.at(kind.intensity)
        limit = "arithmetic" if kind.intensity >= roof.ridge else "memory"
        reached = 100 * kind.flops_per_s / at_most if kind.flops else None
        moved = kind.moved_bytes / (kind.ms / 1e3) / 1e9
        figures = (kind.count, kind.ms, 100 * kind.ms / total, kind.flops / 1e9, kind.moved_bytes / 1e6)
        rates = (kind.flops_per_s / 1e9 if kind.flops else None, moved, kind.intensity, limit, reached)
        rows.append((kind.name, *figures, *rates))
    waiting = sum(kind.ms for kind in kinds if kind.intensity < roof.ridge)
    share = flops / (total / 1e3) / roof.flops_per_s
    first = kinds[0]
    ends = (min(k.intensity for k in kinds if k.flops) / 2, roof.ridge, roof.ridge * 8)
    roofline = Series("limit of this machine", ends, tuple(roof.at(x) / 1e9 for x in ends))
    points = [
        Series(k.name, (k.intensity,), (k.flops_per_s / 1e9,)) for k in [k for k in kinds if k.flops][:DRAWN]
    ]
    return Section(
        name="ops",
        title="Where the time goes",
        said=f"{first.name} takes {100 * first.ms / total:.0f} % of the {total:.0f} ms of a picture of "
        f"{size}×{size} px; the whole network reaches {100 * share:.0f} % of the rate of large products, and "
        f"{100 * waiting / total:.0f} % of the time is in operators that memory limits.",
        columns=(
            Column("operator", "", "kinds of ONNX Runtime's profiler, convolutions by kernel"),
            Column("nodes"),
            Column("time", "ms", "median over the rounds of each node's kernel time, added up"),
            Column("share", "%"),
            Column("work", "GFLOP", "from the shapes that were run; a multiply-add is two"),
            Column("moved", "MB", "inputs, weights and outputs, each once, as the profiler tells"),
            Column("rate", "GFLOP/s"),
            Column("traffic", "GB/s", "above the bandwidth: it came from a cache"),
            Column("intensity", "FLOP/byte"),
            Column("limited by", "", "arithmetic from the ridge of the roofline on, else memory"),
            Column("of its limit", "%", "above 100: its numbers came from a cache"),
        ),
        rows=tuple(rows),
        plots=(
            Plot(
                "Time by operator",
                "operator",
                "ms of one picture",
                (Series("time", tuple(k.name for k in kinds[:10]), tuple(k.ms for k in kinds[:10])),),
                "bar",
            ),
            Plot("Roofline", "FLOP for each byte", "GFLOP/s", (roofline, *points), "line", True, True),
        ),
        notes=(
            f"Limits measured here with {threads} {'thread' if threads == 1 else 'threads'}: "
            f"{roof.flops_per_s / 1e9:.0f} GFLOP/s by a product of {SIDE}×{SIDE} float32 matrices in numpy, "
            f"{roof.bytes_per_s / 1e9:.1f} GB/s by a copy of {COPIED_BYTES / 1e6:.0f} MB, read and written; "
            f"best of {REPEATS}.",
            "The profiler itself takes some microseconds a node, which is in the times.",
        ),
    )


def profile(bundle: Bundle, settings: Settings, threads: int) -> list[Node]:
    """Each node of the bundle's graph. Raises: BackendError."""
    import onnxruntime as ort

    image = bundle.manifest.image
    options = ort.SessionOptions()
    options.intra_op_num_threads, options.log_severity_level = threads, 3
    options.enable_profiling, options.profile_file_prefix = True, str(settings.scratch / "profile")
    multiple = bundle.manifest.shapes.multiple_of
    side = min(-(-settings.size // multiple) * multiple, *bundle.manifest.shapes.max)
    tensor = np.random.default_rng(settings.seed).random((1, 3, side, side)).astype(image.dtype)
    begin = time.monotonic()
    try:
        session = ort.InferenceSession(str(bundle.path / GRAPH), options, providers=["CPUExecutionProvider"])
        for number in range(WARMUPS + settings.rounds):
            session.run([image.output], {image.input: tensor})
            if number > WARMUPS and time.monotonic() - begin > settings.seconds:
                break
        events = json.loads(Path(session.end_profiling()).read_text())
    except Exception as e:  # ONNX Runtime's errors have no common base class
        raise BackendError(f"{bundle.path / GRAPH}: ONNX Runtime can't profile it: {e}") from e
    return read_events(events)


def read_events(events: Iterable[dict[str, Any]]) -> list[Node]:
    """Nodes of a profile; of each the first WARMUPS runs are left out."""
    runs = defaultdict[tuple[str, str], list[dict[str, Any]]](list)
    for event in events:
        if event.get("cat") == "Node" and event["name"].endswith("_kernel_time"):
            runs[event["args"]["node_index"], event["name"]].append(event)
    found = []
    for node in runs.values():
        args = node[0]["args"]
        inputs, outputs = _shapes(args["input_type_shape"]), _shapes(args["output_type_shape"])
        moved = sum(int(args[name]) for name in ("activation_size", "parameter_size", "output_size"))
        ms = statistics.median(event["dur"] / 1e3 for event in node[WARMUPS:] or node)
        found.append(
            Node(_kind(args["op_name"], inputs), ms, _flops(args["op_name"], inputs, outputs), moved)
        )
    return found


def by_kind(nodes: Iterable[Node]) -> list[Kind]:
    """Those that take longest first."""
    groups = defaultdict[str, list[Node]](list)
    for node in nodes:
        groups[node.kind].append(node)
    kinds = [
        Kind(name, len(g), sum(n.ms for n in g), sum(n.flops for n in g), sum(n.moved_bytes for n in g))
        for name, g in groups.items()
    ]
    return sorted((kind for kind in kinds if kind.ms > 0), key=lambda kind: -kind.ms)


def _shapes(told: Iterable[dict[str, list[int]]]) -> list[Shape]:
    return [tuple(shape) for tensor in told for shape in tensor.values()]


def _kind(operator: str, inputs: Sequence[Shape]) -> str:
    """Convolutions are told apart by their kernels."""
    if "Conv" not in operator or len(inputs) < 2 or len(inputs[1]) != 4:
        return operator
    _, group_channels, height, width = inputs[1]
    depthwise = group_channels == 1 and inputs[0][1] > 1
    return f"{operator} {height}×{width}{', depthwise' if depthwise else ''}"


def _flops(operator: str, inputs: Sequence[Shape], outputs: Sequence[Shape]) -> int:
    """As export/cost.py counts: one per number of the output, or of the input of a reduction; sums by their length."""
    if operator in NO_ARITHMETIC or not outputs:
        return 0
    size = math.prod(outputs[0])
    if "ConvTranspose" in operator:
        return 2 * math.prod(inputs[0]) * math.prod(inputs[1][1:])
    if "Conv" in operator:
        return 2 * size * math.prod(inputs[1][1:])
    if "MatMul" in operator or "Gemm" in operator:
        return 2 * size * inputs[0][-1]
    if operator.startswith("Reduce") or operator.endswith("Pool"):
        return math.prod(inputs[0])
    return size


def rates(threads: str) -> tuple[float, float]:
    """(operations a second of a product by numpy, bytes a second of a copy), the best of some; in a fresh process."""
    a, b = (np.random.default_rng(0).standard_normal((SIDE, SIDE), np.float32) for _ in "ab")
    source, target = (np.ones(COPIED_BYTES // 4, np.float32) for _ in "ab")
    parts = [*zip(np.array_split(source, int(threads)), np.array_split(target, int(threads)), strict=True)]
    with ThreadPoolExecutor(int(threads)) as pool:
        product = _best(lambda: a @ b)
        copy = _best(lambda: [*pool.map(lambda part: np.copyto(part[1], part[0]), parts)])
    return 2 * SIDE**3 / product, 2 * COPIED_BYTES / copy


def _best(call: Callable[[], object]) -> float:
    found = []
    for _ in range(REPEATS + 1):
        begin = time.perf_counter_ns()
        call()
        found.append((time.perf_counter_ns() - begin) / 1e9)
    return min(found)
