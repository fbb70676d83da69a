"""What a graph costs by its shapes: operators, arithmetic, and memory that is read and written.

An estimate from the graph alone. Each operator reads its inputs once and writes its outputs once; what a runtime fuses
moves less, what it puts in another order moves more. A multiplication with an addition counts as two operations.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import onnx

VIEWS = frozenset(("Reshape", "Squeeze", "Unsqueeze", "Identity", "Shape", "Constant", "Flatten"))
"""Operators that hand on their input without touching its numbers."""
BYTES = {1: 4, 6: 4, 7: 8, 9: 1, 10: 2, 11: 8, 16: 2}
"""onnx.TensorProto data type → size: float, int32, int64, bool, float16, double, bfloat16"""


@dataclass(frozen=True)
class Cost:
    """Of one run."""

    nodes: int
    kinds: Mapping[str, int]
    """operator → how many, the most frequent first"""
    flops: int
    bytes: int
    """read and written, weights included"""
    unknown: int
    """operators of unknown shape, left out of `flops` and `bytes`"""


def cost(model: onnx.ModelProto, height: int, width: int) -> Cost:
    """Of an open graph on an image of this size, which the graph must take; its first input is the image."""
    import onnx

    sized = onnx.ModelProto()
    sized.CopyFrom(model)
    image = sized.graph.input[0].type.tensor_type.shape.dim
    image[0].dim_value, image[2].dim_value, image[3].dim_value = 1, height, width
    for output in sized.graph.output:
        output.type.tensor_type.ClearField("shape")
    del sized.graph.value_info[:]
    graph = onnx.shape_inference.infer_shapes(sized, data_prop=True).graph
    known = {t.name: (tuple(t.dims), t.data_type) for t in graph.initializer}
    for value in (*graph.input, *graph.output, *graph.value_info):
        tensor = value.type.tensor_type
        if tensor.HasField("shape") and all(axis.HasField("dim_value") for axis in tensor.shape.dim):
            known[value.name] = (tuple(axis.dim_value for axis in tensor.shape.dim), tensor.elem_type)
    flops = moved = unknown = 0
    for node in graph.node:
        if node.op_type in VIEWS:
            continue
        names = [name for name in (*node.input, *node.output) if name]
        if not all(name in known for name in names):
            unknown += 1
            continue
        moved += sum(math.prod(known[name][0]) * BYTES.get(known[name][1], 4) for name in names)
        flops += _flops(node, [known[name][0] for name in node.input if name], known[node.output[0]][0])
    kinds = dict(Counter(node.op_type for node in graph.node).most_common())
    return Cost(len(graph.node), kinds, flops, moved, unknown)


def _flops(node: onnx.NodeProto, inputs: list[tuple[int, ...]], output: tuple[int, ...]) -> int:
    """One per number of the output, or of the input of a reduction; sums of products by their length."""
    size = math.prod(output)
    if node.op_type == "Conv":
        return 2 * size * math.prod(inputs[1][1:])
    if node.op_type == "MatMul":
        return 2 * size * inputs[0][-1]
    if node.op_type.startswith("Reduce") or node.op_type.endswith("Pool"):
        return math.prod(inputs[0])
    if node.op_type in (
        "Split",
        "Slice",
        "Concat",
        "Transpose",
        "Cast",
        "DepthToSpace",
        "SpaceToDepth",
        "Expand",
    ):
        return 0
    return size
