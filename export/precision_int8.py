"""A merged float32 graph → int8 Q/DQ by ONNX Runtime's static quantisation, sensitive convolutions left in float32.

Every convolution reads and writes 8-bit numbers: kernels per channel, activations per tensor, their ranges those of
every second one of the task's own degraded pictures. What that costs is measured on the others: on pictures that gave
the ranges nothing lies beyond them. A runtime with integer kernels fuses each Q/DQ pair with the convolution between.

Never quantised is what costs much and takes no time: the first and the last convolution, which carry the picture
itself, and those behind a mean over the picture, of one pixel (in NAFNet one of these, of its channel attention, made
half of all loss). Where the rest costs more than a quarter of the limit, so that pictures of other kinds stay within
it, layers are left out by measured loss, greedily:

    all      one graph with a switch at each convolution: y = where(on, DQ(Q(x)), x), and the same for kernel and bias
    rank     each layer switched on alone; its loss is the squared difference from float32
    cut      the fewest of the worst whose absence keeps the rest within that, by bisection
    verify   the graph quantised without them, in integer kernels; a tenth more is left out until that holds too, up to
             half of all layers: with those the limit itself must hold

A device with a compute capability gets symmetric ranges, biases in float32 and a pair for each reader: what TensorRT
takes. Others get asymmetric uint8 activations, which are finer.
"""

from __future__ import annotations

import logging
import math
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from colora.devices.errors import GraphError, ParityError
from colora.export.precision import LIMITS, Limit, Loss, Run, excess, measure, tensor_of
from colora.export.sensitivity import Switched, cut, holds, rank
from colora.runtime.manifest import ImageConvention
from colora.runtime.weights import Array
from colora.train.photos import Pair

if TYPE_CHECKING:
    import onnx

QUANTISED = "Conv"
POOLS = ("GlobalAveragePool", "ReduceMean")
TOLD = "integer kernels of ONNX Runtime's CPU"
SECONDS = 60.0
"""that ranking may take: with more layers than that allows, fewer pictures are used, at least one"""
PART = 4
"""by which the limit is divided on the pictures measured here: on photographs of other kinds our noise adapter lost two
to three times as much"""


def quantise(
    graph: Path,
    output: Path,
    network: str,
    reference: Run,
    pairs: Sequence[Pair],
    symmetric: bool,
    seconds: float = SECONDS,
) -> Loss:
    """Quantise `graph`, a closed float32 graph of one network, to the file `output`, which holds its numbers itself.

    reference: the trained network. pairs: the first, third, … to calibrate on, the others to measure on; one does for
    both. symmetric: as TensorRT takes it.
    Raises: GraphError for a graph without convolutions; ParityError if the limit can't be kept with half of them.
    """
    named = output.with_name("named.onnx")
    layers, kept = _name_convolutions(graph, named)
    if not layers:
        raise GraphError(f"precision int8: {graph} has no {QUANTISED} to quantise: export in fp32 or fp16")
    limit = LIMITS["int8"]
    aim = Limit(limit.psnr_db + 10 * math.log10(PART), limit.change_db / PART)
    ranges = output.with_name("ranges.json")
    ranked: list[str] = []
    left, half = 0, len(layers) // 2
    calibration, pairs = pairs[::2], pairs[1::2] or pairs
    try:
        while True:
            float_layers = (*kept, *ranked[:left])
            _quantise(named, output, calibration, symmetric, float_layers, ranges)
            loss = measure(network, "int8", TOLD, reference, _runner(output), pairs)
            loss = replace(loss, left=float_layers)
            if holds(loss, aim):
                return loss
            if ranked and left == half:
                if not (reason := excess(loss)):
                    return loss
                worst = ", ".join(ranked[:5])
                raise ParityError(
                    f"{reason}, and with half of the {len(layers)} layers in float32 it still would; the most "
                    f"sensitive are {worst}. Nothing was written: export in fp16"
                )
            if not ranked:
                switched = Switched(named, output, layers)
                ranked = rank(switched, pairs, seconds)
                left = cut(switched, ranked, pairs, network, reference, aim)
            else:
                left += max(1, len(layers) // 10)
            left = min(left, half)
    finally:
        named.unlink(missing_ok=True)
        ranges.unlink(missing_ok=True)


def _name_convolutions(graph: Path, named: Path) -> tuple[list[str], tuple[str, ...]]:
    """Copy `graph`, each convolution named as its kernel is; returns the names in order: to quantise, and never."""
    import onnx

    model = onnx.load(graph)
    makers = {name: node for node in model.graph.node for name in node.output}
    image, output = ImageConvention().input, makers[ImageConvention().output]
    last = {*output.output, *output.input}
    names: list[str] = []
    kept: list[str] = []
    for node in model.graph.node:
        if node.op_type == QUANTISED:
            node.name = node.input[1].removesuffix(".weight").replace(".weight.", ".")
            read = node.input[0]
            pooled = read in makers and makers[read].op_type in POOLS
            spared = read == image or pooled or node.output[0] in last
            (kept if spared else names).append(node.name)
    onnx.save(model, named)
    return names, tuple(kept)


def _quantise(
    graph: Path, output: Path, pairs: Sequence[Pair], symmetric: bool, left: Sequence[str], ranges: Path
) -> None:
    """ONNX Runtime's static quantisation. ranges: of activations; written if it is not there."""
    import onnx
    from onnxruntime.quantization import QuantFormat, QuantType, quantize_static

    tensor_rt = {"ActivationSymmetric": True, "QuantizeBias": False, "DedicatedQDQPair": True}
    with _quiet():
        quantize_static(
            graph,
            output,
            None if ranges.exists() else _Reader(pairs),
            quant_format=QuantFormat.QDQ,
            op_types_to_quantize=[QUANTISED],
            per_channel=True,
            activation_type=QuantType.QInt8 if symmetric else QuantType.QUInt8,
            weight_type=QuantType.QInt8,
            nodes_to_exclude=list(left),
            extra_options=tensor_rt if symmetric else {},
            calibration_cache_path=ranges,
        )
    model = onnx.load(output)
    spare(model)
    onnx.save(model, output)


def spare(model: onnx.ModelProto) -> None:
    """Let everything but convolutions read values as they were before Q/DQ, unless a convolution made them.

    The quantiser gives every reader of a value what it made for one: the residual stream would be rounded to 8 bits
    where a convolution happens to read it too.
    """
    makers = {name: node for node in model.graph.node for name in node.output}
    for node in model.graph.node:
        if node.op_type in (QUANTISED, "QuantizeLinear", "DequantizeLinear"):
            continue
        for i, value in enumerate(node.input):
            pair = makers.get(value)
            first = makers.get(pair.input[0]) if pair and pair.op_type == "DequantizeLinear" else None
            if first is None or first.op_type != "QuantizeLinear":
                continue
            maker = makers.get(first.input[0])
            if maker is None or maker.op_type != QUANTISED:
                node.input[i] = first.input[0]


class _Reader:
    """What `quantize_static` asks for pictures."""

    def __init__(self, pairs: Sequence[Pair]) -> None:
        self._feeds: Iterator[dict[str, Array]] = (
            {ImageConvention().input: tensor_of(pair)} for pair in pairs
        )

    def get_next(self) -> dict[str, Array] | None:
        return next(self._feeds, None)


def _runner(graph: Path) -> Run:
    from colora.runtime.backend_ort import OrtBackend

    return OrtBackend(graph, ImageConvention(), {}, False, 0).run


@contextmanager
def _quiet() -> Iterator[None]:
    """The package recommends, by warnings, preparations that our passes have made."""
    root: Any = logging.getLogger()
    before = root.manager.disable
    logging.disable(logging.WARNING)
    try:
        yield
    finally:
        logging.disable(before)
