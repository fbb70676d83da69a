"""A graph on its way from the exporter to the bundle, and what a pass does to it.

The graph is open: its weights are graph inputs, so that nothing can fold or merge them, and each has an entry in the
weight program. A pass changes graph and program together; what `Draft` offers keeps the two of one mind.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from colora.devices.errors import GraphError
from colora.runtime.program import Step, Steps
from colora.runtime.weights import Array

if TYPE_CHECKING:
    import onnx
    import onnx_ir as ir

Attributes = Mapping[str, Any]
"""name → number, text, list of integers, or an attribute of another operator"""


class Draft:
    """An open graph and its weight program. Passes change both in place."""

    def __init__(self, model: onnx.ModelProto, program: Mapping[str, Steps]) -> None:
        """model: left as it is. program: graph tensor → steps, for every input of the graph but the image."""
        self.program = dict(program)
        self.load(model)

    def load(self, model: onnx.ModelProto) -> None:
        """Take another graph of the same weights; shapes of its values are inferred where they can be."""
        import onnx
        import onnx_ir as ir

        self._model = ir.from_proto(onnx.shape_inference.infer_shapes(model))

    @property
    def graph(self) -> ir.Graph:
        return self._model.graph

    def proto(self) -> onnx.ModelProto:
        """The graph as ONNX, without the shapes of values between."""
        import onnx_ir as ir

        model = ir.to_proto(self._model)
        del model.graph.value_info[:]
        return model

    @property
    def shapes(self) -> dict[str, tuple[int, ...]]:
        """Weight → shape, in the order of the program; () for one that the graph has lost."""
        found = {value.name: value for value in self.graph.inputs}
        return {name: sizes(found[name]) if name in found else () for name in self.program}

    def is_weight(self, value: ir.Value | None) -> bool:
        return value is not None and value.is_graph_input() and value.name in self.program

    def steps(self, weight: ir.Value) -> Steps:
        return self.program[name_of(weight)]

    def add_weight(self, name: str, shape: Sequence[int], steps: Iterable[Step]) -> ir.Value:
        """A new weight. Raises: GraphError if there is one of that name."""
        import onnx_ir as ir

        if any(value.name == name for value in self.graph.inputs):
            raise GraphError(
                f"a pass wanted to add {name}, which is there: choose a name that no parameter has"
            )
        value = ir.val(name, ir.DataType.FLOAT, shape)
        self.graph.inputs.append(value)
        self.program[name] = tuple(steps)
        return value

    def change_weight(self, weight: ir.Value, shape: Sequence[int], steps: Iterable[Step]) -> None:
        """Make `weight` another way, in another shape. Its readers must take that."""
        import onnx_ir as ir

        weight.shape = ir.Shape(shape)
        self.program[name_of(weight)] = tuple(steps)

    def add(
        self,
        before: ir.Node,
        op: str,
        inputs: Sequence[ir.Value | None],
        attributes: Attributes,
        name: str,
        channels: int | None = None,
    ) -> ir.Value:
        """A new operator in front of `before`; returns its output, named `name` with the operator after it.

        channels: axis 1 of that output, N×C×H×W; None where it is of no interest.
        """
        import onnx_ir as ir

        node = ir.node(op, inputs, dict(attributes), name=f"{name}_{op}")
        (value,) = node.outputs
        value.name = f"{name}_{op}_output"
        value.dtype = ir.DataType.FLOAT
        if channels is not None:
            value.shape = ir.Shape([None, channels, None, None])
        self.graph.insert_before(before, node)
        return value

    def replace(self, old: ir.Value, new: ir.Value) -> None:
        """Every reader of `old` reads `new`, which also takes its name: an output of the graph keeps its own."""
        old.replace_all_uses_with(new, replace_graph_outputs=True)
        new.type, new.shape = old.type, old.shape
        old.name, new.name = f"{old.name}_before", old.name

    def sweep(self) -> int:
        """Remove operators that lead nowhere, constants and weights that nothing reads; returns how many operators."""
        dead = 0
        for node in reversed(list(self.graph)):
            if not any(value.uses() or value.is_graph_output() for value in node.outputs):
                self.graph.remove(node, safe=True)
                dead += 1
        for value in [v for v in self.graph.initializers.values() if not v.uses()]:
            del self.graph.initializers[name_of(value)]
        for value in [v for v in self.graph.inputs if self.is_weight(v) and not v.uses()]:
            self.graph.inputs.remove(value)
            del self.program[name_of(value)]
        return dead


@dataclass(frozen=True)
class Refusal:
    """A place where a pass might have fired and did not."""

    node: str
    reason: str


@dataclass(frozen=True)
class Outcome:
    """What one pass did."""

    fired: int
    refused: tuple[Refusal, ...] = ()


def at_each(
    draft: Draft,
    match: Callable[[Draft, ir.Node], Any],
    check: Callable[[Draft, Any], str],
    rewrite: Callable[[Draft, Any], None],
) -> Outcome:
    """Rewrite every place that matches, once over the graph in its order.

    match: node → the place, or None where the pass has nothing to do. check: why the place must stay, or "".
    """
    fired, refused = 0, []
    for node in list(draft.graph):
        if node.graph is None:  # an earlier rewrite removed it
            continue
        name = title(node)
        try:
            place = match(draft, node)
            if place is None:
                continue
            if reason := check(draft, place):
                refused.append(Refusal(name, reason))
            else:
                rewrite(draft, place)
                fired += 1
        except Exception as error:  # a graph of a form that the pass did not foresee
            raise GraphError(f"at {name} ({node.op_type}): {type(error).__name__}: {error}") from error
    draft.sweep()
    return Outcome(fired, tuple(refused))


def name_of(value: ir.Value) -> str:
    assert value.name is not None  # ONNX has no nameless values
    return value.name


def title(node: ir.Node) -> str:
    """What an operator is called in messages."""
    return node.name or node.op_type


def producer(value: ir.Value | None, *ops: str) -> ir.Node | None:
    """The operator that makes `value`, if it is one of `ops`."""
    node = value.producer() if value is not None else None
    return node if node is not None and node.domain == "" and node.op_type in ops else None


def other_readers(value: ir.Value, node: ir.Node) -> str:
    """Who reads `value` besides `node`, or ""."""
    names = [title(use.node) for use in value.uses() if use.node is not node]
    return ", ".join([*names, *(["the graph's output"] if value.is_graph_output() else [])])


def channels(value: ir.Value | None) -> int | None:
    """Axis 1 of an N×C×H×W value; None where it is another or unknown."""
    if value is None or value.shape is None or len(value.shape) != 4:
        return None
    size = value.shape[1]
    return size if isinstance(size, int) else None


def is_vector(draft: Draft, value: ir.Value | None) -> bool:
    """A weight of 1×C×1×1, made by `param` and `reshape`: one number per channel."""
    if value is None or not draft.is_weight(value):
        return False
    shape = sizes(value)
    return len(shape) == 4 and shape == (1, shape[1], 1, 1)


def plain_param(steps: Steps) -> str:
    """The source parameter that `steps` give as it is, in whatever shape; "" if they do more."""
    if not steps or steps[0].op != "param" or any(step.op != "reshape" for step in steps[1:]):
        return ""
    return str(steps[0].args[0])


def ints(node: ir.Node, attribute: str, default: Sequence[int]) -> tuple[int, ...]:
    """An attribute that is a list of integers."""
    found = node.attributes.get(attribute)
    return tuple(default if found is None else found.as_ints())


def integer(node: ir.Node, attribute: str, default: int) -> int:
    found = node.attributes.get(attribute)
    return default if found is None else found.as_int()


def constant(value: ir.Value | None) -> Array | None:
    """The numbers of a constant of the graph; None for anything else."""
    import onnx_ir as ir

    tensor = ir.convenience.get_const_tensor(value) if value is not None else None
    return None if tensor is None else np.asarray(tensor.numpy())


def constant_kernel(draft: Draft, before: ir.Node, out: int, into: int, number: float) -> ir.Value:
    """A kernel of out×into×1×1 with one number everywhere, in front of `before` or, if it is there, where it is.

    An operator rather than numbers: a graph's numbers are its weights, and the runtime makes this one when it opens.
    """
    import onnx_ir as ir

    name = f"kernel_{out}x{into}_{number:.6g}"
    for node in draft.graph:
        if node.name == name:
            return node.outputs[0]
    shape = ir.val(f"{name}_shape", const_value=ir.tensor(np.array([out, into, 1, 1]), name=f"{name}_shape"))
    draft.graph.register_initializer(shape)
    value = ir.tensor(np.array([number], np.float32))
    node = ir.node("ConstantOfShape", [shape], {"value": value}, name=name)
    node.outputs[0].name = f"{name}_output"
    node.outputs[0].dtype, node.outputs[0].shape = ir.DataType.FLOAT, ir.Shape([out, into, 1, 1])
    draft.graph.insert_before(before, node)
    return node.outputs[0]


def sizes(value: ir.Value) -> tuple[int, ...]:
    """Shape of a weight."""
    return tuple(int(size) for size in value.shape) if value.shape is not None else ()  # type: ignore[arg-type]
