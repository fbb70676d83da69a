"""A merged float32 graph → int8 Q/DQ by ONNX Runtime's static quantisation, sensitive convolutions left in float32.

Every convolution reads and writes 8-bit numbers: kernels per channel, activations per tensor, their ranges those of the
task's own degraded pictures. A runtime with integer kernels fuses each Q/DQ pair with the convolution between.

Where that costs more than the limit, layers are left out by measured loss, greedily:

    all      one graph with a switch at each convolution: y = where(on, DQ(Q(x)), x), and the same for kernel and bias
    rank     each layer switched on alone; its loss is the squared difference from float32
    cut      the fewest of the worst whose absence keeps the rest within the limit, by bisection
    verify   the graph quantised without them, in integer kernels; a tenth more is left out until that holds too

A device with a compute capability gets symmetric ranges, biases in float32 and a pair for each reader: what TensorRT
takes. Others get asymmetric uint8 activations, which are finer.
"""

from __future__ import annotations

import logging
import math
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from colora.devices.errors import GraphError, ParityError
from colora.export.precision import LIMITS, Limit, Loss, Run, excess, measure, tensor_of
from colora.runtime.manifest import ImageConvention
from colora.runtime.weights import Array
from colora.train.photos import Pair

if TYPE_CHECKING:
    import onnx

QUANTISED = "Conv"
TOLD = "integer kernels of ONNX Runtime's CPU"
SECONDS = 60.0
"""that ranking may take: with more layers than that allows, fewer pictures are used, at least one"""
SWITCH = "on/"
"""before the name of a convolution: the input that switches it"""


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

    reference: the trained network. pairs: to calibrate and measure on. symmetric: as TensorRT takes it.
    Raises: GraphError for a graph without convolutions; ParityError if the limit can't be kept with half of them.
    """
    named = output.with_name("named.onnx")
    layers = _name_convolutions(graph, named)
    if not layers:
        raise GraphError(f"precision int8: {graph} has no {QUANTISED} to quantise: export in fp32 or fp16")
    ranges = output.with_name("ranges.json")
    ranked: list[str] = []
    left = 0
    try:
        while True:
            _quantise(named, output, pairs, symmetric, ranked[:left], ranges)
            loss = measure(network, "int8", TOLD, reference, _runner(output), pairs)
            reason = excess(loss)
            if not reason:
                return replace(loss, left=tuple(ranked[:left]))
            if not ranked:
                switched = Switched(named, output, layers)
                ranked = rank(switched, pairs, seconds)
                left = cut(switched, ranked, pairs, network, reference, LIMITS["int8"])
            else:
                left += max(1, len(layers) // 10)
            if left > len(layers) // 2:
                worst = ", ".join(ranked[:5])
                raise ParityError(
                    f"{reason}, and with half of the {len(layers)} layers in float32 it still would; the most "
                    f"sensitive are {worst}. Nothing was written: export in fp16"
                )
    finally:
        named.unlink(missing_ok=True)
        ranges.unlink(missing_ok=True)


class Switched:
    """The quantised graph with a switch at each convolution, computed in float32."""

    def __init__(self, plain: Path, quantised: Path, layers: Sequence[str]) -> None:
        import onnxruntime as ort

        self.layers = tuple(layers)
        options = ort.SessionOptions()
        options.log_severity_level = 3
        options.graph_optimization_level = ort.GraphOptimizationLevel.ORT_ENABLE_BASIC
        model = switchable(plain, quantised, self.layers)
        self._session = ort.InferenceSession(
            model.SerializeToString(), options, providers=["CPUExecutionProvider"]
        )

    def run(self, tensor: Array, on: Sequence[str]) -> Array:
        """1×3×H×W float32 → same, the layers of `on` in int8."""
        image = ImageConvention()
        feeds = {SWITCH + layer: np.array(layer in on) for layer in self.layers}
        result: Array = self._session.run([image.output], {image.input: tensor, **feeds})[0]
        return result


def switchable(plain: Path, quantised: Path, layers: Sequence[str]) -> onnx.ModelProto:
    """`quantised` with an input `on/<layer>` (bool) for each layer, which chooses between its Q/DQ and `plain`'s value.

    A value between two convolutions is in int8 if either of them is on.
    """
    import onnx
    from onnx import TensorProto, helper

    model, source = onnx.load(quantised), onnx.load(plain)
    kept = {tensor.name: tensor for tensor in source.graph.initializer}
    makers = {name: node for node in model.graph.node for name in node.output}
    plain_of: dict[str, str] = {}
    for node in model.graph.node:
        if node.op_type == "DequantizeLinear":
            maker = makers.get(node.input[0])
            plain_of[node.output[0]] = maker.input[0] if maker else node.input[0].removesuffix("_quantized")
    nodes: list[onnx.NodeProto] = []
    used: set[str] = set()

    def choose(value: str, reader: onnx.NodeProto) -> str:
        """`value` or, where nobody switched it on, what it was before Q/DQ."""
        before = plain_of[value]
        maker = makers.get(before)
        switches = [SWITCH + n.name for n in (maker, reader) if n is not None and n.name in layers]
        if not switches:
            return value
        name = f"{value}/{reader.name or reader.output[0]}"
        if len(switches) > 1:
            nodes.append(helper.make_node("Or", switches, [f"{name}/either"]))
            switches = [f"{name}/either"]
        if before in kept:  # the quantiser gives its name to what it makes of a bias
            used.add(before)
            before = f"{before}/plain"
        nodes.append(helper.make_node("Where", [switches[0], value, before], [f"{name}/chosen"]))
        return f"{name}/chosen"

    for node in list(model.graph.node):
        if node.op_type not in ("QuantizeLinear", "DequantizeLinear"):
            for i, value in enumerate(node.input):
                if value in plain_of:
                    node.input[i] = choose(value, node)
        nodes.append(node)
    for name in sorted(used):
        model.graph.initializer.add().CopyFrom(kept[name])
        model.graph.initializer[-1].name = f"{name}/plain"
    model.graph.input.extend(helper.make_tensor_value_info(SWITCH + n, TensorProto.BOOL, []) for n in layers)
    del model.graph.node[:]
    model.graph.node.extend(nodes)
    return model


def rank(switched: Switched, pairs: Sequence[Pair], seconds: float) -> list[str]:
    """Layers by what each costs alone, the most sensitive first."""
    tensors = [tensor_of(pair) for pair in pairs]
    begin = time.perf_counter()
    exact = [switched.run(tensors[0], ())]
    each = time.perf_counter() - begin
    tensors = tensors[: max(1, math.floor(seconds / (each * len(switched.layers))))]
    exact += [switched.run(tensor, ()) for tensor in tensors[1:]]

    def loss(layer: str) -> float:
        found = (switched.run(tensor, (layer,)) for tensor in tensors)
        return float(sum(np.square(a - b).mean() for a, b in zip(found, exact, strict=True)))

    return sorted(switched.layers, key=loss, reverse=True)


def cut(
    switched: Switched,
    ranked: Sequence[str],
    pairs: Sequence[Pair],
    network: str,
    reference: Run,
    limit: Limit,
) -> int:
    """How many of the first of `ranked` must be left out; at least 1."""

    def holds(left: int) -> bool:
        on = ranked[left:]
        loss = measure(network, "int8", "", reference, lambda tensor: switched.run(tensor, on), pairs)
        return loss.psnr_db >= limit.psnr_db and loss.change_db >= -limit.change_db

    low, high = 0, len(ranked)  # `high` holds: nothing is quantised
    while high - low > 1:
        middle = (low + high) // 2
        low, high = (low, middle) if holds(middle) else (middle, high)
    return high


def _name_convolutions(graph: Path, named: Path) -> list[str]:
    """Copy `graph`, each convolution named as its kernel is; returns the names in order."""
    import onnx

    model = onnx.load(graph)
    names = []
    for node in model.graph.node:
        if node.op_type == QUANTISED:
            node.name = node.input[1].removesuffix(".weight").replace(".weight.", ".")
            names.append(node.name)
    onnx.save(model, named)
    return names


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
