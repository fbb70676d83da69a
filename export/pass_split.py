"""A value that is split along its channels is made in parts from the start: SimpleGate without Split.

    split(W·x + b)  =  W₁·x + b₁, W₂·x + b₂        W₁, b₁ the first output channels, W₂, b₂ the rest

and so on upwards: a depthwise convolution in parts reads its input in parts; a sum or product with a vector takes the
vector in parts, one with a single channel takes it whole. A Split reads and writes everything that passes it; the
convolutions cost what they cost before, but read their input once for each part.

Program: every weight on the way + `slice_out`, before a `reshape` to 1×C×1×1.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from colora.export.convolution import convolution
from colora.export.draft import (
    Draft,
    Outcome,
    at_each,
    channels,
    constant,
    integer,
    is_vector,
    other_readers,
    sizes,
    title,
)
from colora.runtime.program import Step

if TYPE_CHECKING:
    import onnx_ir as ir


@dataclass(frozen=True)
class Place:
    split: ir.Node
    value: ir.Value

    @property
    def parts(self) -> int:
        return len(self.split.outputs)


def run(draft: Draft) -> Outcome:
    return at_each(draft, match, check, rewrite)


def match(draft: Draft, node: ir.Node) -> Place | None:
    value = node.inputs[0] if node.op_type == "Split" and node.domain == "" else None
    return Place(node, value) if value is not None else None


def check(draft: Draft, place: Place) -> str:
    node = place.split
    if integer(node, "axis", 0) != 1:
        return f"it splits axis {integer(node, 'axis', 0)}, not the channels"
    if len(node.inputs) > 1 and node.inputs[1] is not None:
        wanted = constant(node.inputs[1])
        if wanted is None or len(set(wanted.ravel().tolist())) != 1:
            return "its parts are not equal"
    return _why_not(draft, place.value, node, place.parts)


def rewrite(draft: Draft, place: Place) -> None:
    for i, output in enumerate(place.split.outputs):
        draft.replace(output, _part(draft, place.value, i, place.parts, place.split))


def _why_not(draft: Draft, value: ir.Value, reader: ir.Node, parts: int) -> str:
    """Why `value` can't be made in parts; "" where it can."""
    if others := other_readers(value, reader):
        return f"{value.name} is read by {others} too"
    node = value.producer()
    if conv := convolution(draft, node):
        if conv.out_channels % parts:
            return f"{conv.out_channels} channels do not make {parts} equal parts"
        if reason := conv.shared_weight():
            return reason
        if conv.group == 1:
            return ""
        return (
            _why_not(draft, conv.x, conv.node, parts)
            if conv.depthwise
            else f"{title(conv.node)} has {conv.group} groups"
        )
    if node is None or node.op_type not in ("Mul", "Add"):
        return f"it comes from {node.op_type if node else 'outside'}, not from a convolution"
    value_in, by = _operands(draft, node)
    if value_in is None or by is None:
        return f"{title(node)} is a {node.op_type} of two pictures"
    if draft.is_weight(by):
        if len(by.uses()) > 1:
            return f"{by.name} is read by another operator too"
        if channels(by) != channels(value):
            return f"{by.name} is of {channels(by)} channels, what is split of {channels(value)}"
    return _why_not(draft, value_in, node, parts)


def _part(draft: Draft, value: ir.Value, i: int, parts: int, before: ir.Node) -> ir.Value:
    """Part `i` of `value`, from new operators in front of `before`."""
    name = f"{value.name}.{i}"
    node = value.producer()
    assert node is not None  # checked
    if conv := convolution(draft, node):
        x, attributes = conv.x, dict[str, Any](node.attributes)
        count = conv.out_channels // parts
        if conv.group > 1:
            x = _part(draft, x, i, parts, before)
            attributes["group"] = count
        weights = [_part_of_weight(draft, w, i, parts) for w in (conv.kernel, conv.bias) if w is not None]
        return draft.add(before, "Conv", [x, *weights], attributes, name, count)
    picture, by = _operands(draft, node)
    assert picture is not None and by is not None  # checked
    if draft.is_weight(by):
        by = _part_of_weight(draft, by, i, parts)
    part = _part(draft, picture, i, parts, before)
    return draft.add(before, node.op_type, [part, by], {}, name, channels(part))


def _part_of_weight(draft: Draft, weight: ir.Value, i: int, parts: int) -> ir.Value:
    """A new weight: part `i` along the axis of output channels."""
    steps, shape = draft.steps(weight), sizes(weight)
    vector = is_vector(draft, weight)
    count = (shape[1] if vector else shape[0]) // parts
    cut = Step("slice_out", (i * count, (i + 1) * count))
    if not vector:
        return draft.add_weight(f"{weight.name}.{i}", (count, *shape[1:]), (*steps, cut))
    flat = (Step("reshape", (parts * count,)), cut, Step("reshape", (1, count, 1, 1)))
    return draft.add_weight(f"{weight.name}.{i}", (1, count, 1, 1), (*steps, *flat))


def _operands(draft: Draft, node: ir.Node) -> tuple[ir.Value | None, ir.Value | None]:
    """The picture, and the vector or single channel that goes with it; None where there is none."""
    a, b = node.inputs
    for picture, by in ((a, b), (b, a)):
        if is_vector(draft, by) or (channels(by) == 1 and channels(picture) != 1):
            return picture, by
    return None, None
