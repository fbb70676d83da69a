"""What a graph typed for float16 computes where float16 is really used: an evaluator that rounds every such value.

ONNX Runtime's CPU has hardly a float16 operator: it computes in float32 between casts that it adds and then removes,
and an overflow never shows. Here the graph is rewritten for it: every operator computes in float32 and each of its
results that the graph calls float16 goes through a cast to float16 and back, by a session that may not optimise.

    y: float16 = op(x)   →   y = float32(float16(op(x)))        nearest even; above 65519: infinite; below 3e-8: 0

Sums inside one operator are float32, as on tensor cores that sum in float32. That the casts are kept is checked once in
a process, on two numbers that show it.
"""

from __future__ import annotations

from collections.abc import Mapping
from functools import cache
from typing import TYPE_CHECKING, Any

import numpy as np
from colora.devices.errors import BackendError
from colora.runtime.manifest import ImageConvention
from colora.runtime.weights import Array

if TYPE_CHECKING:
    import onnx

TOLD = "every float16 value rounded to float16, sums in float32"
FLOAT, HALF = 1, 10
"""onnx.TensorProto's FLOAT and FLOAT16"""


class RoundingEvaluator:
    """Runs an open graph with float16 values. Weights are given at each run: one evaluator serves every task."""

    def __init__(self, model: onnx.ModelProto, threads: int = 0) -> None:
        """model: as `type_float16` makes it; left as it is. Raises: BackendError if casts are not kept here."""
        if not _keeps_casts():
            raise BackendError(
                "this ONNX Runtime drops casts to float16 even without optimisation: fp16 can't be judged; "
                "take the version of onnxruntime that pyproject.toml was tested with"
            )
        self._rounded, self._threads = rounded(model), threads
        self._dtypes = {value.name: _dtype(value.type.tensor_type.elem_type) for value in model.graph.input}
        self._session = _session(self._rounded.SerializeToString(), threads)

    def run(self, tensor: Array, weights: Mapping[str, Array]) -> Array:
        """1×3×H×W float32 → same; values may be infinite or NaN. weights: in the types of the open graph."""
        result: Array = self._session.run([ImageConvention().output], self._feeds(tensor, weights))[0]
        return result

    def infinite(self, tensor: Array, weights: Mapping[str, Array]) -> tuple[str, ...]:
        """Values that are infinite or NaN somewhere, in the order in which they are computed.

        An infinity inside a norm need not reach the result: 1/σ of it is 0, and a block falls silent.
        """
        import onnx
        from onnx import helper, numpy_helper

        shown = onnx.ModelProto()
        shown.CopyFrom(self._rounded)
        shown.graph.initializer.append(numpy_helper.from_array(np.zeros((), np.float32), "zero"))
        halves = [n.input[0] for n in self._rounded.graph.node if n.output[0].endswith("_half")]
        names = [name.removesuffix("_exact") for name in halves]
        for name in names:  # 0·∞ and 0·NaN are NaN, and so is a sum with one
            shown.graph.node.append(helper.make_node("Mul", [name, "zero"], [f"{name}_nought"]))
            shown.graph.node.append(
                helper.make_node("ReduceSum", [f"{name}_nought"], [f"{name}_sum"], keepdims=0)
            )
            shown.graph.output.append(helper.make_tensor_value_info(f"{name}_sum", FLOAT, []))
        session = _session(shown.SerializeToString(), self._threads)
        sums = session.run([f"{name}_sum" for name in names], self._feeds(tensor, weights))
        return tuple(name for name, found in zip(names, sums, strict=True) if np.isnan(found))

    def _feeds(self, tensor: Array, weights: Mapping[str, Array]) -> dict[str, Array]:
        image = ImageConvention()
        feeds = {image.input: tensor.astype(self._dtypes[image.input]).astype(np.float32)}
        for name, value in weights.items():
            if value.dtype != self._dtypes[name]:
                raise BackendError(f"{name} is {value.dtype}; in the graph it is {self._dtypes[name]}")
            feeds[name] = value.astype(np.float32, copy=False)
        return feeds


def rounded(model: onnx.ModelProto) -> onnx.ModelProto:
    """The float32 graph that rounds wherever `model` holds float16: input float16 → float32, casts in pairs."""
    import onnx
    from onnx import helper, numpy_helper

    inferred = onnx.shape_inference.infer_shapes(model, strict_mode=True).graph
    halves = {
        value.name
        for value in (*inferred.input, *inferred.value_info, *inferred.output)
        if value.type.tensor_type.elem_type == HALF
    }
    made = onnx.ModelProto()
    made.CopyFrom(model)
    del made.graph.node[:], made.graph.value_info[:]
    for value in (*made.graph.input, *made.graph.output):
        if value.name in halves:
            value.type.tensor_type.elem_type = FLOAT
    for tensor in made.graph.initializer:
        if tensor.data_type == HALF:
            tensor.CopyFrom(
                numpy_helper.from_array(numpy_helper.to_array(tensor).astype(np.float32), tensor.name)
            )
    for original in model.graph.node:
        node = made.graph.node.add()
        node.CopyFrom(original)
        if node.op_type == "Constant" and node.output[0] in halves:
            value = numpy_helper.to_array(node.attribute[0].t).astype(np.float32)
            node.attribute[0].t.CopyFrom(numpy_helper.from_array(value))
            continue
        if node.op_type == "Cast" and node.attribute[0].i == HALF:
            node.attribute[0].i = FLOAT
        for i, name in enumerate(original.output):
            if name in halves:
                node.output[i] = f"{name}_exact"
                made.graph.node.append(helper.make_node("Cast", [node.output[i]], [f"{name}_half"], to=HALF))
                made.graph.node.append(helper.make_node("Cast", [f"{name}_half"], [name], to=FLOAT))
    return made


@cache
def _keeps_casts() -> bool:
    """Two numbers through a product and a pair of casts: one that float16 can't hold, one that it must round."""
    import onnx
    from onnx import TensorProto, helper

    value = [helper.make_tensor_value_info(name, TensorProto.FLOAT, [2]) for name in ("input", "output")]
    nodes = [
        helper.make_node("Mul", ["input", "input"], ["exact"]),
        helper.make_node("Cast", ["exact"], ["half"], to=HALF),
        helper.make_node("Cast", ["half"], ["back"], to=FLOAT),
        helper.make_node("Mul", ["back", "input"], ["output"]),
    ]
    graph = helper.make_graph(nodes, "casts", value[:1], value[1:])
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=8)
    onnx.checker.check_model(model)
    given = np.array([300, 1.001], np.float32)
    found = _session(model.SerializeToString(), 1).run(None, {"input": given})[0]
    with np.errstate(over="ignore"):
        expected = (given * given).astype(np.float16).astype(np.float32) * given
    return bool(np.isinf(found[0]) and found[1] == expected[1])


def _session(model: bytes, threads: int) -> Any:
    import onnxruntime as ort

    options = ort.SessionOptions()
    options.graph_optimization_level = ort.GraphOptimizationLevel.ORT_DISABLE_ALL
    options.intra_op_num_threads = threads
    options.log_severity_level = 3
    return ort.InferenceSession(model, options, providers=["CPUExecutionProvider"])


def _dtype(elem_type: int) -> np.dtype[Any]:
    return np.dtype(np.float16 if elem_type == HALF else np.float32)
