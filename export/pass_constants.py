"""An operator whose inputs are all constants becomes its result.

    f(c₁, …, cₙ)  =  c

Weights are no constants here, whatever their values: what a task can change is never folded. A result of more than
LARGEST numbers stays an operator, so that a small graph does not become a large file. Program: unchanged.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from colora.export.draft import Draft, Outcome, at_each, constant, name_of
from colora.runtime.weights import Array

if TYPE_CHECKING:
    import onnx_ir as ir

LARGEST = 1024
UNSETTLED = (
    "RandomNormal",
    "RandomUniform",
    "RandomNormalLike",
    "RandomUniformLike",
    "Bernoulli",
    "Multinomial",
)


def run(draft: Draft) -> Outcome:
    return at_each(draft, match, check, rewrite)


def match(draft: Draft, node: ir.Node) -> ir.Node | None:
    inputs = [value for value in node.inputs if value is not None]
    folds = node.op_type == "Constant" or (inputs and all(constant(value) is not None for value in inputs))
    return node if folds and node.domain == "" else None


def check(draft: Draft, node: ir.Node) -> str:
    if node.op_type in UNSETTLED:
        return f"{node.op_type} gives another result each time"
    if any(value.is_graph_output() for value in node.outputs):
        return "it is an output of the graph"
    try:
        results = _results(draft, node)
    except Exception as error:  # of onnx's evaluator, which has no base class for them
        return f"onnx can't evaluate {node.op_type}: {type(error).__name__}: {error}"
    size = max(result.size for result in results)
    return f"the result has {size} numbers, more than {LARGEST}" if size > LARGEST else ""


def rewrite(draft: Draft, node: ir.Node) -> None:
    import onnx_ir as ir

    for output, result in zip(node.outputs, _results(draft, node), strict=True):
        name = f"{name_of(output)}_constant"
        value = ir.val(name, const_value=ir.tensor(result, name=name))
        draft.graph.register_initializer(value)
        output.replace_all_uses_with(value)


def _results(draft: Draft, node: ir.Node) -> list[Array]:
    import onnx_ir as ir
    from onnx.reference import ReferenceEvaluator

    named = {name_of(value): constant(value) for value in node.inputs if value is not None}
    proto = ir.to_proto(node)
    return [np.asarray(result) for result in ReferenceEvaluator(proto).run(None, named)]
