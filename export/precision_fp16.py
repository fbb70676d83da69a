"""A float32 graph → the same graph typed for float16, the statistics of its norms left in float32.

A norm squares what it is given: 300 is a harmless activation, its square is none that float16 holds (65504 at most),
and the network answers with infinities or, worse, with a picture that is almost right. So the graph says operator by
operator what is computed in which type; TensorRT builds such a graph strongly typed, and adds no choice of its own.

    products       convolutions with weights, matrix products           float16
    statistics     means, sums, squares, softmax, constant kernels      float32
    the rest       float32 where it reads a float32 value (the image, a statistic), else float16

By the last rule float32 reaches from a statistic to the next product and no further: x − mean, 1/σ, x̂ and γ·x̂ + β are
float32, and rounded once, on their way into the convolution. The residual stream, all kernels and everything between
convolutions are float16. Image and result stay float32, and so does the sum of the two at a network's end.

Program: + `cast float16` for each weight that a float16 operator reads.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

import numpy as np
from colora.devices.errors import GraphError
from colora.runtime.program import Program, Step
from colora.runtime.weights import Array

if TYPE_CHECKING:
    import onnx

PRODUCTS = frozenset(("Conv", "ConvTranspose", "MatMul", "Gemm"))
STATISTICS = frozenset(
    ("GlobalAveragePool", "AveragePool", "Softmax", "LogSoftmax", "LayerNormalization", "Pow", "CumSum")
)
"""besides every operator whose name begins with Reduce, and products of a value with itself"""
FLOAT, HALF = 1, 10
"""onnx.TensorProto's FLOAT and FLOAT16"""
SUFFIX = {FLOAT: "float32", HALF: "float16"}


def type_float16(
    model: onnx.ModelProto, program: Program, statistics: bool = True
) -> tuple[onnx.ModelProto, Program]:
    """The open graph `model` and its weight program in float16; both are left as they are.

    statistics: False types everything float16 but input and output, as converters do: for comparison.
    Raises: GraphError naming operator and reason where float16 can't do it.
    """
    typing = _Typing(model, frozenset(program), statistics)
    typed = typing.run()
    halves = {name for name in program if typing.types[name] == HALF}
    cast = Step("cast", ("float16",))
    return typed, {name: (*steps, cast) if name in halves else steps for name, steps in program.items()}


class _Typing:
    """One walk over a graph. types: value → its type in the typed graph, of those that are float32 in `model`."""

    def __init__(self, model: onnx.ModelProto, weights: frozenset[str], statistics: bool) -> None:
        import onnx
        from onnx import numpy_helper

        self.model = onnx.ModelProto()
        self.model.CopyFrom(model)
        self.graph = self.model.graph
        self.weights, self.statistics = weights, statistics
        inferred = onnx.shape_inference.infer_shapes(model).graph
        values = (*inferred.input, *inferred.value_info, *inferred.output)
        self.floats = {v.name for v in values if v.type.tensor_type.elem_type == FLOAT}
        self.constants: dict[str, Array] = {
            t.name: numpy_helper.to_array(t) for t in self.graph.initializer if t.data_type == FLOAT
        }
        for node in self.graph.node:
            if node.op_type == "Constant" and node.output[0] in self.floats:
                self.constants[node.output[0]] = numpy_helper.to_array(node.attribute[0].t)
        self.floats |= self.constants.keys()
        self.types = dict.fromkeys(self.constants, FLOAT)
        self.nodes: list[onnx.NodeProto] = []
        self.made: dict[tuple[str, int], str] = {}

    def run(self) -> onnx.ModelProto:
        for value in self.graph.input:
            if value.name in self.floats and value.name not in self.weights:
                self.types[value.name] = FLOAT
        for node in list(self.graph.node):
            self.visit(node)
        for output in self.graph.output:
            if self.types.get(output.name) == HALF:
                self.cast_output(output.name)
        for value in self.graph.input:
            if value.name in self.weights:
                value.type.tensor_type.elem_type = self.types[value.name]
        del self.graph.node[:]
        self.graph.node.extend(self.nodes)
        del self.graph.value_info[:]
        read = {name for node in self.nodes for name in node.input}
        kept = [tensor for tensor in self.graph.initializer if tensor.name in read]
        del self.graph.initializer[:]
        self.graph.initializer.extend(kept)
        return self.model

    def visit(self, node: onnx.NodeProto) -> None:
        """Decide the type of an operator, and have its inputs in that."""
        slots = self.slots(node)
        if not slots:
            for name in node.output:
                if name in self.floats:  # made of integers
                    self.types[name] = FLOAT
            self.nodes.append(node)
            return
        wanted = self.wanted(node, [node.input[i] for i in slots])
        for i in slots:
            node.input[i] = self.as_type(node, node.input[i], wanted)
        for name in node.output:
            if name in self.floats:
                self.types[name] = wanted
        self.nodes.append(node)

    def slots(self, node: onnx.NodeProto) -> list[int]:
        """The float inputs that must be of one type with the result."""
        import onnx

        if node.domain:
            raise _refusal(node, f"it is of domain {node.domain!r}, whose types are not known here")
        if node.op_type in ("Constant", "Cast"):
            return []
        version = next(entry.version for entry in self.model.opset_import if entry.domain == "")
        schema = onnx.defs.get_schema(node.op_type, version)
        kind = schema.outputs[0].type_str
        formal = [schema.inputs[min(i, len(schema.inputs) - 1)] for i in range(len(node.input))]
        return [
            i
            for i, name in enumerate(node.input)
            if name in self.floats and formal[i].type_str == kind and not kind.startswith("tensor(")
        ]

    def wanted(self, node: onnx.NodeProto, inputs: list[str]) -> int:
        if not self.statistics:
            return HALF
        if node.op_type in PRODUCTS and node.input[1] not in self.constants:
            return HALF
        constant_kernel = node.op_type in PRODUCTS
        square = node.op_type == "Mul" and len(set(inputs)) == 1
        if constant_kernel or square or node.op_type in STATISTICS or node.op_type.startswith("Reduce"):
            return FLOAT
        carried = [n for n in inputs if n not in self.weights and n not in self.constants]
        return FLOAT if not carried or any(self.types[n] == FLOAT for n in carried) else HALF

    def as_type(self, node: onnx.NodeProto, name: str, wanted: int) -> str:
        """`name`, or what holds the same in the type wanted."""
        from onnx import helper, numpy_helper

        if self.types.setdefault(name, wanted) == wanted:  # a weight takes the type of its first reader
            return name
        if (name, wanted) not in self.made:
            made = f"{name}_{SUFFIX[wanted]}"
            if name in self.constants:
                self.graph.initializer.append(numpy_helper.from_array(self.half(node, name), made))
            else:
                self.nodes.append(helper.make_node("Cast", [name], [made], f"{made}_Cast", to=wanted))
            self.made[name, wanted] = made
        return self.made[name, wanted]

    def half(self, node: onnx.NodeProto, name: str) -> Array:
        """A constant in float16. Raises: GraphError where that makes it infinite, or zero."""
        value = self.constants[name]
        with np.errstate(over="ignore", under="ignore"):
            half = np.asarray(value, np.float16)
        if self.statistics and (not np.isfinite(half).all() or ((half == 0) & (value != 0)).any()):
            raise _refusal(
                node,
                f"it reads the constant {value.ravel()[0]:g}, which float16 can't hold: name it in STATISTICS",
            )
        return half

    def cast_output(self, name: str) -> None:
        from onnx import helper

        for node in self.nodes:
            for part in (node.input, node.output):
                for i, other in enumerate(part):
                    if other == name:
                        part[i] = f"{name}_float16"
        self.nodes.append(helper.make_node("Cast", [f"{name}_float16"], [name], f"{name}_Cast", to=FLOAT))


def _refusal(node: onnx.NodeProto, reason: str) -> GraphError:
    return GraphError(
        f"precision fp16: {node.name or node.op_type} ({node.op_type}) can't be typed: {reason}; or export in fp32"
    )


def dtypes(model: onnx.ModelProto) -> Mapping[str, type[np.floating]]:
    """Input of an open graph → float32 or float16."""
    known: dict[int, type[np.floating]] = {FLOAT: np.float32, HALF: np.float16}
    return {value.name: known[value.type.tensor_type.elem_type] for value in model.graph.input}
