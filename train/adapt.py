"""Adapting a backbone to a task: `colora adapt`, and the same as a function.

tune a full copy on the task (the target) → FAIG from backbone to target → ranks for the budget → fit the adapter from
zero. `--ranks FILE` skips the first three. What can be resumed or reused lies in the folder beside the output.
"""

import hashlib
import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path

import click
import numpy as np
import torch
from colora.devices.errors import CheckpointError
from colora.runtime.adapter import Adapter, write_adapter
from colora.runtime.golden import GOLDEN_SHAPE, golden_input
from colora.train.attribution import faig
from colora.train.backbones import DEFAULT_BACKBONE, require_rgb
from colora.train.checkpoint import Checkpoint, load_backbone, save_backbone
from colora.train.evaluate import compare, print_table, set_name
from colora.train.examples import Examples, from_pairs, from_photos
from colora.train.fit import FitConfig, Progress, fit
from colora.train.methods import attach, collect, merged
from colora.train.nafnet import NAFNet
from colora.train.photos import Batches, Pair, read_pairs, to_float, to_tensor
from colora.train.progress import progress_bar
from colora.train.ranks import Allocation, allocate
from colora.train.tasks import find_task
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
    beta: float = 0.01
    """share δ that a layer without any contribution gets"""
    faig_steps: int = 100
    """points on the path (N of FAIG)"""
    faig_images: int = 8
    batch: int = 4
    patch: int = 128
    """side of a training patch in pixels"""
    seed: int = 0


def full_tuning(
    backbone: Checkpoint, examples: Examples, config: AdaptConfig, folder: Path, report: Reporter
) -> nn.Module:
    """A fully tuned copy of the backbone; taken from `folder` where the same one was tuned before."""
    told = json.dumps(
        [backbone.sha256, examples.told, config.batch, config.patch, config.seed, asdict(config.target)]
    )
    key = hashlib.sha256(told.encode()).hexdigest()[:12]
    model = merged(backbone, {})
    batches = Batches(lambda rng: examples.draw(rng, config.patch), config.batch, config.seed)
    fit(model, batches, config.target, folder / f"target-{key}", report=report)
    return model


def choose_ranks(
    backbone: Checkpoint,
    target: nn.Module,
    examples: Examples,
    config: AdaptConfig,
    report: Callable[[int, int], None] = lambda done, total: None,
) -> Allocation:
    """FAIG from backbone to target over held-out crops, then the allocation for the budget."""
    images = []
    for pair in examples.held_out[: config.faig_images]:
        y, x = ((n - min(n, config.patch)) // 2 for n in pair.clean.shape[:2])
        window = (slice(y, y + config.patch), slice(x, x + config.patch))
        images.append(
            (to_tensor([to_float(pair.degraded[window])]), to_tensor([to_float(pair.clean[window])]))
        )
    if not images:
        raise CheckpointError("no held-out images to attribute on: hold some out, or give --ranks")
    found = faig(
        backbone.module, backbone.module.state_dict(), target.state_dict(), images, config.faig_steps, report
    )
    return allocation_for(backbone, found.contribution, config)


def allocation_for(
    backbone: Checkpoint, contribution: Mapping[str, float], config: AdaptConfig
) -> Allocation:
    """The allocation for `config`'s budget, with the golden output that every adapter file carries counted in."""
    shapes = {name: tuple(p.shape) for name, p in backbone.module.named_parameters()}
    budget = config.budget or (0.07 if isinstance(backbone.module, NAFNet) else 0.11)
    numbers = int(budget * sum(p.numel() for p in backbone.module.parameters())) - int(np.prod(GOLDEN_SHAPE))
    return allocate(shapes, contribution, numbers, config.beta)


def adapt(
    task: str,
    backbone: Checkpoint,
    examples: Examples,
    output: Path,
    config: AdaptConfig,
    *,
    ranks: Allocation | None = None,
    sets: Mapping[str, Sequence[Pair]] | None = None,
) -> dict[str, dict[str, float]]:
    """Trains the adapter of `task` and writes it to `output`; returns set → {input, backbone, adapted, …} in dB.

    `sets` are further pairs to measure on; the held-out examples always are. `ranks` skips full tuning and
    attribution. The folder beside `output`, of the same stem, holds states, curves and the ranks.
    """
    require_rgb(backbone.backbone, "colora adapt")
    folder = output.with_suffix("")
    folder.mkdir(parents=True, exist_ok=True)
    target = None
    if ranks is None:
        with progress_bar(f"{task}: full tuning of a copy, to see what it changes") as report:
            target = full_tuning(backbone, examples, config, folder, report)
        told = {
            "method": "full tuning",
            "task": task,
            "examples": examples.told,
            "fit": asdict(config.target),
        }
        save_backbone(folder / "target.safetensors", target, backbone.backbone, told)
        ranks = choose_ranks(backbone, target, examples, config)
        ranks.write(folder / "ranks.json")
    model = merged(backbone, {})
    attach(model, ranks.ranks, ranks.contribution, config.seed)
    batches = Batches(lambda rng: examples.draw(rng, config.patch), config.batch, config.seed + 1)
    with progress_bar(f"{task}: adapter of {stored_share(backbone, ranks):.1%} of the backbone") as report:
        fit(model, batches, config.fit, folder / "fit", report=report)
    params = collect(model)
    adapted = merged(backbone, params)

    models = {"backbone": backbone.module, "adapted": adapted} | ({"full tuning": target} if target else {})
    table = compare(models, backbone.backbone, {"held out": examples.held_out, **(sets or {})})
    quality = {
        f"{name.replace(' ', '_')}_{column.replace(' ', '_')}_psnr_db": value
        for name, row in table.items()
        for column, value in row.items()
    }
    with torch.no_grad():
        golden = adapted(torch.from_numpy(golden_input())).numpy()
    seeds = {"fit": config.seed + 1, "attach": config.seed, "target": config.seed}
    write_adapter(output, Adapter(task, "colora", backbone.sha256, params, golden, seeds, quality))
    return table


def stored_share(backbone: Checkpoint, ranks: Allocation) -> float:
    """Numbers that the adapter file will store per number of the backbone, golden output included."""
    stored = ranks.stored + int(np.prod(GOLDEN_SHAPE))
    return stored / sum(p.numel() for p in backbone.module.parameters())


FOLDER = click.Path(exists=True, file_okay=False, path_type=Path)
FILE = click.Path(exists=True, dir_okay=False, path_type=Path)


@click.command("adapt")
@click.option(
    "--task", required=True, help="Name of the task; one of the known ones unless --pairs is given."
)
@click.option("--backbone", default=DEFAULT_BACKBONE, show_default=True, help="Zoo name or file.")
@click.option(
    "--photos", multiple=True, type=FOLDER, help="Folder of clean photographs; may be given several times."
)
@click.option("--pairs", type=FOLDER, help="Folder with input/ and target/: real pairs instead of --photos.")
@click.option(
    "-o", "--output", type=click.Path(path_type=Path), help="Adapter file. [default: runs/<task>.safetensors]"
)
@click.option("--ranks", type=FILE, help="Ranks of an earlier run: skips full tuning and attribution.")
@click.option(
    "--budget", type=float, help="Adapter size per backbone size. [default: 0.07 NAFNet, 0.11 Restormer]"
)
@click.option(
    "--beta", default=0.01, show_default=True, help="Share given to layers that contribute nothing."
)
@click.option("--steps", default=2000, show_default=True, help="Steps for the adapter.")
@click.option("--target-steps", default=800, show_default=True, help="Steps for the fully tuned copy.")
@click.option("--lr", default=2e-3, show_default=True, help="Peak learning rate of the adapter.")
@click.option(
    "--target-lr", default=3e-4, show_default=True, help="Peak learning rate of the fully tuned copy."
)
@click.option("--faig-steps", default=100, show_default=True, help="Points on FAIG's path.")
@click.option("--faig-images", default=8, show_default=True)
@click.option("--batch", default=4, show_default=True)
@click.option("--patch", default=128, show_default=True, help="Side of a training patch in pixels.")
@click.option("--held-out", default=12, show_default=True, help="Photographs or pairs kept out.")
@click.option(
    "--eval", "evaluate", multiple=True, type=FOLDER, help="Further pairs to measure on, never trained on."
)
@click.option("--seed", default=0, show_default=True)
@click.option("--bf16", is_flag=True, help="Autocast the forward pass to bfloat16.")
@click.option(
    "--compile", "compile_", is_flag=True, help="torch.compile the model (first step takes minutes)."
)
@click.option("--threads", type=int, help="Torch threads.")
def command(
    task: str,
    backbone: str,
    photos: tuple[Path, ...],
    pairs: Path | None,
    output: Path | None,
    ranks: Path | None,
    budget: float | None,
    beta: float,
    steps: int,
    target_steps: int,
    lr: float,
    target_lr: float,
    faig_steps: int,
    faig_images: int,
    batch: int,
    patch: int,
    held_out: int,
    evaluate: tuple[Path, ...],
    seed: int,
    bf16: bool,
    compile_: bool,
    threads: int | None,
) -> None:
    """Adapt a backbone to a task with a low-rank adapter (CoLoRA). Run again to go on after a stop."""
    if bool(photos) == (pairs is not None):
        raise click.UsageError("give either --photos (clean photographs) or --pairs (input/ and target/)")
    examples = from_pairs(pairs, held_out) if pairs else from_photos(find_task(task), photos, held_out, seed)
    output = output or Path("runs") / f"{task}.safetensors"
    fit_config = FitConfig(steps=steps, lr=lr, bf16=bf16, compile=compile_, threads=threads)
    config = AdaptConfig(
        fit_config,
        replace(fit_config, steps=target_steps, lr=target_lr),
        budget,
        beta,
        faig_steps,
        faig_images,
        batch,
        patch,
        seed,
    )
    checkpoint = load_backbone(backbone)
    sets = {set_name(folder): read_pairs(folder) for folder in evaluate}
    table = adapt(
        task, checkpoint, examples, output, config, ranks=Allocation.read(ranks) if ranks else None, sets=sets
    )
    print_table(table, f"{task}: mean PSNR in dB")
    click.echo(f"{output}  {output.stat().st_size / 1e6:.2f} MB")
    click.echo(f"next: colora export --task {task} --adapter {output} --backbone {backbone}")
