"""What pixel shuffle makes goes back into channel blocks before a skip connection is added.

    s + x  =  s + 1 ∗ x        1 ∗: a depthwise 1×1 convolution of ones

ONNX Runtime's CPU kernels for channel blocks (NCHWc) have no pixel shuffle, and an addition with one operand in order
leaves its result in order: the norm behind it then works in order too. A convolution takes its input into blocks, and
the addition becomes part of it. Exact. Program: unchanged; the kernel is a constant.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from colora.export.draft import Draft, Outcome, at_each, channels, constant_kernel, name_of, producer

if TYPE_CHECKING:
    import onnx_ir as ir


def run(draft: Draft) -> Outcome:
    return at_each(draft, match, check, rewrite)


def match(draft: Draft, node: ir.Node) -> ir.Node | None:
    if node.op_type != "Add" or node.domain:
        return None
    return next((s for value in node.inputs if (s := producer(value, "DepthToSpace"))), None)


def check(draft: Draft, shuffle: ir.Node) -> str:
    (output,) = shuffle.outputs
    if channels(output) is None:
        return f"the channels of {name_of(output)} are not known"
    readers = len(output.uses()) + output.is_graph_output()
    return f"{name_of(output)} is read {readers} times" if readers > 1 else ""


def rewrite(draft: Draft, shuffle: ir.Node) -> None:
    (output,) = shuffle.outputs
    count = channels(output) or 0
    reader = next(iter(output.uses())).node
    ones = constant_kernel(draft, reader, count, 1, 1.0)
    through = draft.add(reader, "Conv", [output, ones], {"group": count}, name_of(output), count)
    for index, value in enumerate(reader.inputs):
        if value is output:
            reader.replace_input_with(index, through)
