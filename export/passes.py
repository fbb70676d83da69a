"""PASSES: what may be done to a graph between the exporter and the bundle, and what is done for which target."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass

from colora.devices.device import Device
from colora.devices.errors import GraphError, unknown
from colora.export import (
    pass_affine,
    pass_blocks,
    pass_constants,
    pass_mean,
    pass_moments,
    pass_onnxsim,
    pass_pixel_scale,
    pass_pool,
    pass_shuffle,
    pass_split,
)
from colora.export.draft import Draft, Outcome
from colora.export.graph import check_map
from colora.export.opset import check_operators


@dataclass(frozen=True)
class Pass:
    """One rewriting of a graph and of its weight program; the algebra is in the header of its file."""

    name: str
    told: str
    run: Callable[[Draft], Outcome]
    behind: str = ""
    """The pass that leaves what this one works on."""


PASSES = {
    p.name: p
    for p in (
        Pass("onnxsim", "the public simplifier", pass_onnxsim.run),
        Pass("constants", "operators on constants → their results", pass_constants.run),
        Pass("affine", "a norm's weight and bias → the 1×1 convolution behind it", pass_affine.run),
        Pass("pixel-scale", "1/σ of a norm → behind the 1×1 convolution", pass_pixel_scale.run, "affine"),
        Pass("mean", "a norm's mean → the kernel of the 1×1 convolution", pass_mean.run, "affine"),
        Pass("split", "SimpleGate's Split → convolutions in two halves", pass_split.run),
        Pass("moments", "1/σ of a norm → made and spread by 1×1 convolutions", pass_moments.run),
        Pass("shuffle", "pixel shuffle → of channels in the order of phases", pass_shuffle.run),
        Pass("blocks", "pixel shuffle before a skip → back into channel blocks", pass_blocks.run),
        Pass("pool", "mean over the picture → GlobalAveragePool", pass_pool.run),
    )
}
"""Name → pass, in the one order in which they run, whatever the order they are asked for in."""

KEEP_WEIGHTS = frozenset(("onnxsim", "constants", "moments", "blocks", "pool"))
"""Passes that leave weights and program as they are."""

TARGET_PASSES: Mapping[str, tuple[str, ...]] = {
    "cpu": ("onnxsim", "affine", "mean", "split", "moments", "shuffle", "blocks", "pool"),
    "gpu": ("onnxsim", "affine"),
}
"""Passes that an export for a kind of device runs unless told otherwise; each name may be asked for as a pass is.

cpu: chosen by measurement on ONNX Runtime (`python -m colora.benchmarks.compiled`), whose channel blocks they keep
pictures in. pixel-scale lost there, and mean where moments does not follow it.
gpu: of what needs no measurement on a GPU that we don't have. affine removes two element-wise operators and changes no
kernel. split makes more and smaller convolutions, where TensorRT reads a Split as views of one result; pool it does
itself; pixel-scale and mean feed a convolution what no norm has brought to scale, which float16 may not hold.
Norms stay plain operators, their statistics typed float32: as LayerNormalization between two Transposes, TensorRT for
RTX 1.7 reports no less memory for nafnet-small at 256×256 (71.6 MB of activations for 71.0; float16: 41.0 both), and
writes 5 % more (float16: 1 %).
OpenVINO opens a bundle for a CPU too, and has its own form of what is made for ONNX Runtime's blocks, norms, at load
(runtime/openvino_norm.py): no set of passes ran faster there.
"""


def target_passes(device: Device) -> tuple[str, ...]:
    """Of TARGET_PASSES: a device with a compute capability is a GPU."""
    return TARGET_PASSES["gpu" if device.compute_capability else "cpu"]


def find_passes(names: Iterable[str]) -> tuple[Pass, ...]:
    """Passes of these names, of PASSES or TARGET_PASSES, in the order of PASSES. Raises: UnknownName."""
    wanted = {part for name in names for part in TARGET_PASSES.get(name, (name,))}
    for name in sorted(wanted - PASSES.keys()):
        raise unknown("pass", name, [*PASSES, *TARGET_PASSES])
    return tuple(p for name, p in PASSES.items() if name in wanted)


def run_passes(
    draft: Draft, passes: Iterable[Pass], seen: Callable[[str], None] = lambda name: None
) -> dict[str, Outcome]:
    """Each pass once, in order; returns name → what it did. seen: called with the name of each that is done.

    Raises: GraphError naming the pass that failed, or that left a graph whose tensors are not those of its program.
    """
    outcomes = {}
    for p in passes:
        try:
            outcomes[p.name] = p.run(draft)
            after = draft.proto()
            check_operators(after)
            check_map(after, draft.shapes)
        except Exception as error:  # whatever onnx's tools throw
            told = str(error) if isinstance(error, GraphError) else f"{type(error).__name__}: {error}"
            raise GraphError(f"pass {p.name}: {told}") from error
        seen(p.name)
    return outcomes
