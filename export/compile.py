"""Backbone → graph and weight program: the exporter's graph, then the passes of a plan."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

from colora.export.cost import Cost, cost
from colora.export.draft import Draft, Outcome
from colora.export.graph import Shapes, bare, trace
from colora.export.locate import Stage
from colora.export.opset import check_target
from colora.export.passes import find_passes, run_passes
from colora.export.plan import Plan
from colora.export.twin import make_twin
from colora.runtime.program import Program

if TYPE_CHECKING:
    import onnx

EXPLAINED = (256, 256)
"""height and width of the image on which costs are counted; a multiple of what every network takes"""


@dataclass(frozen=True)
class Compiled:
    """The graph of a bundle, still open, and how it came about."""

    graph: onnx.ModelProto
    program: Program
    shapes: Shapes
    """graph tensor → shape, in the order of the program"""
    outcomes: Mapping[str, Outcome]
    """pass → what it did, in the order in which they ran"""
    before: Cost
    """of the exporter's graph, on an image of EXPLAINED"""
    after: Cost
    stages: tuple[Stage, ...]
    """the exporter's graph, and that after each pass"""


def compile_graph(plan: Plan) -> Compiled:
    """Trace the plan's backbone and run its passes. Writes nothing.

    Raises: GraphError naming pass and node, also for what the target's TensorRT can't read.
    """
    twin = make_twin(plan.checkpoint.module)
    traced = trace(twin, plan.checkpoint.backbone.pad.multiple_of)
    draft = Draft(traced, twin.program)
    stages = [Stage("torch.onnx", traced, twin.program)]
    outcomes = run_passes(
        draft,
        find_passes(plan.passes),
        lambda name: stages.append(Stage(name, bare(draft.proto()), {**draft.program})),
    )
    graph = stages[-1].model
    check_target(graph, plan.device)
    before, after = cost(traced, *EXPLAINED), cost(graph, *EXPLAINED)
    return Compiled(graph, draft.program, draft.shapes, outcomes, before, after, tuple(stages))
