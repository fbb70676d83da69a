"""What passes ask of a convolution."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from colora.export.draft import Draft, integer, ints, sizes

if TYPE_CHECKING:
    import onnx_ir as ir


@dataclass(frozen=True)
class Convolution:
    """A Conv whose kernel is a weight, and its bias, if it has one, too."""

    node: ir.Node
    x: ir.Value
    kernel: ir.Value
    bias: ir.Value | None
    shape: tuple[int, ...]
    """of the kernel: out channels, in channels / group, height, width"""
    group: int

    @property
    def output(self) -> ir.Value:
        return self.node.outputs[0]

    @property
    def out_channels(self) -> int:
        return self.shape[0]

    @property
    def depthwise(self) -> bool:
        """One kernel per channel."""
        return self.group == self.out_channels and self.shape[1] == 1

    def not_pointwise(self) -> str:
        """Why it is no product of one matrix with every pixel; "" where it is."""
        if self.shape[2:] != (1, 1):
            return f"its kernel is {self.shape[2]}×{self.shape[3]}, not 1×1"
        if any(ints(self.node, "pads", (0, 0, 0, 0))):
            return "it pads its input"
        if set(ints(self.node, "strides", (1, 1))) != {1}:
            return "its stride is not 1"
        return "" if self.group == 1 else f"it has {self.group} groups"

    def shared_weight(self) -> str:
        """Why its weights can't change alone; "" where they can."""
        for weight in (self.kernel, self.bias):
            if weight is not None and len(weight.uses()) > 1:
                return f"{weight.name} is read by another operator too"
        return ""


def convolution(draft: Draft, node: ir.Node | None) -> Convolution | None:
    """`node` as a convolution of weights, if it is one."""
    if node is None or node.op_type != "Conv" or node.domain:
        return None
    x, kernel, bias = (*node.inputs, None)[:3]
    if x is None or kernel is None or not draft.is_weight(kernel) or len(sizes(kernel)) != 4:
        return None
    if bias is not None and not draft.is_weight(bias):
        return None
    return Convolution(node, x, kernel, bias, sizes(kernel), integer(node, "group", 1))
