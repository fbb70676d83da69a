"""A norm's weight γ and bias β go into the 1×1 convolution that reads the norm.

    W·(γ ⊙ x̂ + β) + b  =  (W·diag(γ))·x̂ + (b + W·β)

Two element-wise operators less, each of which reads and writes the whole picture. Exact for both of Restormer's
LayerNorms (BiasFree has no β) and NAFNet's, whose x̂ differ. Kernels larger than 1×1 are left: their padding is zero
behind the norm, and would have to be −β/γ before it.

Program: kernel + `scale_in γ`; bias + `add_through W β`. A convolution without a bias gets one.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from colora.export.convolution import Convolution, convolution
from colora.export.draft import (
    Draft,
    Outcome,
    at_each,
    channels,
    is_vector,
    name_of,
    other_readers,
    plain_param,
    producer,
)
from colora.runtime.program import Step

if TYPE_CHECKING:
    import onnx_ir as ir


@dataclass(frozen=True)
class Place:
    conv: Convolution
    normalised: ir.Value
    """x̂"""
    gamma: ir.Value
    beta: ir.Value | None
    between: tuple[ir.Node, ...]
    """the operators that apply γ and β"""


def run(draft: Draft) -> Outcome:
    return at_each(draft, match, check, rewrite)


def match(draft: Draft, node: ir.Node) -> Place | None:
    conv = convolution(draft, node)
    if conv is None:
        return None
    add = producer(conv.x, "Add")
    value: ir.Value | None = conv.x
    beta: ir.Value | None = None
    if add is not None:
        value, beta = _operands(draft, add)
        if beta is None or value is None:
            return None
    scale = producer(value, "Mul")
    if scale is None:
        return None
    normalised, gamma = _operands(draft, scale)
    if gamma is None or normalised is None:
        return None
    return Place(conv, normalised, gamma, beta, (scale,) if add is None else (scale, add))


def check(draft: Draft, place: Place) -> str:
    conv = place.conv
    if reason := conv.not_pointwise() or conv.shared_weight():
        return reason
    for value in (place.normalised, place.gamma, place.beta):
        if value is not None and channels(value) not in (None, conv.shape[1]):
            return f"{value.name} is of {channels(value)} channels, the convolution reads {conv.shape[1]}"
    readers = [*place.between[1:], conv.node]
    for node, reader in zip(place.between, readers, strict=True):
        if others := other_readers(node.outputs[0], reader):
            return f"the norm is read by {others} too"
    for weight in (conv.kernel, place.gamma, place.beta, conv.bias):
        if weight is not None and not plain_param(draft.steps(weight)):
            return f"{weight.name} is no source parameter as it is"
    if conv.bias is None and place.beta is not None and _bias_name(conv) in draft.program:
        return f"it has no bias, and {_bias_name(conv)} is the name of something else"
    return ""


def rewrite(draft: Draft, place: Place) -> None:
    conv = place.conv
    kernel = plain_param(draft.steps(conv.kernel))
    bias = conv.bias
    if place.beta is not None:
        through = Step("add_through", (kernel, plain_param(draft.steps(place.beta))))
        if bias is None:
            bias = draft.add_weight(_bias_name(conv), (conv.out_channels,), [through])
            conv.node.resize_inputs(3)
            conv.node.replace_input_with(2, bias)
        else:
            draft.program[name_of(bias)] += (through,)
    draft.program[name_of(conv.kernel)] += (Step("scale_in", (plain_param(draft.steps(place.gamma)),)),)
    conv.node.replace_input_with(0, place.normalised)


def _bias_name(conv: Convolution) -> str:
    return name_of(conv.kernel).removesuffix("weight") + "bias"


def _operands(draft: Draft, node: ir.Node) -> tuple[ir.Value | None, ir.Value | None]:
    """The picture and the vector of a product or sum, the vector None where there is none."""
    a, b = node.inputs
    if is_vector(draft, b):
        return a, b
    return (b, a) if is_vector(draft, a) else (a, None)
