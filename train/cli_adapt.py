"""`colora adapt`: a low-rank adapter of a backbone for a task, from real pairs or from degraded photographs."""

from dataclasses import replace
from pathlib import Path
from shlex import quote

import click
from colora.train.adapt import adapt, sheet_path
from colora.train.adapt_config import AdaptConfig, budget_numbers
from colora.train.allocations import ALLOCATIONS, find_allocation
from colora.train.backbones import DEFAULT_BACKBONE
from colora.train.checkpoint import load_adapter, load_backbone
from colora.train.distributed import rank_and_world
from colora.train.evaluate import print_table, set_name
from colora.train.examples import from_pairs, from_photos, task_of
from colora.train.options import TrainOptions, train_options
from colora.train.pairs import read_pairs

PATH = click.Path(exists=True, path_type=Path)
FOLDER = click.Path(exists=True, file_okay=False, path_type=Path)


@click.command("adapt")
@click.option(
    "--task", required=True, help="Name of the task: a known one, or any with --pairs or --degrade."
)
@click.option("--backbone", default=DEFAULT_BACKBONE, show_default=True, help="Zoo name or file.")
@click.option(
    "--photos", multiple=True, type=FOLDER, help="Folder of clean photographs; may be given several times."
)
@click.option(
    "--degrade", help='What spoils --photos, in this order, e.g. "haze+noise". [default: as the task says]'
)
@click.option(
    "--pairs",
    type=PATH,
    help="Real pairs instead of --photos: a folder with input/ and target/, or a file of lines degraded,clean.",
)
@click.option(
    "-o", "--output", type=click.Path(path_type=Path), help="Adapter file. [default: runs/<task>.safetensors]"
)
@click.option(
    "--start",
    help="Adapter to go on from, zoo name or file: its ranks and values are taken, so that full tuning and attribution "
    "are skipped. For example to tune a shipped one to your own camera's pairs.",
)
@click.option(
    "--ranks",
    help=f"How layers share the budget: {', '.join(ALLOCATIONS)}, or a file of ranks (.json) such as an earlier run's. "
    "All but faig skip full tuning and attribution. [default: faig]",
)
@click.option(
    "--budget", type=float, help="Adapter size per backbone size. [default: 0.07 NAFNet, 0.11 Restormer]"
)
@click.option("--alpha", type=float, help="Gain of the contribution. [default: solved for the budget]")
@click.option(
    "--beta",
    type=float,
    help="Share given to layers that contribute nothing. [default: 0.01; with --alpha solved for the budget]",
)
@click.option(
    "--steps", type=click.IntRange(min=1), default=2000, show_default=True, help="Steps for the adapter."
)
@click.option(
    "--target-steps",
    type=click.IntRange(min=1),
    default=800,
    show_default=True,
    help="Steps for the fully tuned copy; a quarter as many more compare its beginning with that of random weights.",
)
@click.option("--lr", default=2e-3, show_default=True, help="Peak learning rate of the adapter.")
@click.option(
    "--target-lr", default=3e-4, show_default=True, help="Peak learning rate of the fully tuned copy."
)
@click.option(
    "--faig-steps", type=click.IntRange(min=1), default=100, show_default=True, help="Points on FAIG's path."
)
@click.option("--faig-images", type=click.IntRange(min=1), default=8, show_default=True)
@click.option(
    "--eval", "evaluate", multiple=True, type=PATH, help="Further pairs to measure on, never trained on."
)
@train_options
def command(
    task: str,
    backbone: str,
    photos: tuple[Path, ...],
    degrade: str | None,
    pairs: Path | None,
    output: Path | None,
    start: str | None,
    ranks: str | None,
    budget: float | None,
    alpha: float | None,
    beta: float | None,
    steps: int,
    target_steps: int,
    lr: float,
    target_lr: float,
    faig_steps: int,
    faig_images: int,
    evaluate: tuple[Path, ...],
    options: TrainOptions,
) -> None:
    """Adapt a backbone to a task with a low-rank adapter (CoLoRA). Run again to go on after a stop."""
    if bool(photos) == (pairs is not None):
        raise click.UsageError(
            "give either --photos (clean photographs) or --pairs (degraded and clean ones)"
        )
    if pairs and degrade:
        raise click.UsageError("--degrade goes with --photos: the pictures of --pairs are degraded already")
    names = [set_name(source) for source in evaluate]
    if len({"held_out", *names}) <= len(names):
        raise click.UsageError(
            f"--eval: the sets are called {', '.join(names)} and the held-out pictures held_out, two have the same "
            "name: rename a folder or list"
        )
    output = output or Path("runs") / f"{task}.safetensors"
    for what, name in (("backbone", backbone), ("adapter to go on from", start)):
        if name and Path(name).resolve() == output.resolve():
            raise click.UsageError(f"{output} is the {what}: give another file as -o")
    if start:
        sizes = {"--ranks": ranks, "--budget": budget, "--alpha": alpha, "--beta": beta}
        if given := [name for name, value in sizes.items() if value is not None]:
            raise click.UsageError(
                f"{', '.join(given)} with --start: the adapter to go on from brings its ranks"
            )
    with options.joined() as options:
        if pairs:
            examples = from_pairs(pairs, options.held_out)
        else:
            spoilt_by = task_of(task, degrade)
            examples = from_photos(spoilt_by, photos, options.held_out, options.seed, options.augment)
        first = rank_and_world()[0] == 0
        if first:
            click.echo(f"{task}: {examples.told}")
        fit_config = options.fit_config(steps, lr)
        config = AdaptConfig(
            fit_config,
            replace(fit_config, steps=target_steps, lr=target_lr),
            budget,
            0.01 if alpha is None and beta is None else beta,
            alpha,
            faig_steps,
            faig_images,
            options.batch,
            options.patch,
            options.seed,
            options.patches,
        )
        checkpoint = load_backbone(backbone)
        known = None
        if not start and (spread := find_allocation(ranks or "faig")) is not ALLOCATIONS["faig"]:
            known = spread(checkpoint.shapes, {}, budget_numbers(checkpoint, config))
        outcome = adapt(
            task,
            checkpoint,
            examples,
            output,
            config,
            ranks=known,
            start=load_adapter(start, checkpoint) if start else None,
            sets={set_name(source): read_pairs(source) for source in evaluate},
            log=options.tensorboard,
        )
        if first:
            if outcome.table:
                print_table(outcome.table, f"{task}: mean PSNR in dB")
                for warning in outcome.warnings:
                    click.echo(f"warning: {warning}")
                click.echo(f"{sheet_path(output)}  before and after")
            click.echo(f"{output}  {output.stat().st_size / 1e6:.2f} MB")
            files = f"--adapter {quote(str(output))} --backbone {quote(backbone)}"
            click.echo(f"next: colora export --task {task} {files}")
