"""The paper's experiments at a small scale: `python -m colora.benchmarks.experiments NAME...`.

EXPERIMENTS says what each one runs and what the paper found. Runs are cached in the work folder: the same command goes
on after a stop, and with more steps or pictures begins new runs beside the old ones. The end is a table, a plot, and a
record, also of what differs from the paper.
"""

import json
from collections.abc import Sequence
from dataclasses import asdict, fields, replace
from pathlib import Path
from typing import Any

import click
from colora.benchmarks.experiment_data import REAL, split_photos
from colora.benchmarks.experiment_export import export_check
from colora.benchmarks.experiment_jobs import Shop, perform_all
from colora.benchmarks.experiment_runs import Run, Scale, Where, known, passes
from colora.benchmarks.experiment_table import EXPERIMENTS, Experiment
from colora.benchmarks.experiment_view import judge, label, markdown, plot, points, print_table
from colora.benchmarks.record import RESULTS, Environment, environment, warn_if_dirty, write_record
from colora.benchmarks.script import run as run_command
from colora.devices.errors import ColoraError
from colora.runtime.atomic import write_text

PACKAGES = ("numpy", "torch", "opencv-python-headless")


def selected(
    experiment: Experiment,
    tasks: Sequence[str],
    lines: Sequence[str],
    seeds: int | None,
    pairs: Sequence[int],
) -> list[Run]:
    """Runs that the options leave."""
    return [
        run
        for run in experiment.runs
        if (not tasks or run.task in tasks)
        and (not lines or label({"run": asdict(run)}, experiment.line) in lines)
        and (seeds is None or run.seed < seeds)
        and (not pairs or run.pairs in pairs)
    ]


FOLDER = click.Path(exists=True, file_okay=False, path_type=Path)


def scale_options(function: Any) -> Any:
    """An option for each field of Scale."""
    for field in reversed(fields(Scale)):
        flag = f"--{field.name.replace('_', '-')}"
        kind = click.FloatRange(0, min_open=True) if isinstance(field.default, float) else click.IntRange(1)
        function = click.option(flag, default=field.default, show_default=True, type=kind)(function)
    return function


@click.command()
@click.argument("names", metavar="NAME...", nargs=-1, required=True, type=click.Choice([*EXPERIMENTS]))
@click.option("--photos", multiple=True, type=FOLDER, help="Clean photographs; several.")
@click.option("--real-train", type=FOLDER, help=f"Pairs of the real task, {REAL}, to adapt to.")
@click.option("--real-test", type=FOLDER, help="Pairs of the real task, to validate and to test.")
@click.option(
    "--work", required=True, type=click.Path(file_okay=False, path_type=Path), help="Where runs are kept."
)
@click.option("--task", "tasks", multiple=True, help="Only these of its tasks.")
@click.option("--only", "lines", multiple=True, help="Only these of its lines, e.g. full.")
@click.option("--seeds", type=click.IntRange(1), help="Only so many of its seeds.")
@click.option("--pairs", type=int, multiple=True, help="Only these of its numbers of pairs.")
@click.option("--adapt-photos", default=128, show_default=True, help="Tiles kept for the few pairs of tasks.")
@click.option("--estimate", is_flag=True, help="Only count what is to be trained.")
@click.option("--cached", is_flag=True, help="Train nothing: tell what the work folder has.")
@click.option("--jobs", default=1, show_default=True, type=click.IntRange(1), help="Runs at a time.")
@click.option("--threads", type=click.IntRange(1), help="Torch threads of each.")
@click.option("--device", default="cpu", show_default=True, help="Of torch, e.g. cuda.")
@click.option("--compile", is_flag=True, help="torch.compile what is trained; each process pays for it once.")
@click.option("--workers", default=1, show_default=True, type=click.IntRange(1), help="As colora pretrain's.")
@click.option(
    "-o", "--output", default=RESULTS, show_default=True, type=click.Path(path_type=Path), help="Folder."
)
@scale_options
def command(
    names: tuple[str, ...],
    photos: tuple[Path, ...],
    real_train: Path | None,
    real_test: Path | None,
    work: Path,
    tasks: tuple[str, ...],
    lines: tuple[str, ...],
    seeds: int | None,
    pairs: tuple[int, ...],
    adapt_photos: int,
    estimate: bool,
    cached: bool,
    jobs: int,
    threads: int | None,
    device: str,
    compile: bool,
    workers: int,
    output: Path,
    **values: Any,
) -> None:
    """Run the experiments NAME...; what is there of them already is not run again.

    Several share their runs, and with --jobs the processes.
    """
    scale = Scale(**values)
    wanted = {name: selected(EXPERIMENTS[name], tasks, lines, seeds, pairs) for name in names}
    if not (cached or (real_train and real_test)):
        click.echo(f"without --real-train and --real-test the task {REAL} is left out")
        wanted = {name: [run for run in runs if run.task != REAL] for name, runs in wanted.items()}
    every = list(dict.fromkeys(run for runs in wanted.values() for run in runs))
    if not every:
        raise click.UsageError("these options leave no run of the experiment")
    for name, runs in wanted.items():
        click.echo(f"{name}: {EXPERIMENTS[name].title}; {len(runs)} runs")
    click.echo(f"{scale}; {passes(every, scale):,} patches of {scale.patch} px, what is cached included")
    if estimate:
        return
    outcomes: dict[Run, dict[str, Any] | str] = {}
    if not cached:
        if not photos:
            raise click.UsageError("give --photos to train on, or --cached to tell what was trained before")
        where = environment(PACKAGES)
        warn_if_dirty(where)
        if not all(known(run, scale, work) for run in every):
            work.mkdir(parents=True, exist_ok=True)
            write_text(work / MADE_IN, json.dumps(asdict(where)))
        sources = split_photos(photos, adapt_photos, real_train, real_test)
        shop = Shop(scale, sources, work, Where(device, workers, compile, threads))
        for told in perform_all([*wanted.values()], shop, jobs):
            for run, outcome in told:
                outcomes[run] = outcome
                click.echo(f"{len(outcomes)} of {len(every)}: {run}: {_in_words(outcome)}")
    lost = []
    for name, runs in wanted.items():
        results = [result for run in runs if (result := known(run, scale, work))]
        refused = [why for run in runs if isinstance(why := outcomes.get(run), str)]
        if results:
            finish(name, results, len(runs), [*dict.fromkeys(refused)], scale, work, output)
        else:
            told_why = (
                "; ".join(dict.fromkeys(refused)) or f"{work} has none of its {len(runs)} runs of this scale"
            )
            lost.append(f"{name}: {told_why}")
    if lost:
        raise ColoraError("\n".join(lost))


MADE_IN = "environment.json"
"""in the work folder: the last environment that trained there"""


def _in_words(outcome: dict[str, Any] | str) -> str:
    if isinstance(outcome, str):
        return outcome
    gain = outcome["psnr_db"] - outcome["input_db"]
    return f"{outcome['psnr_db']:.2f} dB ({gain:+.2f}), {outcome['seconds']:.0f} s"


def made_in(work: Path) -> tuple[Environment, list[str]]:
    """Where the runs of a work folder were made, and what is to be said of that. The present environment for a folder
    that doesn't tell; its commit for one that was filled from a copy without git."""
    here, path = environment(PACKAGES), work / MADE_IN
    if not path.exists():
        return here, []
    told = json.loads(path.read_text())
    there = Environment(**{**told, "gpus": tuple(told["gpus"])})
    if there.commit:
        return there, []
    note = "trained from a copy without git: the commit is that of the checkout which wrote this record"
    return replace(there, commit=here.commit, clean_tree=here.clean_tree), [note] if here.commit else []


def finish(
    name: str,
    results: list[dict[str, Any]],
    wanted: int,
    notes: list[str],
    scale: Scale,
    work: Path,
    output: Path,
) -> None:
    """Table, verdicts, plot and record of `results`, of `wanted` runs."""
    experiment = EXPERIMENTS[name]
    told = points(results, experiment.line, experiment.axis)
    where, more = made_in(work)
    notes = [f"{len(results)} of {wanted} runs are made", *notes, *more]
    if experiment.exports:
        try:
            notes += export_check(results, work)
        except ColoraError as error:
            notes.append(f"not exported: {error}")
    print_table(told, experiment.title, experiment.line, experiment.axis)
    verdicts = [
        line
        for claim in experiment.claims
        for line in judge(results, claim, experiment.line, experiment.axis)
    ]
    for line in [*verdicts, *notes]:
        click.echo(line)
    path = output / f"experiment-{name}.json"
    content = {
        "title": experiment.title,
        "scale": asdict(scale),
        "points": [asdict(point) for point in told],
        "verdicts": verdicts,
        "notes": notes,
        "runs": results,
    }
    write_record(path, "experiment", where, content)
    plot(told, experiment.title, experiment.axis, path.with_suffix(".png"))
    text = markdown(told, experiment.title, experiment.line, experiment.axis, str(scale), [*verdicts, *notes])
    write_text(path.with_suffix(".md"), text)
    click.echo(f"{path}, {path.with_suffix('.png').name}, {path.with_suffix('.md').name}")


if __name__ == "__main__":
    run_command(command)
