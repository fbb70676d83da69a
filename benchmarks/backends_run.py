"""What `backends` times, in a process of its own: one image through every way of running the network, by turns."""

from __future__ import annotations

import math
import time
from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
from colora.benchmarks.compiled_models import CONVOLUTIONS, PLAIN, form_folder
from colora.benchmarks.scenarios import INPUT, picture, tensor_of
from colora.benchmarks.timing import interleave, paired_ratio, summary
from colora.devices.errors import ParityError
from colora.runtime.weights import Array

Calls = dict[str, Callable[[], Any]]

ORT, OPENVINO = "ort: plain", "openvino: plain"
"""What people have without us."""
OURS, EAGER, COMPILED = "openvino: ours, merged", "torch: eager, channels_last", "torch: compile"
REFERENCES = (ORT, OPENVINO, OURS, EAGER, COMPILED)
NAMES, BACKBONE = "forms.txt", "backbone.txt"
"""Files beside the forms: their names, ours first; and what load_backbone takes."""
FEWEST, PAUSE = 3, 0.05
"""Rounds at least, whatever they take; seconds before each call."""
GEMM = "2048³ product: "
SIDE = 2048
FLOOR = ": convolutions alone"
"""of ONNX Runtime and OpenVINO: what their kernels reach where nothing else is to be done"""
TOLERANCE = {"": 1e-4, "bf16": 3e-2}
"""Of fp32 what every export is held to; of bf16 the tolerance of golden outputs; in units of the image range."""


def measure(
    folder: str, size: str, threads: str, rounds: str, compiled: str, seconds: str = "inf"
) -> dict[str, Any]:
    """Everything in `folder` on one image, size×size.

    compiled: `1` with torch.compile. seconds: that all may take; rounds are left out for it, down to FEWEST.
    Returns {rows: name → {n, ms_p50, ms_p95, ratio_to: reference → quartiles, gflops, share_of_gemm, largest_difference
    and psnr_db from plain ONNX Runtime}, bounds: kind of convolution → `Bound`}. Raises: ParityError.
    """
    begin = time.perf_counter()
    from colora.benchmarks.backends_bound import bounds, copies
    from colora.export.cost import cost
    from onnx import load

    side, n = int(size), int(threads)
    image = tensor_of(picture(side))
    calls = networks(Path(folder), side, image, n, compiled == "1")
    errors = compare(calls)
    alone = Path(folder) / size / CONVOLUTIONS
    floors, products = convolutions_alone(alone, n), gemms(n)
    every = calls | floors | products
    interleave(every, 1, warmups=0)  # the first runs of all, some of which take long
    once = sum(sum(ms) for ms in interleave(every, 1, warmups=0).values()) / 1e3 + PAUSE * len(every)
    left = float(seconds) - (time.perf_counter() - begin)
    count = int(max(FEWEST, min(int(rounds), left / once)))
    times = interleave(every, count, warmups=1, pause_s=PAUSE)
    best = min(products, key=lambda name: summary(times[name]).ms_p50)
    graph = load(alone)
    flops = {name: 2 * SIDE**3 for name in products}
    flops |= dict.fromkeys(calls | floors, cost(graph, side, side).flops)
    rows = {}
    for name, ms in times.items():
        row: dict[str, Any] = asdict(summary(ms))
        if name in calls:
            row["largest_difference"], row["psnr_db"] = errors[name]
        if name not in products:
            references = [other for other in REFERENCES if other in times]
            row["ratio_to"] = {other: asdict(paired_ratio(ms, times[other])) for other in references}
        row["gflops"] = flops[name] / row["ms_p50"] / 1e6
        row["share_of_gemm"] = flops[name] / flops[best] / paired_ratio(ms, times[best]).p50
        rows[name] = row
    least = bounds(graph, rows[best]["gflops"], copies(n))
    return {"rows": rows, "bounds": {kind: asdict(bound) for kind, bound in least.items()}}


def compare(calls: Calls) -> dict[str, tuple[float, float | None]]:
    """Name → largest difference from the plain graph in ONNX Runtime, and PSNR in dB (peak 1; None where all is equal).

    Raises: ParityError for more than TOLERANCE.
    """
    expected, found = calls[ORT](), {}
    for name, call in calls.items():
        difference = call() - expected
        largest = float(np.abs(difference).max())
        limit = TOLERANCE["bf16" if "bf16" in name else ""]
        if not largest <= limit:
            raise ParityError(f"{name}: differs from the plain export by {largest:.3g}, more than {limit:g}")
        square = float(np.square(difference, dtype=np.float64).mean())
        found[name] = largest, -10 * math.log10(square) if square else None
    return found


def networks(folder: Path, size: int, image: Array, threads: int, compiled: bool) -> Calls:
    """Name → a run of it, fp32 unless it says bf16. The folders are those that `backends` writes."""
    from colora.runtime.backend_openvino import OpenvinoBackend, OpenvinoBf16Backend, capabilities
    from colora.runtime.backend_ort import OrtBackend
    from colora.runtime.manifest import ImageConvention

    plain, feed = folder / str(size) / PLAIN, {INPUT: image}
    calls: Calls = {ORT: ort_plain(plain, feed, threads)}

    def ours(backend: Any, form: Path, refit: bool) -> Callable[[], Any]:
        opened = backend.open(form / "graph.onnx", ImageConvention(), tensors(form), refit, threads)
        return lambda: opened.run(image)

    names = (folder / NAMES).read_text().splitlines()
    made, *others = (folder / form_folder(number) for number in range(len(names)))
    calls["ort: ours, merged"] = ours(OrtBackend, made, False)
    calls["ort: ours, refit"] = ours(OrtBackend, made, True)
    calls[OPENVINO] = openvino_plain(plain, feed, threads, "f32")
    calls[OURS] = ours(OpenvinoBackend, made, False)
    calls["openvino: ours, refit"] = ours(OpenvinoBackend, made, True)
    for name, form in zip(names[1:], others, strict=True):
        calls[f"openvino: {name}"] = ours(OpenvinoBackend, form, False)
    if "BF16" in capabilities():
        calls["openvino bf16: plain"] = openvino_plain(plain, feed, threads, "bf16")
        calls["openvino bf16: ours, merged"] = ours(OpenvinoBf16Backend, made, False)
        calls["openvino bf16: ours, refit"] = ours(OpenvinoBf16Backend, made, True)
    calls[EAGER], module = eager(folder, image, threads)
    if compiled:
        calls[COMPILED] = inductor(module, image)
    return calls


def convolutions_alone(graph: Path, threads: int) -> Calls:
    """The plain graph's convolutions and nothing between (`compiled_models.convolutions`), on random numbers."""
    from onnx import load

    rng = np.random.default_rng(0)
    feed = {
        x.name: rng.random([axis.dim_value for axis in x.type.tensor_type.shape.dim], dtype=np.float32)
        for x in load(graph).graph.input
    }
    return {
        f"ort{FLOOR}": ort_plain(graph, feed, threads),
        f"openvino{FLOOR}": openvino_plain(graph, feed, threads, "f32"),
    }


def tensors(form: Path) -> dict[str, Array]:
    """The switchable ones of a form."""
    from onnx import load, numpy_helper

    wanted = set((form / "weights.txt").read_text().splitlines())
    graph = load(form / "graph.onnx").graph
    return {t.name: numpy_helper.to_array(t) for t in graph.initializer if t.name in wanted}


def ort_plain(model: Path, feed: dict[str, Array], threads: int) -> Callable[[], Any]:
    import onnxruntime as ort

    options = ort.SessionOptions()
    options.intra_op_num_threads = threads
    session = ort.InferenceSession(str(model), options, providers=["CPUExecutionProvider"])
    return lambda: session.run(None, feed)[0]


def openvino_plain(model: Path, feed: dict[str, Array], threads: int, hint: str) -> Callable[[], Any]:
    from colora.runtime.backend_openvino import _core

    options = {"INFERENCE_PRECISION_HINT": hint, "PERFORMANCE_HINT": "LATENCY"}
    if threads:
        options["INFERENCE_NUM_THREADS"] = str(threads)
    request = _core().compile_model(model, "CPU", options).create_infer_request()

    def run() -> Any:
        request.infer(feed, share_inputs=True)
        return request.get_output_tensor(0).data.copy()

    return run


def eager(folder: Path, image: Array, threads: int) -> tuple[Callable[[], Any], Any]:
    import torch
    from colora.train.checkpoint import load_backbone

    if threads:
        torch.set_num_threads(threads)
    name = (folder / BACKBONE).read_text()
    module: Any = load_backbone(name).module.eval()
    module = module.to(memory_format=torch.channels_last)
    return torch_call(module, image), module


def inductor(module: Any, image: Array) -> Callable[[], Any]:
    import torch

    return torch_call(torch.compile(module), image)


def torch_call(module: Any, image: Array) -> Callable[[], Any]:
    import torch

    tensor = torch.from_numpy(image).to(memory_format=torch.channels_last)

    def run() -> Any:
        with torch.inference_mode():
            return module(tensor).numpy()

    return run


def gemms(threads: int) -> Calls:
    """float32 products of two square matrices, the same numbers in each package; the right one is a constant."""
    import onnxruntime as ort
    import torch
    from colora.runtime.backend_openvino import _core
    from onnx import TensorProto, helper, numpy_helper

    rng = np.random.default_rng(0)
    a, b = (rng.standard_normal((SIDE, SIDE), dtype=np.float32) for _ in "ab")
    x, y = (helper.make_tensor_value_info(name, TensorProto.FLOAT, (SIDE, SIDE)) for name in "xy")
    node, constant = helper.make_node("MatMul", ["x", "b"], ["y"]), numpy_helper.from_array(b, "b")
    graph = helper.make_graph([node], "product", [x], [y], [constant])
    model = helper.make_model(
        graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8
    ).SerializeToString()
    options = ort.SessionOptions()
    options.intra_op_num_threads = threads
    session = ort.InferenceSession(model, options, providers=["CPUExecutionProvider"])
    hints = {"INFERENCE_PRECISION_HINT": "f32", "PERFORMANCE_HINT": "LATENCY"}
    request = _core().compile_model(_core().read_model(model), "CPU", hints).create_infer_request()
    left, right = torch.from_numpy(a), torch.from_numpy(b)
    return {
        f"{GEMM}torch": lambda: left @ right,
        f"{GEMM}numpy": lambda: a @ b,
        f"{GEMM}onnxruntime": lambda: session.run(None, {"x": a}),
        f"{GEMM}openvino": lambda: request.infer({"x": a}, share_inputs=True),
    }
