"""The mean that a 1×1 convolution's input has been freed of is taken out of its kernel instead.

    W·(x − 1·mean(x))  =  W·(I − 11ᵀ/C)·x        mean over the C channels of each pixel

The same with one factor per pixel, W·((x − 1·mean(x)) ⊙ r), which is left where it is. The convolution then reads x
itself and no longer waits for the mean. The difference stays where the variance is made of
it: mean((x − mean)²). E[x²] − mean² would be one operator shorter, and loses (mean/σ)² digits; the product with the
centred kernel only mean/σ, as many as the difference itself loses.

Program: kernel + `center_in`.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from colora.export.convolution import Convolution, convolution
from colora.export.draft import (
    Draft,
    Outcome,
    at_each,
    channels,
    constant,
    integer,
    name_of,
    other_readers,
    producer,
)
from colora.runtime.program import Step

if TYPE_CHECKING:
    import onnx_ir as ir


@dataclass(frozen=True)
class Place:
    conv: Convolution
    picture: ir.Value
    mean: ir.Node
    difference: ir.Value
    product: ir.Node | None
    """of difference and factor, where there is a factor"""


def run(draft: Draft) -> Outcome:
    return at_each(draft, match, check, rewrite)


def match(draft: Draft, node: ir.Node) -> Place | None:
    conv = convolution(draft, node)
    if conv is None:
        return None
    product = producer(conv.x, "Mul")
    factors = [value for value in product.inputs if channels(value) != 1] if product else [conv.x]
    difference = producer(factors[0], "Sub") if len(factors) == 1 else None
    if difference is None:
        return None
    picture, mean = difference.inputs[0], producer(difference.inputs[1], "ReduceMean")
    if picture is None or mean is None or mean.inputs[0] is not picture:
        return None
    return Place(conv, picture, mean, difference.outputs[0], product)


def check(draft: Draft, place: Place) -> str:
    axes = constant(place.mean.inputs[1]) if len(place.mean.inputs) > 1 else None
    if axes is None or not np.array_equal(axes.ravel(), [1]) or integer(place.mean, "keepdims", 1) != 1:
        return "the mean is not that of the channels"
    if reason := place.conv.not_pointwise() or place.conv.shared_weight():
        return reason
    if place.product and (others := other_readers(place.product.outputs[0], place.conv.node)):
        return f"the product is read by {others} too"
    steps = draft.steps(place.conv.kernel)
    odd = [step.op for step in steps if step.op not in ("param", "scale_in", "slice_out")]
    return f"{place.conv.kernel.name} has been through {', '.join(odd)}" if odd else ""


def rewrite(draft: Draft, place: Place) -> None:
    draft.program[name_of(place.conv.kernel)] += (Step("center_in"),)
    reader = place.product or place.conv.node
    for index, value in enumerate(reader.inputs):
        if value is place.difference:
            reader.replace_input_with(index, place.picture)
