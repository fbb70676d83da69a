"""What an export will do, decided and checked before anything is computed: names → values, or a refusal."""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from colora.devices.catalogue import find_device
from colora.devices.device import Device
from colora.devices.errors import BundleError, CheckpointError, unknown
from colora.export.graph import ALIGNMENT, DATA, shapes_of
from colora.export.passes import KEEP_WEIGHTS, find_passes, target_passes
from colora.export.precision import NOT_IN
from colora.export.twin import make_twin
from colora.runtime.adapter import Adapter, read_adapter
from colora.runtime.bundle import GOLDEN, GRAPH, MANIFEST, TASKS, WEIGHTS, Bundle, open_bundle
from colora.runtime.manifest import PRECISIONS
from colora.train.backbones import BACKBONES, DEFAULT_BACKBONE, require_rgb
from colora.train.checkpoint import Checkpoint, load_backbone, zoo

OUTPUT = "colora-bundle"


@dataclass(frozen=True)
class PlannedTask:
    """An adapter that fits the backbone, and the file it came from."""

    adapter: Adapter
    file: Path


@dataclass(frozen=True)
class Plan:
    """Made by `make_plan`; `run_plan` (export/pipeline.py) carries it out."""

    checkpoint: Checkpoint
    tasks: tuple[PlannedTask, ...]
    device: Device
    output: Path
    merged: bool
    """one task folded into the graph, instead of a shared backbone and tasks/"""
    extends: Bundle | None
    """the bundle in `output` to which the tasks are added; None: a new one is made"""
    passes: tuple[str, ...]
    """of export/passes.py, in their order; of no effect where tasks are only added"""
    precision: str = "fp32"
    """of PRECISIONS (runtime/manifest.py)"""
    calibrate: Path | None = None
    """pictures to measure precision on (export/calibration.py); None: those that are shipped"""
    size: tuple[int, int] | None = None
    """the one height and width at which pictures reach the graph; None: any multiples"""


@dataclass(frozen=True)
class PlannedFile:
    """A file that will be written."""

    name: str
    size_bytes: int | None
    """None where only the run can tell"""


def make_plan(
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
) -> Plan:
    """Resolve every name and check that the parts fit. Reads files, writes nothing.

    tasks: names of shipped adapters, or of those in `adapters`.
    backbone: shipped name, or path of a `.safetensors` or official `.pth` file.
    target: device or alias of the devices table.
    adapters: paths of adapter files; their tasks are added to `tasks`.
    replace: make a new bundle even if `output` holds one; without it, tasks are added to a shared bundle of the
        same backbone and target, and any other is refused.
    passes: names in PASSES, in any order, instead of those of the target.
    precision: of PRECISIONS (runtime/manifest.py); None is fp32, or what the bundle has to which tasks are added.
    calibrate: photographs or pairs to measure precision on, see `task_pictures`; None: the photographs shipped.
    size: height and width of every picture that the graph gets: smaller ones are padded, larger ones cut into tiles.
        An engine builder then has one shape to tune for. The graph itself stays symbolic: golden outputs are 64×64.
    Raises: UnknownName with the nearest names, CheckpointError, BundleError.
    """
    device = find_device(target)
    if precision is not None and precision not in PRECISIONS:
        raise unknown("precision", precision, PRECISIONS)
    if precision == "int8" and not merged:
        raise BundleError(
            "int8 is for a merged bundle, whose ranges are those of one task; got a shared one: add --merged, "
            "or export in fp16"
        )
    wanted = target_passes(device) if passes is None else passes
    left_out = NOT_IN.get(precision or "", frozenset()) if passes is None else frozenset()
    chosen = tuple(p.name for p in find_passes(wanted) if p.name not in left_out)
    if precision == "int8" and "moments" in chosen:
        raise BundleError(
            "int8 and the pass moments, whose constant kernels ONNX Runtime's quantiser can't name: leave moments out"
        )
    given: dict[str, PlannedTask] = {}
    for task in map(_read, adapters):
        if first := given.get(task.adapter.task):
            raise BundleError(
                f"{first.file} and {task.file} are both of task {task.adapter.task!r}, and a bundle holds one of each "
                "name: give one of them"
            )
        given[task.adapter.task] = task
    shipped = {name: file for name, file in zoo().items() if name not in BACKBONES}
    names = dict.fromkeys([*tasks, *given])
    for name in names:
        if name not in shipped and name not in given:
            raise unknown("task", name, [*shipped, *given])
    if not names:
        listed = ", ".join(shipped) or "none"
        raise BundleError(f"no task to export: name one (shipped: {listed}) or give an adapter file")
    if merged and len(names) > 1:
        listed = ", ".join(names)
        raise BundleError(
            f"a merged bundle holds one task, got {listed}: export one at a time, each to its -o"
        )
    checkpoint = load_backbone(backbone)
    multiple = checkpoint.backbone.pad.multiple_of
    if size is not None and (min(size) < 1 or any(side % multiple for side in size)):
        raise BundleError(
            f"size {size[0]}×{size[1]}: {checkpoint.backbone.name} takes heights and widths that are multiples of "
            f"{multiple}"
        )
    require_rgb(checkpoint.backbone, "colora export")
    planned = tuple(given.get(name) or _read(shipped[name]) for name in names)
    for task in planned:
        _check_fit(task, checkpoint)
    output = Path(output)
    extends = None if replace else _extended(output, checkpoint, device, merged, precision, size)
    precision = extends.manifest.precision if extends else precision or "fp32"
    source = None if calibrate is None else Path(calibrate)
    return Plan(checkpoint, planned, device, output, merged, extends, chosen, precision, source, size)


def planned_files(plan: Plan) -> list[PlannedFile]:
    """What `run_plan` will write under `plan.output`, in alphabetical order."""
    tasks = [PlannedFile(f"{TASKS}/{t.adapter.task}.safetensors", t.file.stat().st_size) for t in plan.tasks]
    if plan.extends:
        return sorted(tasks, key=lambda file: file.name)
    data: int | None = None  # a pass may merge weights, or cut them in parts
    if {*plan.passes} <= KEEP_WEIGHTS and plan.precision == "fp32":
        data = 0
        for shape in shapes_of(make_twin(plan.checkpoint.module)).values():
            data += -data % ALIGNMENT + 4 * math.prod(shape)
    weights = 4 * sum(p.numel() for p in plan.checkpoint.module.parameters())
    return sorted(
        [
            *(PlannedFile(name, None) for name in (GRAPH, GOLDEN, MANIFEST, "parity.json")),
            *([] if plan.precision == "int8" else [PlannedFile(DATA, data)]),
            *([] if plan.merged else [PlannedFile(WEIGHTS, weights), *tasks]),
        ],
        key=lambda file: file.name,
    )


def _read(file: str | Path) -> PlannedTask:
    return PlannedTask(read_adapter(file), Path(file))


def _check_fit(task: PlannedTask, checkpoint: Checkpoint) -> None:
    read_adapter(task.file, checkpoint.sha256)  # refuses an adapter of another backbone
    shapes = {name: tuple(p.shape) for name, p in checkpoint.module.named_parameters()}
    for name, param in task.adapter.params.items():
        if shapes.get(name) != param.shape:
            raise CheckpointError(
                f"{task.file}: parameter {name} is {param.shape}; {checkpoint.backbone.name} has "
                f"{shapes.get(name, 'none of that name')}: the file is damaged or foreign"
            )


def _extended(
    output: Path,
    checkpoint: Checkpoint,
    device: Device,
    merged: bool,
    precision: str | None,
    size: tuple[int, int] | None,
) -> Bundle | None:
    """The bundle to add tasks to; None where `output` is free."""
    if not (output / MANIFEST).exists():
        if output.exists() and not (output.is_dir() and not any(output.iterdir())):
            raise BundleError(f"{output} exists and is no bundle: it was left alone; choose another -o")
        return None
    bundle = open_bundle(output)
    found = bundle.manifest
    reason = ""
    if merged or found.kind == "merged":
        reason = f"a {found.kind} bundle, to which a {'merged' if merged else 'shared'} one can't be added"
    elif found.backbone_sha256 != checkpoint.sha256:
        reason = (
            f"backbone {found.backbone} {found.backbone_sha256[:12]}…, "
            f"not {checkpoint.backbone.name} {checkpoint.sha256[:12]}…"
        )
    elif found.target != device.name:
        reason = f"a bundle for {found.target}, not for {device.name}"
    elif precision not in (None, found.precision):
        reason = f"a bundle in {found.precision}, not in {precision}"
    elif size is not None and (size, size) != (found.shapes.min, found.shapes.max):
        reason = f"a bundle for sizes from {found.shapes.min} to {found.shapes.max}, not for {size} alone"
    if reason:
        raise BundleError(f"{output} holds {reason}: choose another -o, or pass --replace to make it anew")
    return bundle
