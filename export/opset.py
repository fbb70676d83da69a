"""What ONNX a target can read: refused here, where the export can still change, and not on the device."""

from __future__ import annotations

from typing import TYPE_CHECKING

from colora.devices.device import Device
from colora.devices.errors import GraphError
from colora.devices.jetpack import numbers

if TYPE_CHECKING:
    import onnx

TENSORRT_OPSETS = {(8, 2): 13, (8, 4): 17, (9, 0): 19, (10, 0): 20, (10, 15): 24}
"""TensorRT from this version on → newest opset that its parser reads: docs/operators.md of onnx-tensorrt at 8.2-GA to
9.3, 10.0-GA, 10.1-GA and of 10.15. Between two entries the older one is taken."""
IR_VERSIONS = range(3, 11)
"""Versions of the container that ONNX 1.16 reads, which is the one in the parsers of 10.0 and 10.1"""


def newest_opset(tensorrt: str) -> int:
    """Of a TensorRT version such as `10.3.0`; 0 for one that is older than the table."""
    found = [opset for since, opset in TENSORRT_OPSETS.items() if since <= numbers(tensorrt)[:2]]
    return max(found, default=0)


def check_operators(model: onnx.ModelProto) -> None:
    """Refuse operators that are none of ONNX's own. Raises: GraphError naming node and operator."""
    from onnx import defs

    (opset,) = [entry.version for entry in model.opset_import if entry.domain in ("", "ai.onnx")]
    for node in model.graph.node:
        if node.domain or not defs.has(node.op_type, opset, ""):
            name = f"{node.domain}::{node.op_type}" if node.domain else node.op_type
            raise GraphError(
                f"{node.name or node.op_type}: {name} is no operator of ONNX's opset {opset}, so that no pass and no "
                "runtime knows it: give its module a twin in plain operators (export/twin.py)"
            )


def check_target(model: onnx.ModelProto, device: Device) -> None:
    """Refuse what no TensorRT for the device reads. Raises: GraphError naming node, opset and what would read it."""
    from onnx import defs

    newest = max((newest_opset(jetpack.tensorrt) for jetpack in device.jetpacks), default=None)
    if newest is None:
        return
    last = device.jetpacks[-1]
    reader = f"{device.title}: TensorRT {last.tensorrt} of JetPack {last.version}"
    if model.ir_version not in IR_VERSIONS:
        raise GraphError(
            f"{reader} reads ONNX's IR versions {IR_VERSIONS[0]} to {IR_VERSIONS[-1]}, and the graph has "
            f"{model.ir_version}: export with IR_VERSION in export/graph.py lowered"
        )
    (opset,) = [entry.version for entry in model.opset_import if entry.domain in ("", "ai.onnx")]
    for node in model.graph.node:
        since = defs.get_schema(node.op_type, opset, "").since_version
        if since > newest:
            raise GraphError(
                f"{reader} reads operators up to opset {newest}, and {node.name or node.op_type} is {node.op_type} of "
                f"opset {since}: choose another --target, or run this bundle there with ONNX Runtime (--target cpu)"
            )
