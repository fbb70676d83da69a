"""Adapting a backbone to a task, what `colora adapt` does.

tune a full copy on the task (the target) → FAIG from backbone to target → ranks for the budget → fit the adapter from
zero. Two short trainings beside the target tell whether random weights would learn the task faster
(`AdaptConfig.probe`). Given ranks skip all but the last, and so does an adapter to go on from. What can be resumed or
reused lies in the folder beside the output. In a process group every process takes its share of the training, and the
first one measures and writes.
"""

import hashlib
import json
import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

import torch
from colora.devices.errors import CheckpointError
from colora.runtime.adapter import Adapter, to_float16, write_adapter
from colora.runtime.golden import golden_input
from colora.runtime.image import write_image
from colora.train.adapt_config import AdaptConfig, budget_numbers, check, stored_share
from colora.train.attribution import faig
from colora.train.checkpoint import Checkpoint, run_folder, save_backbone
from colora.train.contribution import Attribution
from colora.train.distributed import rank_and_world, text_from_first
from colora.train.evaluate import compare, held_out_psnr, restorer, training_psnr
from colora.train.examples import Examples
from colora.train.fit import FitConfig, Progress, fit
from colora.train.methods import attach, collect, load, merged
from colora.train.pairs import centres
from colora.train.photos import Batches, Pair
from colora.train.progress import counting, reporting
from colora.train.ranks import Allocation, allocate, allocation_of
from colora.train.sheet import before_after
from colora.train.signatures import nearly_uniform, pre_training_hurts, underfits, worse_than_random
from torch import nn

Reporter = Callable[[Progress], None]


@dataclass(frozen=True)
class Outcome:
    """What `adapt` found out."""

    table: dict[str, dict[str, float]]
    """set → {input, backbone, adapted, …}, mean PSNR in dB"""
    warnings: list[str]
    """failure signatures (`signatures`), plain sentences"""


def full_tuning(
    backbone: Checkpoint, examples: Examples, config: AdaptConfig, folder: Path, report: Reporter
) -> nn.Module:
    """A fully tuned copy of the backbone; taken from `folder` where the same one was tuned before."""
    model = merged(backbone, {})
    key = _key(backbone, examples, config, config.target.recipe)
    _train(model, backbone, examples, config, config.target, config.seed, folder / f"target-{key}", report)
    return model


def against_random(
    backbone: Checkpoint, examples: Examples, config: AdaptConfig, folder: Path, report: Reporter
) -> str | None:
    """The warning of `worse_than_random`: tunes a copy of the backbone and a network of random weights for
    `config.probe`, and compares them on patches of their last batches."""
    torch.manual_seed(config.seed)
    copies = {"backbone": merged(backbone, {}), "random": backbone.backbone.build()}
    probe, found = config.probe, {}
    key = _key(backbone, examples, config, probe.recipe)
    drawn = _batches(examples, config, probe, config.seed)
    for name, model in copies.items():
        _train(model, backbone, examples, config, probe, config.seed, folder / f"probe-{name}-{key}", report)
        found[name] = training_psnr(model.to(probe.device), drawn, range(max(0, probe.made - 8), probe.made))
    return worse_than_random(found["backbone"], found["random"], probe.steps)


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
    batches = _batches(examples, config, fit_config, seed)
    crops = centres(examples.held_out, 256, backbone.backbone.pad.multiple_of)
    fit(model, batches, fit_config, folder, held_out_psnr(crops) if crops else None, report)


def _batches(examples: Examples, config: AdaptConfig, fit_config: FitConfig, seed: int) -> Batches:
    return Batches(examples.draw, config.stages, fit_config.made, seed)


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
) -> Outcome:
    """Trains the adapter of `task` and writes it to `output`.

    `sets` are further pairs to measure on; the held-out examples always are. `ranks` skips full tuning and
    attribution; so does `start`, an adapter of this backbone to go on from with its ranks and its values, which the
    table then measures too. The folder beside `output`, of the same stem, holds states, curves and the ranks;
    `<stem>-sheet.png` shows before and after. `log` is a folder for TensorBoard. In a process group the first process
    gets the outcome and writes, the others get an empty one. Raises what `check` and `fit` raise.
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
    folder = run_folder(output)
    target = behind = None
    if ranks is None:
        with reporting(
            f"{task}: full tuning of a copy, to see what it changes", log and log / task / "target"
        ) as report:
            target = full_tuning(backbone, examples, config, folder, report)
        with reporting(
            f"{task}: an eighth of the steps from the backbone, and from random weights"
        ) as report:
            behind = against_random(backbone, examples, config, folder, report)
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
            ranks = allocation
        ranks = Allocation(**json.loads(text_from_first(json.dumps(asdict(ranks)) if ranks else "")))
    model = merged(backbone, {})
    attach(model, ranks.ranks, ranks.contribution, config.seed)
    if start:
        load(model, start.params)
    key = _key(backbone, examples, config, ranks.ranks, *([start.content_sha256] if start else []))
    title = f"{task}: adapter of {stored_share(backbone, ranks):.1%} of the backbone"
    if len(ranks.ranks) < len(backbone.shapes):
        title += f", in {len(ranks.ranks)} of its {len(backbone.shapes)} parameters"
    with reporting(title, log and log / task / "fit") as report:
        _train(model, backbone, examples, config, config.fit, config.seed + 1, folder / f"fit-{key}", report)
    if not first:
        return Outcome({}, [])
    params = to_float16(collect(model))
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
    before = start.content_sha256 if start else ""
    write_adapter(output, Adapter(task, "colora", backbone.sha256, params, golden, seeds, quality, before))
    if measured:
        shown = [*examples.held_out[:3], *(pairs[0] for pairs in (sets or {}).values())]
        restorers = {name: restorer(models[name], backbone.backbone) for name in ("backbone", "adapted")}
        write_image(sheet_path(output), before_after(shown, restorers))
    warnings = [pre_training_hurts(table)]
    if target:
        drawn = _batches(examples, config, config.fit, config.seed + 1)
        last = range(max(0, config.fit.made - 8), config.fit.made)
        adapted_db, tuned_db = (training_psnr(model, drawn, last) for model in (adapted, target))
        warnings += [
            underfits(adapted_db, tuned_db, config.fit.steps, config.target.steps),
            nearly_uniform(backbone.shapes, ranks),
            behind,
        ]
    return Outcome(table, [warning for warning in warnings if warning])


def sheet_path(output: Path) -> Path:
    """Where `adapt` puts the before/after sheet of the adapter `output`."""
    return output.with_name(f"{output.stem}-sheet.png")
