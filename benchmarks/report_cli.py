"""`colora bench`: run every scenario on a bundle, and write what they found as report.json and report.html."""

import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import click
from colora.benchmarks.compare import compare
from colora.benchmarks.report import Report, read_report, write_report
from colora.benchmarks.report_html import render
from colora.benchmarks.report_run import SCENARIOS, measure
from colora.benchmarks.settings import Settings
from colora.devices.errors import MissingExtra, unknown
from colora.runtime import cli_bench
from colora.runtime.atomic import write_text
from colora.runtime.default import find_bundle

ON_DEVICE = "--on-device"


class Bench(click.Command):
    """With --on-device anywhere on the line it is the runtime's command, which has options of its own."""

    def make_context(
        self, info_name: str | None, args: list[str], parent: click.Context | None = None, **extra: Any
    ) -> click.Context:
        if ON_DEVICE in args:
            return cli_bench.command.make_context(info_name, args, parent, **extra)
        return super().make_context(info_name, args, parent, **extra)


def _pairs(
    context: click.Context, option: click.Parameter, values: tuple[str, ...]
) -> tuple[tuple[str, Path], ...]:
    for value in values:
        if not all(value.partition("=")):
            raise click.BadParameter(f"got {value!r}, expected TASK=FOLDER")
    return tuple((task, Path(folder)) for task, _, folder in (value.partition("=") for value in values))


def _sizes(context: click.Context, option: click.Parameter, value: str) -> tuple[int, ...]:
    try:
        return tuple(int(size) for size in value.split(","))
    except ValueError as e:
        raise click.BadParameter(f"got {value!r}, expected pixels such as 128,256,512") from e


@click.command("bench", cls=Bench)
@click.argument("bundle", required=False, type=click.Path(path_type=Path))
@click.option(
    "-o", "--output", default="report", show_default=True, type=click.Path(path_type=Path), help="Folder."
)
@click.option("--only", multiple=True, metavar="SCENARIO", help=f"Of {', '.join(SCENARIOS)}; several.")
@click.option("--skip", multiple=True, metavar="SCENARIO", help="Leave it out; several.")
@click.option(
    "--pairs", multiple=True, metavar="TASK=FOLDER", callback=_pairs, help="With input/ and target/; several."
)
@click.option(
    "--pictures", "count", default=4, show_default=True, type=click.IntRange(1), help="Of a folder."
)
@click.option("--size", default=256, show_default=True, type=click.IntRange(32), help="Side, in px.")
@click.option(
    "--sizes", default="128,256,512", show_default=True, callback=_sizes, help="Sides that are compared."
)
@click.option(
    "--threads", default=1, show_default=True, type=click.IntRange(0), help="0: the backend's choice."
)
@click.option("--rounds", default=10, show_default=True, type=click.IntRange(2))
@click.option(
    "--minutes",
    default=4.1,
    show_default=True,
    type=click.FloatRange(0, min_open=True),
    help="For all, about.",
)
@click.option("--seed", default=0, show_default=True)
@click.option(
    "--from", "source", type=click.Path(path_type=Path), help="Draw a report.json anew; measure nothing."
)
@click.option(
    "--compare",
    "compared",
    nargs=2,
    metavar="A.json B.json",
    type=click.Path(exists=True, dir_okay=False, path_type=Path),
    help="Two reports, or two records of one kind, figure by figure; measure nothing.",
)
@click.option(
    ON_DEVICE, is_flag=True, help="Instead, time one picture with power and clocks; more options: add --help."
)
def command(
    bundle: Path | None,
    output: Path,
    only: tuple[str, ...],
    skip: tuple[str, ...],
    pairs: tuple[tuple[str, Path], ...],
    count: int,
    size: int,
    sizes: tuple[int, ...],
    threads: int,
    rounds: int,
    minutes: float,
    seed: int,
    source: Path | None,
    compared: tuple[Path, Path] | None,
    on_device: bool,
) -> None:
    """Measure BUNDLE, and write report.json and report.html to OUTPUT.

    BUNDLE is $COLORA_BUNDLE by default, else ./colora-bundle. What a scenario needs and is not installed is named.
    """
    if compared:
        click.echo("\n".join(compare(*compared)))
        return
    for name in (*only, *skip):
        if name not in SCENARIOS:
            raise unknown("scenario", name, SCENARIOS)
    if source is not None:
        write_html(output, read_report(source))
        return
    names = [name for name in SCENARIOS if (name in only or not only) and name not in skip]
    with tempfile.TemporaryDirectory(prefix="colora-bench-") as scratch:
        settings = Settings(
            scratch=Path(scratch),
            size=size,
            sizes=sizes,
            threads=threads,
            rounds=rounds,
            seconds=minutes * 60,
            seed=seed,
            pairs=pairs,
            pictures=count,
        )
        with bar(len(names) + 1) as progress:
            report, failed = measure(find_bundle(bundle), settings, names, progress)
    output.mkdir(parents=True, exist_ok=True)
    write_report(output / "report.json", report)
    click.echo(f"{output / 'report.json'}  {report.seconds:.0f} s")
    write_html(output, report)
    if failed:
        raise click.ClickException(f"{', '.join(failed)} failed: the report says why")


def write_html(output: Path, report: Report) -> None:
    """OUTPUT/report.html, or a line that says which extra draws it."""
    try:
        page = render(report)
    except MissingExtra as e:
        click.echo(f"not drawn: {e}; then colora bench --from {output / 'report.json'}", err=True)
        return
    output.mkdir(parents=True, exist_ok=True)
    write_text(output / "report.html", page)
    click.echo(f"{output / 'report.html'}")


@contextmanager
def bar(total: int) -> Iterator[Callable[[str, int], None]]:
    """Progress on stderr: what to call with a text and the scenarios done. Plain lines without rich."""
    try:
        from rich.console import Console
        from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn
    except ImportError:
        yield lambda told, done: click.echo(told, err=True)
        return
    columns = (BarColumn(), MofNCompleteColumn(), TimeElapsedColumn(), TextColumn("{task.description}"))
    with Progress(*columns, console=Console(stderr=True)) as shown:
        line = shown.add_task("", total=total)
        yield lambda told, done: shown.update(line, advance=done, description=told)
