"""Pixel shuffle takes its channels phase by phase: DepthToSpace of mode DCR for one of mode CRD.

    shuffle_CRD(W ∗ x + b)  =  shuffle_DCR(P·W ∗ x + P·b)        P: row c·s² + k → k·C + c,  k < s² the phase

The pixel (s·h + i, s·w + j) of output channel c comes from channel c·s² + s·i + j in mode CRD, PyTorch's, and from
(s·i + j)·C + c in mode DCR. There channels that are neighbours stay neighbours, so that whole blocks of channels can be
moved (runtime/ort_blocks.py) where mode CRD moves number by number.

Program: kernel and bias of the convolution + `phases_out s²`.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from colora.export.convolution import Convolution, convolution
from colora.export.draft import Draft, Outcome, at_each, integer, other_readers, sizes, title
from colora.runtime.program import Step

if TYPE_CHECKING:
    import onnx_ir as ir


@dataclass(frozen=True)
class Place:
    shuffle: ir.Node
    conv: Convolution | None

    @property
    def phases(self) -> int:
        return integer(self.shuffle, "blocksize", 1) ** 2


def run(draft: Draft) -> Outcome:
    return at_each(draft, match, check, rewrite)


def match(draft: Draft, node: ir.Node) -> Place | None:
    if node.op_type != "DepthToSpace" or node.domain:
        return None
    mode = node.attributes.get("mode")
    if mode is None or mode.as_string() != "CRD":
        return None
    value = node.inputs[0]
    return Place(node, convolution(draft, value.producer() if value is not None else None))


def check(draft: Draft, place: Place) -> str:
    if place.conv is None:
        return "what it shuffles comes from no convolution of weights"
    if others := other_readers(place.conv.output, place.shuffle):
        return f"{place.conv.output.name} is read by {others} too"
    if place.conv.group != 1:
        return f"{title(place.conv.node)} has {place.conv.group} groups"
    return place.conv.shared_weight()


def rewrite(draft: Draft, place: Place) -> None:
    import onnx_ir as ir

    assert place.conv is not None  # checked
    for weight in (place.conv.kernel, place.conv.bias):
        if weight is not None:
            steps = (*draft.steps(weight), Step("phases_out", (place.phases,)))
            draft.change_weight(weight, sizes(weight), steps)
    place.shuffle.attributes["mode"] = ir.AttrString("mode", "DCR")
