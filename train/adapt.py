"""Adapting a backbone to a task, what `colora adapt` does.

tune a full copy on the task (the target) → FAIG from backbone to target → ranks for the budget → fit the adapter from
zero. Given ranks skip the first three, and so does an adapter to go on from. What can be resumed or reused lies in the
folder beside the output. In a process group every process takes its share of the training, and the first one measures
and writes.
"""

import hashlib
import json
import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

import torch
from colora.devices.errors import CheckpointError, ColoraError, ImageError
from colora.runtime.adapter import TASK_NAME, Adapter, write_adapter
from colora.runtime.golden import GOLDEN_SHAPE, golden_input
from colora.runtime.image import write_image
from colora.train.attribution import faig
from colora.train.backbones import require_rgb
from colora.train.checkpoint import Checkpoint, save_backbone
from colora.train.contribution import Attribution
from colora.train.distributed import rank_and_world, wait_for_all
from colora.train.evaluate import compare, held_out_psnr, restorer
from colora.train.examples import Examples
from colora.train.fit import FitConfig, Progress, fit
from colora.train.methods import attach, collect, load, merged
from colora.train.nafnet import NAFNet
from colora.train.pairs import centres
from colora.train.patches import Stage
from colora.train.photos import Batches, Pair, require_usable
from colora.train.progress import counting, reporting
from colora.train.ranks import Allocation, allocate, allocation_of, has_rank, rank_of, stored_numbers
from colora.train.sheet import before_after
from torch import nn

Reporter = Callable[[Progress], None]


@dataclass(frozen=True)
class AdaptConfig:
    """How to adapt."""

    fit: FitConfig
    """for the adapter"""
    target: FitConfig
    """for the fully tuned copy that attribution compares with"""
    budget: float | None = None
    """most numbers stored, golden output included, per number of the backbone; None: 0.07 for NAFNet, 0.11 for
    Restormer, the paper's sizes"""
    beta: float | None = 0.01
    """share δ that a layer without any contribution gets; None: solved for the budget, `alpha` being given"""
    alpha: float | None = None
    """gain of the contribution; None: solved for the budget"""
    faig_steps: int = 100
    """points on the path (N of FAIG)"""
    faig_images: int = 8
    batch: int = 4
    patch: int = 128
    """side of a training patch in pixels"""
    seed: int = 0
    patches: tuple[Stage, ...] = ()
    """progressive patches, in place of `batch` and `patch`"""

    @property
    def stages(self) -> tuple[Stage, ...]:
        """`patches`, or where there are none the one stage of `patch` and `batch`."""
        return self.patches or (Stage(self.patch, self.batch),)


def full_tuning(
    backbone: Checkpoint, examples: Examples, config: AdaptConfig, folder: Path, report: Reporter
) -> nn.Module:
    """A fully tuned copy of the backbone; taken from `folder` where the same one was tuned before."""
    model = merged(backbone, {})
    key = _key(backbone, examples, config, asdict(config.target))
    _train(model, backbone, examples, config, config.target, config.seed, folder / f"target-{key}", report)
    return model


def _train(
    model: nn.Module,
    backbone: Checkpoint,
    examples: Examples,
    config: AdaptConfig,
    fit_config: FitConfig,
    seed: int,
    folder: Path,
    report: Reporter,
) -> None:
    batches = Batches(examples.draw, config.stages, fit_config.steps, seed)
    crops = centres(examples.held_out, 256, backbone.backbone.pad.multiple_of)
    fit(model, batches, fit_config, folder, held_out_psnr(crops) if crops else None, report)


def _key(backbone: Checkpoint, examples: Examples, config: AdaptConfig, *more: object) -> str:
    """Names what was trained: another backbone, other pictures or another rule of drawing them give another name."""
    patches = map(str, config.patches)
    told = [backbone.sha256, examples.sha256, config.batch, config.patch, config.seed, *patches, *more]
    return hashlib.sha256(json.dumps(told).encode()).hexdigest()[:12]


def attribute(
    backbone: Checkpoint,
    target: nn.Module,
    examples: Examples,
    config: AdaptConfig,
    report: Callable[[int, int], None] = lambda done, total: None,
) -> Attribution:
    """FAIG from backbone to target over the middles of held-out pictures, of the size of the last patches, on the
    target's device."""
    device = config.target.device
    side = config.stages[-1].patch
    pairs = centres(examples.held_out[: config.faig_images], side, backbone.backbone.pad.multiple_of)
    model = merged(backbone, {}).to(device)
    baseline, tuned = (
        {name: tensor.to(device) for name, tensor in module.state_dict().items()}
        for module in (model, target)
    )
    images = [(degraded.to(device), clean.to(device)) for degraded, clean in pairs]
    return faig(model, baseline, tuned, images, config.faig_steps, report)


def budget_numbers(backbone: Checkpoint, config: AdaptConfig) -> int:
    """How many numbers the deltas may store: the budget less the golden output that every adapter file carries.

    Raises ColoraError for a budget above the backbone's size, or below what β alone takes.
    """
    shapes = backbone.shapes
    size, golden = sum(map(math.prod, shapes.values())), math.prod(GOLDEN_SHAPE)
    budget = config.budget
    if budget is None:
        budget = 0.07 if isinstance(backbone.module, NAFNet) else 0.11
    beta = config.beta or 0.0
    least = {name: rank_of(shape, min(1.0, beta)) if has_rank(shape) else 0 for name, shape in shapes.items()}
    smallest = (stored_numbers(shapes, least) + golden) / size
    if not smallest <= budget <= 1:
        raise ColoraError(
            f"budget {budget:g} of the {size:,} numbers of {backbone.backbone.name}; expected at least "
            f"{math.ceil(smallest * 1e4) / 1e4:g}, which β = {beta:g} and the golden output take, and at most 1, "
            "which is as much as a tuned copy: change --budget, or --beta"
        )
    return int(budget * size) - golden


def check(
    task: str, backbone: Checkpoint, examples: Examples, config: AdaptConfig, ranks_given: bool
) -> None:
    """Refuses before anything is trained what would fail later. Raises ColoraError's kinds."""
    require_rgb(backbone.backbone, "colora adapt")
    if not TASK_NAME.fullmatch(task):
        raise ColoraError(
            f"task name {task!r}: expected a-z, 0-9, _, + and -, at most 64, no sign first, as it names a file"
        )
    multiple = backbone.backbone.pad.multiple_of
    pictures = [source[-1] for source in examples.sources]
    require_usable(pictures, examples.told, config.stages, multiple)
    for pair in examples.held_out:
        if min(pair.clean.shape[:2]) < multiple:
            raise ImageError(f"{pair.name}: a side below {multiple} pixels: leave it out")
    if ranks_given:
        return
    if not examples.held_out:
        raise ImageError(f"{examples.told}; expected one for attribution: hold some out, or give --ranks")
    budget_numbers(backbone, config)


def adapt(
    task: str,
    backbone: Checkpoint,
    examples: Examples,
    output: Path,
    config: AdaptConfig,
    *,
    ranks: Allocation | None = None,
    start: Adapter | None = None,
    sets: Mapping[str, Sequence[Pair]] | None = None,
    log: Path | None = None,
) -> dict[str, dict[str, float]]:
    """Trains the adapter of `task` and writes it to `output`; returns set → {input, backbone, adapted, …} in dB.

    `sets` are further pairs to measure on; the held-out examples always are. `ranks` skips full tuning and
    attribution; so does `start`, an adapter of this backbone to go on from with its ranks and its values, which the
    table then measures too. The folder beside `output`, of the same stem, holds states, curves and the ranks;
    `<stem>-sheet.png` shows before and after. `log` is a folder for TensorBoard. In a process group the first process
    gets the table and writes, the others get an empty one. Raises what `check` and `fit` raise.
    """
    check(task, backbone, examples, config, ranks is not None or start is not None)
    if start:
        if ranks or start.backbone_sha256 != backbone.sha256:
            raise CheckpointError(
                f"the adapter {start.task} to go on from is of backbone {start.backbone_sha256[:12]}… and brings its "
                f"ranks; expected one of {backbone.sha256[:12]}…, and no other ranks given"
            )
        ranks = allocation_of(start.params)
    first = rank_and_world()[0] == 0
    folder = output.with_suffix("")
    folder.mkdir(parents=True, exist_ok=True)
    target = None
    if ranks is None:
        with reporting(
            f"{task}: full tuning of a copy, to see what it changes", log and log / task / "target"
        ) as report:
            target = full_tuning(backbone, examples, config, folder, report)
        if first:
            told = {
                "method": "full tuning",
                "task": task,
                "examples": examples.told,
                "fit": asdict(config.target),
            }
            save_backbone(folder / "target.safetensors", target, backbone.backbone, told)
            images = min(config.faig_images, len(examples.held_out))
            title = f"{task}: FAIG along {config.faig_steps} points over {images} pictures"
            with counting(title) as report_count:
                found = attribute(backbone, target, examples, config, report_count)
            found.write(folder / "faig.json")
            numbers = budget_numbers(backbone, config)
            allocation = allocate(backbone.shapes, found.contribution, numbers, config.beta, config.alpha)
            allocation.write(folder / "ranks.json")
        wait_for_all()
        ranks = Allocation.read(folder / "ranks.json")  # of the first process, in all
    model = merged(backbone, {})
    attach(model, ranks.ranks, ranks.contribution, config.seed)
    if start:
        load(model, start.params)
    key = _key(backbone, examples, config, ranks.ranks, *([start.content_sha256] if start else []))
    with reporting(
        f"{task}: adapter of {stored_share(backbone, ranks):.1%} of the backbone", log and log / task / "fit"
    ) as report:
        _train(model, backbone, examples, config, config.fit, config.seed + 1, folder / f"fit-{key}", report)
    if not first:
        return {}
    params = collect(model)
    adapted = merged(backbone, params)
    with torch.no_grad():
        golden = adapted(torch.from_numpy(golden_input())).numpy()

    models = {"backbone": merged(backbone, {}), "adapted": adapted}
    if start:
        models["start"] = merged(backbone, start.params)
    if target:
        models["full tuning"] = target
    for module in models.values():
        module.to(config.fit.device)
    measured = ({"held out": examples.held_out} if examples.held_out else {}) | dict(sets or {})
    table = compare(models, backbone.backbone, measured)
    quality = {
        f"{name.replace(' ', '_')}_{column.replace(' ', '_')}_psnr_db": value
        for name, row in table.items()
        for column, value in row.items()
        if math.isfinite(value)  # equal pictures have none
    }
    seeds = {"fit": config.seed + 1, "attach": config.seed, "target": config.seed}
    write_adapter(output, Adapter(task, "colora", backbone.sha256, params, golden, seeds, quality))
    if measured:
        shown = [*examples.held_out[:3], *(pairs[0] for pairs in (sets or {}).values())]
        restorers = {name: restorer(models[name], backbone.backbone) for name in ("backbone", "adapted")}
        write_image(sheet_path(output), before_after(shown, restorers))
    return table


def sheet_path(output: Path) -> Path:
    """Where `adapt` puts the before/after sheet of the adapter `output`."""
    return output.with_name(f"{output.stem}-sheet.png")


def stored_share(backbone: Checkpoint, ranks: Allocation) -> float:
    """Numbers that the adapter file will store per number of the backbone, golden output included."""
    stored = ranks.stored + math.prod(GOLDEN_SHAPE)
    return stored / sum(p.numel() for p in backbone.module.parameters())
