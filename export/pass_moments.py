"""The 1/σ of a channel norm is made by 1×1 convolutions, and spread over the channels by another.

    var(x) = a·x² − (a·x)²,   a = 11ᵀ/C as a 1×1 convolution of one output channel
    p ⊙ r  = p ⊙ (1·r),       1 a 1×1 convolution from one channel to as many as p has

ONNX Runtime's CPU kernels keep pictures in blocks of channels (NCHWc) between convolutions and products of pictures of
one shape. A mean over the channels, or a product with one number per pixel, makes them put the whole picture in order
before, and in blocks again behind: with this form only maps of one channel are. Between convolutions they have to be
known to be of one shape: see `with_shapes` of export/shapes.py.

E[x²] − E[x]² loses (mean/σ)² digits where the difference loses mean/σ (pass `mean`). In the networks here the mean of a
pixel's channels is small against σ (nafnet-small: mean²/σ² at most 0.2 on photographs); where it is not, parity refuses
the export. A difference below zero by rounding counts as zero.

Program: unchanged. The convolutions' kernels are constants.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from colora.export.draft import (
    Draft,
    Outcome,
    at_each,
    channels,
    constant,
    constant_kernel,
    integer,
    name_of,
    producer,
    title,
)

if TYPE_CHECKING:
    import onnx_ir as ir


@dataclass(frozen=True)
class Place:
    rstd: ir.Value
    """r = 1/√(var(x) + ε)"""
    x: ir.Value
    means: tuple[ir.Node, ir.Node]
    """of x, and of its squared difference from that"""
    epsilon: ir.Value


def run(draft: Draft) -> Outcome:
    return at_each(draft, match, check, rewrite)


def match(draft: Draft, node: ir.Node) -> Place | None:
    root = producer(node.inputs[0], "Sqrt") if node.op_type == "Reciprocal" else None
    shifted = producer(root.inputs[0], "Add") if root else None
    for value, epsilon in (shifted.inputs, shifted.inputs[::-1]) if shifted else ():
        variance = producer(value, "ReduceMean")
        square = producer(variance.inputs[0], "Mul") if variance else None
        centred = producer(square.inputs[0], "Sub") if square else None
        mean = producer(centred.inputs[1], "ReduceMean") if centred else None
        if variance is None or square is None or centred is None or mean is None or epsilon is None:
            continue
        x = centred.inputs[0]
        if square.inputs[0] is square.inputs[1] and x is not None and mean.inputs[0] is x:
            return Place(node.outputs[0], x, (mean, variance), epsilon)
    return None


def check(draft: Draft, place: Place) -> str:
    for mean in place.means:
        axes = constant(mean.inputs[1]) if len(mean.inputs) > 1 else None
        if axes is None or not np.array_equal(axes.ravel(), [1]) or integer(mean, "keepdims", 1) != 1:
            return "the mean is not that of the channels"
    if (epsilon := constant(place.epsilon)) is None or epsilon.size != 1:
        return "what is added to the variance is no constant"
    if channels(place.x) is None:
        return f"the channels of {name_of(place.x)} are not known"
    for use in place.rstd.uses():
        if use.node.op_type != "Mul" or channels(_other(use.node, place.rstd)) is None:
            return f"{title(use.node)} does not multiply it with a picture of known channels"
    return f"{name_of(place.rstd)} is the graph's output" if place.rstd.is_graph_output() else ""


def rewrite(draft: Draft, place: Place) -> None:
    x, node, name, count = place.x, place.rstd.producer(), name_of(place.rstd), channels(place.x) or 0
    assert node is not None  # `match` came from it
    average = constant_kernel(draft, node, 1, count, 1 / count)

    def add(op: str, label: str, *inputs: ir.Value, channels: int = 1) -> ir.Value:
        return draft.add(node, op, inputs, {}, f"{name}_{label}", channels)

    squares = add("Conv", "mean_square", add("Mul", "square", x, x, channels=count), average)
    mean = add("Conv", "mean", x, average)
    variance = add("Relu", "variance", add("Sub", "variance", squares, add("Mul", "mean", mean, mean)))
    sigma = add("Sqrt", "sigma", add("Add", "shifted", variance, place.epsilon))
    rstd = add("Reciprocal", "rstd", sigma)
    everywhere: dict[int, ir.Value] = {}
    for use in list(place.rstd.uses()):
        wide = channels(_other(use.node, place.rstd)) or 0
        if wide not in everywhere:
            ones = constant_kernel(draft, node, wide, 1, 1.0)
            everywhere[wide] = add("Conv", f"rstd_{wide}", rstd, ones, channels=wide)
        use.node.replace_input_with(use.idx, everywhere[wide])


def _other(product: ir.Node, factor: ir.Value) -> ir.Value | None:
    a, b = product.inputs
    return b if a is factor else a
