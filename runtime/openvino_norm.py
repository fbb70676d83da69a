"""A norm over channels in the one operator that OpenVINO has for it at any size of the picture.

    d / √(mean(d²) + ε)  =  √C · d / √(Σ d² + C·ε)        mean and sum over the C channels of a pixel

OpenVINO's CPU kernels run the left side as operator after operator, each of which reads and writes the picture; the
right one is NormalizeL2, a kernel of its own, into which the factor is fused. MVN would take the mean off too, but
wants the channels last, and the transposes around it cost nothing only where height and width are fixed.
"""

import math
from dataclasses import dataclass
from importlib import import_module
from typing import Any

import numpy as np

CHANNELS = 1
"""The axis."""


@dataclass(frozen=True)
class Norm:
    """Where the left side stands."""

    result: Any
    d: Any
    """output of the operator before"""
    channels: int
    epsilon: float


def rewrite_norms(model: Any) -> int:
    """Rewrite every such norm of an `openvino.Model` in place; returns how many."""
    ops = operators()
    norms = [norm for op in model.get_ordered_ops() if (norm := _match(op)) is not None]
    for norm in norms:
        epsilon = norm.channels * norm.epsilon
        unit = ops.normalize_l2(norm.d, np.array([CHANNELS]), epsilon, "add")
        scaled = ops.multiply(unit, np.float32(math.sqrt(norm.channels)))
        for reader in norm.result.output(0).get_target_inputs():
            reader.replace_source_output(scaled.output(0))
    return len(norms)


def operators() -> Any:
    """Those of OpenVINO, as functions."""
    return import_module("openvino.opset13")


def _match(op: Any) -> Norm | None:
    """The norm that ends in `op`, d · 1/√(…) or d / √(…); None where there is none."""
    if op.get_type_name() not in ("Multiply", "Divide"):
        return None
    sides = [(op.input_value(0), op.input_value(1))]
    if op.get_type_name() == "Multiply":
        sides.append(sides[0][::-1])
    for d, factor in sides:
        length = factor if op.get_type_name() == "Divide" else _reciprocal(factor)
        epsilon = _epsilon(length, d)
        size = d.get_partial_shape()
        if epsilon is not None and size.rank.is_static and len(size) == 4 and size[CHANNELS].is_static:
            if d.get_element_type().to_dtype() != np.float32:
                return None
            return Norm(op, d, size[CHANNELS].get_length(), epsilon)
    return None


def _reciprocal(value: Any) -> Any:
    """x of 1/x."""
    node = _node(value, "Divide")
    one = None if node is None else _number(node.input_value(0))
    return node.input_value(1) if node is not None and one == 1 else None


def _epsilon(length: Any, d: Any) -> float | None:
    """ε of √(mean(d²) + ε)."""
    root = _node(length, "Sqrt")
    add = None if root is None else _node(root.input_value(0), "Add")
    mean = None if add is None else _node(add.input_value(0), "ReduceMean")
    if add is None or mean is None or not mean.get_attributes()["keep_dims"]:
        return None
    axis, square = _number(mean.input_value(1)), mean.input_value(0).get_node()
    if axis != CHANNELS or square.get_type_name() not in ("Multiply", "Power"):
        return None
    a, b = square.input_value(0), square.input_value(1)
    squared = _same(b, d) if square.get_type_name() == "Multiply" else _number(b) == 2
    return _number(add.input_value(1)) if squared and _same(a, d) else None


def _node(value: Any, kind: str) -> Any:
    """The operator of that kind that makes `value`, else None."""
    node = None if value is None else value.get_node()
    return node if node is not None and node.get_type_name() == kind else None


def _number(value: Any) -> float | None:
    """What a constant of one number holds."""
    node = _node(value, "Constant")
    return float(node.data.item()) if node is not None and node.data.size == 1 else None


def _same(a: Any, b: Any) -> bool:
    """Whether two are one output of one operator."""
    return bool(
        a.get_node().get_friendly_name() == b.get_node().get_friendly_name()
        and a.get_index() == b.get_index()
    )
