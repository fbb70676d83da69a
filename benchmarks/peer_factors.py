"""A graph that takes an adapter as inputs, for ONNX Runtime's LoraAdapter: low-rank factors beside convolutions.

y = Conv(x, W0) + Conv(Conv(x, A), B), with A of r×Cin×kh×kw and B of Cout×r×1×1 (the scale is in B). What has no low
rank in either adapter, and kernels of grouped convolutions, become inputs themselves, W0 + ΔW: without them the picture
would be another task's.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
from colora.runtime.adapter import ParamDelta
from colora.runtime.deltas import delta_kind

if TYPE_CHECKING:
    import onnx
    from colora.runtime.weights import Array

Deltas = Mapping[str, ParamDelta]


def tuned(weights: Mapping[str, Array], deltas: Deltas) -> dict[str, Array]:
    """W0 + ΔW of every parameter, float32 by name."""
    changed = {
        name: weights[name] + np.float32(p.scale) * delta_kind(p.kind).delta(p.tensors, weights[name])
        for name, p in deltas.items()
    }
    return {**weights, **changed}


def factors(delta: ParamDelta | None, shape: Sequence[int]) -> tuple[Array, Array]:
    """A and B as kernels, of rank 1 and zero for no change. shape: Cout×Cin×kh×kw."""
    if delta is None:
        return np.zeros((1, *shape[1:]), np.float32), np.zeros((shape[0], 1, 1, 1), np.float32)
    a, b = delta.tensors["lora_A"], np.float32(delta.scale) * delta.tensors["lora_B"]
    return a.reshape(-1, *shape[1:]), np.ascontiguousarray(b[:, :, None, None])


def with_factors(
    model: onnx.ModelProto, weights: Mapping[str, Array], adapters: Sequence[Deltas]
) -> tuple[onnx.ModelProto, list[dict[str, Array]]]:
    """A copy of `model` that takes what the adapters change as inputs, and those inputs for each adapter.

    Initializers of `model` bear the names of `weights`. Inputs default to no change: ONNX Runtime's Python API refuses
    a run whose adapter brings inputs that have no default.
    """
    import onnx
    from onnx import TensorProto, helper, numpy_helper

    made = onnx.ModelProto()
    made.CopyFrom(model)
    changed = {name for deltas in adapters for name in deltas}
    inputs: list[dict[str, Array]] = [{} for _ in adapters]
    nodes: list[Any] = []
    branched = set()
    for node in made.graph.node:
        name = node.input[1] if node.op_type == "Conv" else ""
        deltas = [adapter.get(name) for adapter in adapters]
        group = next((a.i for a in node.attribute if a.name == "group"), 1)
        low_rank = all(d is None or d.kind == "low-rank" for d in deltas)
        if name in changed and group == 1 and low_rank:
            branched.add(name)
            nodes += _branch(helper, node, name)
            for given, delta in zip(inputs, deltas, strict=True):
                given[f"{name}.A"], given[f"{name}.B"] = factors(delta, weights[name].shape)
        else:
            nodes.append(node)
    whole = changed - branched
    for given, deltas_of in zip(inputs, adapters, strict=True):
        given |= {name: tuned(weights, {name: d})[name] for name, d in deltas_of.items() if name in whole}
        given |= {name: weights[name] for name in whole - deltas_of.keys()}
    kept = [tensor for tensor in made.graph.initializer if tensor.name not in whole]
    graph = made.graph
    graph.ClearField("node")
    graph.node.extend(nodes)
    graph.ClearField("initializer")
    graph.initializer.extend(kept)
    defaults = {name: weights[name] for name in whole}
    for name in branched:
        defaults[f"{name}.A"], defaults[f"{name}.B"] = factors(None, weights[name].shape)
    graph.initializer.extend(
        numpy_helper.from_array(np.ascontiguousarray(array), name) for name, array in defaults.items()
    )
    for name, array in inputs[0].items():
        shape: list[Any] = list(array.shape)
        if name not in whole:
            shape[0 if name.endswith(".A") else 1] = f"rank of {name[:-2]}"
        graph.input.append(helper.make_tensor_value_info(name, TensorProto.FLOAT, shape))
    return made, inputs


def _branch(helper: Any, node: Any, name: str) -> list[Any]:
    """The convolution, and its low-rank branch added to it."""
    output = node.output[0]
    attributes = {a.name: helper.get_attribute_value(a) for a in node.attribute if a.name != "kernel_shape"}
    node.output[0] = f"{output} of W0"
    inner, outer = f"{output} of A", f"{output} of B"
    return [
        node,
        helper.make_node("Conv", [node.input[0], f"{name}.A"], [inner], **attributes),
        helper.make_node("Conv", [inner, f"{name}.B"], [outer]),
        helper.make_node("Add", [node.output[0], outer], [output]),
    ]
