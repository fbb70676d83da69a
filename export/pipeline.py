"""The compiler on one screen: backbone and adapters → bundle."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path

import numpy as np
from colora.devices.errors import ParityError
from colora.export import parity as compare
from colora.export import precision as lower
from colora.export import probe as prove
from colora.export.calibration import pictures_of
from colora.export.compile import Compiled, compile_graph
from colora.export.describe import describe
from colora.export.graph import DATA, close, reopen
from colora.export.locate import Stage, first_difference
from colora.export.memory import give_back
from colora.export.plan import OUTPUT, Plan, PlannedTask, make_plan
from colora.export.precision_fp16 import type_float16
from colora.export.precision_int8 import quantise
from colora.export.tensors import GraphTensors, MergedWeights
from colora.runtime.atomic import write_text
from colora.runtime.backend_ort import OrtBackend
from colora.runtime.bundle import GOLDEN, GRAPH, TASKS, WEIGHTS, Bundle, add_task, write_bundle, write_golden
from colora.runtime.golden import golden_input
from colora.runtime.manifest import ImageConvention, Manifest
from colora.runtime.session import GOLDEN_TOLERANCE
from colora.runtime.weights import Array, write_tensors
from colora.runtime.workload import graph_workload
from colora.train.backbones import DEFAULT_BACKBONE
from colora.train.photos import Pair
from torch import nn

PARITY = "parity.json"


@dataclass(frozen=True)
class Report:
    """What an export did."""

    output: Path
    files: Mapping[str, int]
    """written files → bytes"""
    parity: compare.Parity
    switchable: int
    """graph tensors proven to follow edits in place; 0 where none has to (merged), or tasks were only added"""
    nodes: int
    """of the graph; 0 where tasks were only added"""
    compiled: Compiled | None
    """the graph and what passes did to it; None where tasks were only added"""
    losses: tuple[lower.Loss, ...] = ()
    """what the precision costs; nothing in fp32"""


def export(
    tasks: Iterable[str] = (),
    backbone: str = DEFAULT_BACKBONE,
    target: str = "cpu",
    output: str | Path = OUTPUT,
    *,
    adapters: Iterable[str | Path] = (),
    merged: bool = False,
    replace: bool = False,
    passes: Iterable[str] | None = None,
    precision: str | None = None,
    calibrate: str | Path | None = None,
    size: tuple[int, int] | None = None,
    tolerance: float = compare.TOLERANCE,
    progress: Callable[[str], None] = lambda stage: None,
) -> Report:
    """Compile `backbone` with the adapters of `tasks` into the bundle `output`. Arguments: `make_plan`.

    tolerance: largest difference of ONNX Runtime from PyTorch, in units of the image range [0, 1].
    progress: called with the name of each stage as it begins.
    Raises: UnknownName, CheckpointError, BundleError, GraphError, ParityError, and ImageError for pictures to calibrate
        on that can't be used; what was in `output` is then unchanged.
    """
    plan = make_plan(
        tasks,
        backbone,
        target,
        output,
        adapters=adapters,
        merged=merged,
        replace=replace,
        passes=passes,
        precision=precision,
        calibrate=calibrate,
        size=size,
    )
    return run_plan(plan, tolerance, progress)


def run_plan(
    plan: Plan, tolerance: float = compare.TOLERANCE, progress: Callable[[str], None] = lambda stage: None
) -> Report:
    """Carry out a plan. See `export`."""

    def begin(stage: str) -> None:
        give_back()
        progress(stage)

    weights = {name: p.detach().float().numpy() for name, p in plan.checkpoint.module.named_parameters()}
    pictures = {} if plan.precision == "fp32" else pictures_of(plan)
    begin("golden outputs of the adapters")
    for task in plan.tasks:
        check_golden(task, plan.checkpoint.module, weights)
    if plan.extends:
        return _extend(plan, plan.extends, weights, pictures, tolerance, begin)

    begin("graph")
    compiled = compile_graph(plan)
    graph, program = compiled.graph, compiled.program
    if plan.precision == "fp16":
        graph, program = type_float16(graph, program)
    manifest = describe(plan, program)
    source = MergedWeights(weights, plan.tasks[0].adapter) if plan.merged else weights
    tensors = GraphTensors(program, source)
    parity: list[compare.Parity] = []
    losses: list[lower.Loss] = []

    def fill(folder: Path) -> Manifest:
        if plan.precision != "fp32":
            begin("parity")
            plain = GraphTensors(compiled.program, source)
            close(compiled.graph, compiled.shapes, plain.__getitem__, folder)
            fp32 = replace(manifest, program={} if plan.merged else compiled.program)
            parity.append(_parity(plan, weights, folder / GRAPH, fp32, tolerance, compiled.stages))
            begin(plan.precision)
        if plan.precision == "fp16":
            networks = _networks(plan, weights)
            losses.extend(lower.fp16_losses(plan.checkpoint.module, networks, graph, program, pictures))
        golden = compare.run_module(plan.checkpoint.module, source, golden_input())
        if plan.precision == "int8":
            losses.append(_quantise(plan, source, pictures, folder))
            golden = OrtBackend(folder / GRAPH, ImageConvention(), {}, False, 0).run(golden_input())
        else:
            begin("files")
            close(graph, compiled.shapes, tensors.__getitem__, folder)
        write_golden(folder / GOLDEN, golden)
        if not plan.merged:
            write_tensors(folder / WEIGHTS, weights, {})
            (folder / TASKS).mkdir()
            for task in plan.tasks:
                shutil.copyfile(task.file, folder / TASKS / f"{task.adapter.task}.safetensors")
            begin(f"probe of {len(tensors)} switchable tensors")
            side = 2 * manifest.shapes.multiple_of
            prove.check(prove.probe(folder / GRAPH, graph, tensors, side))
        if not parity:
            begin("parity")
            parity.append(_parity(plan, weights, folder / GRAPH, manifest, tolerance, compiled.stages))
        write_text(folder / PARITY, compare.parity_json(parity[0], losses))
        left = tuple(name for loss in losses for name in loss.left)
        work = graph_workload(folder / GRAPH, manifest.image.input, manifest.shapes.opt[0], plan.precision)
        return replace(
            manifest, float_layers=left, activation_bytes_per_pixel=work.activation_bytes_per_pixel
        )

    write_bundle(plan.output, fill)
    written = [file for file in plan.output.rglob("*") if file.is_file()]
    probed = 0 if plan.merged else len(tensors)
    return Report(
        plan.output,
        _sizes(plan.output, written),
        parity[0],
        probed,
        compiled.after.nodes,
        compiled,
        tuple(losses),
    )


def _extend(
    plan: Plan,
    bundle: Bundle,
    weights: Mapping[str, Array],
    pictures: Mapping[str, list[Pair]],
    tolerance: float,
    progress: Callable[[str], None],
) -> Report:
    """Add the plan's tasks to a shared bundle of the same backbone; nothing else in it is touched."""
    progress("parity")
    parity, losses = compare.Parity(tolerance, ()), []
    if plan.precision == "fp32":
        parity = _parity(plan, weights, bundle.path / GRAPH, bundle.manifest, tolerance, ())
    else:
        program = bundle.manifest.program
        graph, networks = reopen(bundle.path / GRAPH, program), _networks(plan, weights)
        losses = lower.fp16_losses(plan.checkpoint.module, networks, graph, program, pictures)
    progress("files")
    written = [add_task(bundle.path, task.file) for task in plan.tasks]
    return Report(plan.output, _sizes(plan.output, written), parity, 0, 0, None, tuple(losses))


def check_golden(task: PlannedTask, module: nn.Module, weights: Mapping[str, Array]) -> None:
    """Compare the adapted network with the golden output that training wrote.

    Raises: ParityError naming file and difference.
    """
    output = compare.run_module(module, MergedWeights(weights, task.adapter), golden_input())
    difference = float(np.abs(output - task.adapter.golden_output).max())
    if not difference <= GOLDEN_TOLERANCE["fp32"]:
        raise ParityError(
            f"{task.file}: the adapted network differs from the golden output in the file by {difference:.2g}, "
            f"more than {GOLDEN_TOLERANCE['fp32']:g}: it was trained with another version of the network; "
            "train the adapter again"
        )


def _quantise(
    plan: Plan, source: Mapping[str, Array], pictures: Mapping[str, list[Pair]], folder: Path
) -> lower.Loss:
    """Replace the closed float32 graph in `folder` by one in int8. Raises: ParityError beyond the limit."""
    task = plan.tasks[0].adapter.task
    reference = partial(compare.run_module, plan.checkpoint.module, source)
    symmetric = bool(plan.device.compute_capability)
    made = folder / "int8.onnx"
    loss = quantise(folder / GRAPH, made, task, reference, pictures[task], symmetric)
    (folder / DATA).unlink()
    made.replace(folder / GRAPH)
    return loss


def _networks(plan: Plan, weights: Mapping[str, Array]) -> list[compare.Network]:
    """What the plan adds: a new shared bundle's backbone, and each task."""
    bare = [] if plan.merged or plan.extends else [compare.Network(compare.BACKBONE, weights)]
    names = [(task.adapter.task, MergedWeights(weights, task.adapter)) for task in plan.tasks]
    return [*bare, *(compare.Network(name, merged) for name, merged in names)]


def _parity(
    plan: Plan,
    weights: Mapping[str, Array],
    graph: Path,
    manifest: Manifest,
    tolerance: float,
    stages: tuple[Stage, ...],
) -> compare.Parity:
    """Parity of `_networks`. Raises: ParityError naming the first tensor that differs, and since which stage."""
    module, networks = plan.checkpoint.module, _networks(plan, weights)
    parity = compare.measure(module, networks, graph, manifest, tolerance)
    try:
        compare.check(parity)
    except ParityError as error:
        worst = parity.worst
        found = stages and first_difference(
            module,
            next(network.weights for network in networks if network.name == worst.network),
            stages,
            graph,
            worst.policy == "refit",
            next(p for p in compare.pictures(manifest) if p.shape[2:] == (worst.height, worst.width)),
            tolerance,
        )
        raise ParityError(f"{error}. {found}" if found else str(error)) from error
    return parity


def _sizes(root: Path, files: Iterable[Path]) -> dict[str, int]:
    return {file.relative_to(root).as_posix(): file.stat().st_size for file in sorted(files)}
