"""What each quantised convolution costs: the graph with a switch at each, layers ranked by it, the fewest left out."""

from __future__ import annotations

import math
import time
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from colora.export.precision import Limit, Loss, Run, measure, tensor_of
from colora.runtime.manifest import ImageConvention
from colora.runtime.weights import Array
from colora.train.photos import Pair

if TYPE_CHECKING:
    import onnx

SWITCH = "on/"
"""before the name of a convolution: the input that switches it"""
RANKED_SIDE = 128
"""pixels: ranking sees the centres of pictures"""


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
    tensors = [_centre(tensor_of(pair)) for pair in pairs]
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

    def enough(left: int) -> bool:
        on = ranked[left:]
        loss = measure(network, "int8", "", reference, lambda tensor: switched.run(tensor, on), pairs)
        return holds(loss, limit)

    low, high = 0, len(ranked)  # `high` holds: nothing is quantised
    while high - low > 1:
        middle = (low + high) // 2
        low, high = (low, middle) if enough(middle) else (middle, high)
    return high


def holds(loss: Loss, limit: Limit) -> bool:
    """Whether it is within that."""
    return loss.psnr_db >= limit.psnr_db and loss.change_db >= -limit.change_db


def _centre(tensor: Array) -> Array:
    """At most RANKED_SIDE a side."""
    height, width = tensor.shape[2:]
    y, x = max(0, height - RANKED_SIDE) // 2, max(0, width - RANKED_SIDE) // 2
    return np.ascontiguousarray(tensor[:, :, y : y + RANKED_SIDE, x : x + RANKED_SIDE])
