"""How much a bundle's graph computes, moves and holds for each pixel, for devices/plan.py."""

import math
from collections.abc import Iterable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
from colora.devices.errors import BundleError, missing_extra
from colora.devices.workload import Workload
from colora.runtime.bundle import GRAPH, Bundle

HEAVY = frozenset({"Conv", "ConvTranspose", "MatMul", "Gemm"})
"""What a compiler does not fuse into its neighbours: their tensors go through memory."""
VIEWS = frozenset({"Reshape", "Squeeze", "Unsqueeze", "Flatten", "Identity", "Constant", "Shape"})
"""Neither compute nor move anything."""
MOVES = frozenset(
    {"Transpose", "Slice", "Split", "Concat", "Pad", "DepthToSpace", "SpaceToDepth", "Gather", "Cast"}
)
"""Move, but compute nothing."""


FUNCTIONS = frozenset({"Erf", "Div", "Softmax", "Exp", "Tanh", "Sigmoid", "Gelu"})
"""Dear to a CPU for each number."""


def bundle_workload(bundle: Bundle) -> Workload:
    """Workload of a bundle, per pixel of one tile, with the adapters of all its tasks.

    Raises: MissingExtra without the package onnx; BundleError for a graph whose shapes can't be told.
    """
    m = bundle.manifest
    read = graph_workload(bundle.path / GRAPH, m.image.input, min(m.tile.size, *m.shapes.max), m.precision)
    if m.kind == "merged":
        return read
    return replace(read, factor_bytes=sum(bundle.task_file(task).stat().st_size for task in bundle.tasks))


def graph_workload(path: Path, input_name: str, size: int, precision: str = "fp32") -> Workload:
    """Workload of an ONNX file whose one image input takes 1×3×size×size; its weights are not read."""
    try:
        import onnx
    except ModuleNotFoundError as e:
        raise missing_extra("onnx", "export", "reading what a graph computes") from e
    model = onnx.load(str(path), load_external_data=False)
    graph, stored = model.graph, list(model.graph.initializer)
    del graph.value_info[:]
    for value in graph.output:
        value.type.tensor_type.ClearField("shape")
    for value in graph.input:
        if value.name == input_name:
            for dim, length in zip(value.type.tensor_type.shape.dim, (1, 3, size, size), strict=True):
                dim.dim_value = length
    graph = _with_shapes(onnx, model).graph
    weights = {w.name: tuple(w.dims) for w in graph.initializer}
    shapes: dict[str, tuple[int, ...]] = {}
    sizes: dict[str, int] = {}
    for value in [*graph.input, *graph.value_info, *graph.output]:
        tensor = value.type.tensor_type
        if value.name not in weights and all(dim.HasField("dim_value") for dim in tensor.shape.dim):
            shapes[value.name] = tuple(dim.dim_value for dim in tensor.shape.dim)
            sizes[value.name] = math.prod(shapes[value.name]) * _bytes(onnx, tensor.elem_type)
    nodes = [node for node in graph.node if node.op_type not in ("Constant", "Shape")]
    unknown = [o for node in nodes for o in node.output if o and o not in sizes]
    if unknown:
        raise BundleError(
            f"{path}: shapes of {len(unknown)} tensors can't be told at {size}×{size} px, "
            f"first {unknown[0]}: it can't be planned; export it again"
        )
    heavy = {n for node in nodes if node.op_type in HEAVY for n in (*node.input, *node.output) if n in sizes}
    held = {w.name: math.prod(w.dims) * _bytes(onnx, w.data_type) for w in stored}
    operators = [(_sum(sizes, node), _sum(held, node)) for node in nodes if node.op_type not in VIEWS]
    functions = sum(math.prod(shapes[node.output[0]]) for node in nodes if node.op_type in FUNCTIONS)
    pixels = size * size
    return Workload(
        operations_per_pixel=sum(_operations(node, shapes, weights) for node in nodes) / pixels,
        weight_bytes=sum(held.values()),
        activation_bytes_per_pixel=_peak(nodes, sizes, [v.name for v in graph.output]) / pixels,
        fused_bytes_per_pixel=sum(
            sizes[n]
            for node in nodes
            if node.op_type in HEAVY
            for n in (*node.input, *node.output)
            if n in heavy
        )
        / pixels,
        moved_bytes_per_pixel=sum(moved for moved, _ in operators) / pixels,
        precision=precision,
        products_per_pixel=sum(_products(node, shapes, weights) for node in nodes) / pixels,
        functions_per_pixel=functions / pixels,
        operators=tuple((moved / pixels, weights) for moved, weights in operators if moved + weights),
    )


def _with_shapes(onnx: Any, model: Any) -> Any:
    """The model with the shape of every tensor; arithmetic on shapes is computed and replaced by its results.

    ONNX's own propagation knows neither Div nor Concat of what it has not been told, hence the rounds: each infers
    shapes as far as they go and folds every `Shape` of a known tensor and what follows from it.
    """
    from onnx.reference import ReferenceEvaluator

    opsets = {o.domain: o.version for o in model.opset_import}
    constants = {
        w.name: onnx.numpy_helper.to_array(w)
        for w in model.graph.initializer
        if w.data_type == onnx.TensorProto.INT64 and w.data_location != onnx.TensorProto.EXTERNAL
    }
    while True:
        inferred = onnx.shape_inference.infer_shapes(model, data_prop=True)
        known = {
            v.name: [dim.dim_value for dim in v.type.tensor_type.shape.dim]
            for v in [*inferred.graph.input, *inferred.graph.value_info]
            if all(dim.HasField("dim_value") for dim in v.type.tensor_type.shape.dim)
        }
        folded = False
        for node in list(model.graph.node):
            feeds = {name: constants[name] for name in node.input if name in constants}
            if node.op_type == "Shape" and node.input[0] in known:
                feeds = {node.input[0]: np.broadcast_to(np.float32(0), known[node.input[0]])}
            elif len(feeds) != len(node.input) or node.op_type == "Constant":
                continue
            values = ReferenceEvaluator(node, opsets).run(None, feeds)
            for name, value in zip(node.output, values, strict=True):
                constants[name] = value
                model.graph.initializer.append(onnx.numpy_helper.from_array(np.asarray(value), name))
            model.graph.node.remove(node)
            folded = True
        if not folded:
            return inferred


def _sum(sizes: dict[str, int], node: Any) -> int:
    return sum(sizes[name] for name in (*node.input, *node.output) if name in sizes)


def _bytes(onnx: Any, elem_type: int) -> int:
    return int(onnx.helper.tensor_dtype_to_np_dtype(elem_type).itemsize)


def _operations(node: Any, shapes: dict[str, tuple[int, ...]], weights: dict[str, tuple[int, ...]]) -> int:
    """Of one node, a multiply-add counted as two; one for each number that any other node writes."""
    if node.op_type in VIEWS or node.op_type in MOVES:
        return 0
    written = sum(math.prod(shapes[name]) for name in node.output if name)
    if node.op_type not in HEAVY:
        return written
    second = weights.get(node.input[1]) or shapes[node.input[1]]
    if node.op_type == "ConvTranspose":
        return 2 * math.prod(shapes[node.input[0]]) * math.prod(second[1:])
    if node.op_type == "Conv":
        return 2 * written * math.prod(second[1:])
    transposed = any(a.name == "transB" and a.i for a in node.attribute)
    return 2 * written * (second[-1] if transposed or len(second) == 1 else second[-2])


def _products(node: Any, shapes: dict[str, tuple[int, ...]], weights: dict[str, tuple[int, ...]]) -> int:
    """Operations of a node that multiplies matrices: a convolution of one channel at a time does not."""
    groups = next((a.i for a in node.attribute if a.name == "group"), 1)
    return _operations(node, shapes, weights) if node.op_type in HEAVY and groups == 1 else 0


def _peak(nodes: list[Any], sizes: dict[str, int], outputs: Iterable[str]) -> int:
    """Largest sum of bytes alive at one time when the nodes run in order, each tensor freed after its last use."""
    last = {name: i for i, node in enumerate(nodes) for name in node.input if name in sizes}
    last |= dict.fromkeys(outputs, len(nodes))
    alive: dict[str, int] = {}
    peak = 0
    for i, node in enumerate(nodes):
        alive |= {name: sizes[name] for name in (*node.input, *node.output) if name in sizes}
        peak = max(peak, sum(alive.values()))
        alive = {name: size for name, size in alive.items() if last.get(name, -1) > i}
    return peak
