"""The manifest of a new bundle: what a plan and a weight program come to."""

from dataclasses import replace
from importlib.metadata import version

from colora.export.plan import Plan
from colora.runtime.manifest import ImageConvention, Manifest, Shapes, Tile
from colora.runtime.program import Program

PACKAGES = ("colora", "torch", "onnx", "onnxscript", "onnxsim", "onnxruntime", "numpy")


def describe(plan: Plan, program: Program) -> Manifest:
    """The manifest of a new bundle, but for its files.

    The official padding, of a few pixels, may be zeros. Up to one size there may be many, and the networks take means
    over the picture: of haze and rain, results padded by reflection are within 35 to 50 dB of those of no padding, by
    zeros within 17 to 40.
    """
    backbone = plan.checkpoint.backbone
    adapter = plan.tasks[0].adapter
    shapes, tile = _sizes_of(plan)
    return Manifest(
        kind="merged" if plan.merged else "shared",
        backbone=backbone.name,
        backbone_sha256=plan.checkpoint.sha256,
        target=plan.device.name,
        precision=plan.precision,
        image=ImageConvention(),
        shapes=shapes,
        pad=backbone.pad if plan.size is None else replace(backbone.pad, mode="reflect"),
        tile=tile,
        program={} if plan.merged else program,
        task=adapter.task if plan.merged else "",
        adapter_sha256=adapter.content_sha256 if plan.merged else "",
        versions={package: version(package) for package in PACKAGES},
    )


def _sizes_of(plan: Plan) -> tuple[Shapes, Tile]:
    """What reaches the graph, and how larger pictures are cut: as the backbone was trained, or all at one size."""
    multiple, tile = plan.checkpoint.backbone.pad.multiple_of, plan.checkpoint.backbone.tile
    if plan.size is None:
        largest = _square(tile.when_above, multiple)
        return Shapes((multiple, multiple), _square(tile.size, multiple), largest, multiple), tile
    side = min(plan.size)
    cut = Tile(side, min(tile.overlap, (side - 1) // 2), side)
    return Shapes(plan.size, plan.size, plan.size, multiple), cut


def _square(side: int, multiple: int) -> tuple[int, int]:
    """The smallest square of whole multiples that holds `side` pixels."""
    length = -(-side // multiple) * multiple
    return (length, length)
