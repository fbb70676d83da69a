"""The mean over a whole picture as the operator that is made for it.

    ReduceMean(x; height, width)  =  GlobalAveragePool(x)

ONNX Runtime's CPU kernels for channel blocks (NCHWc) know the second and not the first, before which they put the
picture back in order. Program: unchanged.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from colora.export.draft import Draft, Outcome, at_each, channels, constant, integer, name_of

if TYPE_CHECKING:
    import onnx_ir as ir


def run(draft: Draft) -> Outcome:
    return at_each(draft, match, check, rewrite)


def match(draft: Draft, node: ir.Node) -> ir.Node | None:
    if node.op_type != "ReduceMean" or node.domain or channels(node.inputs[0]) is None:
        return None
    axes = constant(node.inputs[1]) if len(node.inputs) > 1 else None
    return node if axes is not None and sorted(int(axis) % 4 for axis in axes.ravel()) == [2, 3] else None


def check(draft: Draft, node: ir.Node) -> str:
    return "" if integer(node, "keepdims", 1) == 1 else "it drops the axes that it reduces"


def rewrite(draft: Draft, node: ir.Node) -> None:
    (output,) = node.outputs
    name = name_of(output)
    draft.replace(output, draft.add(node, "GlobalAveragePool", [node.inputs[0]], {}, name))
