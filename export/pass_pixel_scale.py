"""One factor per pixel moves from before a 1×1 convolution to behind it.

    W·(x·r) + b  =  (W·x)·r + b        r: N×1×H×W, the 1/σ of a channel LayerNorm

A runtime that fuses what follows a convolution into it then applies the norm for nothing; one that doesn't pays, since
the convolution has more channels behind it than before it. The bias leaves the convolution for an addition.
In float16 W·x is that of the picture before normalisation, and may overflow: not for such targets.

Program: the bias, reshaped to 1×C×1×1.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from colora.export.convolution import Convolution, convolution
from colora.export.draft import Draft, Outcome, at_each, channels, name_of, other_readers, producer
from colora.runtime.program import Step

if TYPE_CHECKING:
    import onnx_ir as ir


@dataclass(frozen=True)
class Place:
    conv: Convolution
    product: ir.Node
    picture: ir.Value
    """x"""
    scale: ir.Value
    """r"""


def run(draft: Draft) -> Outcome:
    return at_each(draft, match, check, rewrite)


def match(draft: Draft, node: ir.Node) -> Place | None:
    conv = convolution(draft, node)
    product = producer(conv.x, "Mul") if conv else None
    if conv is None or product is None:
        return None
    a, b = product.inputs
    if a is None or b is None or draft.is_weight(a) or draft.is_weight(b):
        return None
    for picture, scale in ((a, b), (b, a)):
        if channels(scale) == 1 and channels(picture) != 1:
            return Place(conv, product, picture, scale)
    return None


def check(draft: Draft, place: Place) -> str:
    if reason := place.conv.not_pointwise() or place.conv.shared_weight():
        return reason
    others = other_readers(place.product.outputs[0], place.conv.node)
    return f"the product is read by {others} too" if others else ""


def rewrite(draft: Draft, place: Place) -> None:
    conv, node = place.conv, place.conv.node
    name, count = name_of(conv.output), conv.out_channels
    value = draft.add(node, "Conv", [place.picture, conv.kernel], node.attributes, name, count)
    value = draft.add(node, "Mul", [value, place.scale], {}, name, count)
    if conv.bias is not None:
        vector = (1, count, 1, 1)
        steps = (*draft.steps(conv.bias), Step("reshape", vector))
        draft.change_weight(conv.bias, vector, steps)
        value = draft.add(node, "Add", [value, conv.bias], {}, name, count)
    draft.replace(conv.output, value)
