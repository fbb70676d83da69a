"""An open graph cut into parts that can be run one by one: each is a run of operators in the graph's order.

Weights are inputs of a part as they are of the graph, so that no runtime can fold them.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from functools import cached_property
from typing import TYPE_CHECKING, Any

import numpy as np
from colora.runtime.weights import Array

if TYPE_CHECKING:
    import onnx


class Part:
    """Some operators, as a graph of their own."""

    def __init__(self, model: onnx.ModelProto, weights: Collection[str]) -> None:
        """model: its inputs are values of other parts, the image, and weights."""
        self._model = model
        self.inputs = tuple(value.name for value in model.graph.input)
        self.outputs = tuple(value.name for value in model.graph.output)
        self.weights = tuple(name for name in self.inputs if name in weights)

    def run(self, values: Mapping[str, Array]) -> dict[str, Array]:
        """What leaves the part. values: those of its inputs, and any others."""
        found = self._session.run(self.outputs, {name: values[name] for name in self.inputs})
        return dict(zip(self.outputs, found, strict=True))

    @cached_property
    def _session(self) -> Any:
        import onnxruntime as ort

        options = ort.SessionOptions()
        options.intra_op_num_threads = 1
        options.log_severity_level = 3  # errors
        raw = self._model.SerializeToString()
        return ort.InferenceSession(raw, options, providers=["CPUExecutionProvider"])


def cut(model: onnx.ModelProto, weights: Collection[str], size: int) -> list[Part]:
    """Parts of about `size` weights each, in an order in which they can be run."""
    import onnx

    graph = onnx.shape_inference.infer_shapes(model).graph
    typed = {value.name: value for value in (*graph.input, *graph.value_info, *graph.output)}
    ends = {value.name for value in graph.output}
    groups = _groups(graph, weights, size)
    made = [{name for node in nodes for name in node.output if name} for nodes in groups]
    read = [{name for node in nodes for name in node.input if name} for nodes in groups]
    constants = {tensor.name: tensor for tensor in graph.initializer}
    parts = []
    for i, nodes in enumerate(groups):
        inputs = [name for name in dict.fromkeys(n for node in nodes for n in node.input) if name]
        needed = ends.union(*(read[j] for j in range(len(groups)) if j != i))
        sub = onnx.helper.make_graph(
            nodes,
            f"part{i}",
            [_value(typed, name) for name in inputs if name not in made[i] and name not in constants],
            [_value(typed, name) for node in nodes for name in node.output if name in needed],
            [constants[name] for name in inputs if name in constants],
        )
        whole = onnx.helper.make_model(sub, opset_imports=model.opset_import, ir_version=model.ir_version)
        parts.append(Part(whole, weights))
    return parts


def same(a: Mapping[str, Array], b: Mapping[str, Array]) -> bool:
    """Whether the values of `a` have the same bits in `b`."""
    return all(np.array_equal(value, b[name]) for name, value in a.items())


def _groups(graph: onnx.GraphProto, weights: Collection[str], size: int) -> list[list[onnx.NodeProto]]:
    groups: list[list[onnx.NodeProto]] = [[]]
    held: set[str] = set()
    for node in graph.node:
        new = {name for name in node.input if name in weights}
        if groups[-1] and len(held | new) > size:
            groups.append([])
            held = set()
        groups[-1].append(node)
        held |= new
    return groups


def _value(typed: Mapping[str, onnx.ValueInfoProto], name: str) -> onnx.ValueInfoProto:
    """With its type; sizes of a part's borders are left open."""
    import onnx

    known = typed.get(name)
    kind = known.type.tensor_type.elem_type if known is not None else 0
    return onnx.helper.make_tensor_value_info(name, kind or onnx.TensorProto.FLOAT, None)
