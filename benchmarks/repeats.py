"""Whether equal runs agree within the intervals that they state: `python -m colora.benchmarks.repeats BUNDLE`.

It runs the latency scenario several times, and asks of every ordered pair of runs and every figure with an interval
whether the second run's figure lies in the first run's interval. `--of A.json --of B.json …` asks it of reports or
records that are there already.
"""

import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import asdict, replace
from itertools import permutations
from pathlib import Path

import click
from colora.benchmarks.demand import Demand, write_demands
from colora.benchmarks.figures import Found, figures_of, read_figures
from colora.benchmarks.record import FORMAT, environment, path_of, warn_if_dirty
from colora.benchmarks.scenario_latency import PACKAGES, section
from colora.benchmarks.script import output_option, run
from colora.benchmarks.settings import Settings
from colora.devices.errors import ReportError

LEAST = 0.9
"""Of the pairs that agree."""
SHORT = Settings(Path(), size=128, sizes=(64, 128), rounds=8, seconds=14.0)
"""A run of about 20 s."""

MEASURED = {
    "runs": "The whole latency scenario with short settings, one run after the other, every part in fresh processes.",
    "agree": "Share of the ordered pairs of runs in which the figure of one lies within the interval that the other "
    "states for an equal run (confidence 0.95).",
    "width": "Median over figures and runs of the distance between the interval's ends, relative to the figure: "
    "agreement alone could be had with intervals that are too wide to be of use.",
}
"""How the numbers came about; part of the record."""


def agreement(runs: Sequence[Mapping[str, Found]]) -> dict[str, float]:
    """Name of each figure that has an interval in all runs → share of ordered pairs that agree.

    Raises: ReportError for fewer than two runs, or no such figure.
    """
    names = [name for name in runs[0] if all(_stated(run.get(name)) for run in runs)] if len(runs) > 1 else []
    if not names:
        raise ReportError(
            f"{len(runs)} runs have no figure with an interval in common: expected two runs or more of one scenario"
        )
    pairs = list(permutations(runs, 2))
    return {name: sum(_within(a[name], b[name]) for a, b in pairs) / len(pairs) for name in names}


def judge(runs: Sequence[Mapping[str, Found]]) -> list[Demand]:
    """The worst figures, and all of them together."""
    shares = agreement(runs)
    widths = sorted(_width(run[name]) for run in runs for name in shares)
    demands = [Demand(name, share, "of pairs") for name, share in shares.items()]
    return [
        *sorted(demands, key=lambda demand: demand.value),
        Demand("width of the intervals", widths[len(widths) // 2], "of the figure"),
        Demand(
            f"{len(runs)} runs, {len(shares)} figures: agree",
            sum(shares.values()) / len(shares),
            "of pairs",
            least=LEAST,
        ),
    ]


def measure(bundle: Path, settings: Settings, runs: int) -> list[Mapping[str, Found]]:
    """The figures of each run. Raises: what the latency scenario raises."""
    found = []
    for number in range(runs):
        with tempfile.TemporaryDirectory() as folder:
            click.echo(f"run {number + 1} of {runs} …", err=True)
            one = section(bundle, replace(settings, scratch=Path(folder), seed=number), lambda told: None)
        record = {"format": FORMAT, "kind": "latency", "environment": {}, "section": asdict(one)}
        found.append(figures_of(record, "a run").figures)
    return found


def _stated(found: Found | None) -> bool:
    return found is not None and found.low is not None


def _within(a: Found, b: Found) -> bool:
    return a.low is not None and a.high is not None and a.low <= b.value <= a.high


def _width(found: Found) -> float:
    return ((found.high or 0.0) - (found.low or 0.0)) / found.value if found.value else 0.0


@click.command()
@click.argument("bundle", required=False, type=click.Path(exists=True, file_okay=False, path_type=Path))
@click.option("--runs", default=6, show_default=True, type=click.IntRange(2))
@click.option(
    "--of",
    "files",
    multiple=True,
    type=click.Path(exists=True, dir_okay=False, path_type=Path),
    help="A report or record, several, instead of measuring BUNDLE.",
)
@output_option
def command(bundle: Path | None, runs: int, files: tuple[Path, ...], output: Path) -> None:
    """Run the latency scenario on BUNDLE several times: is each run's figure where the others say?"""
    if (bundle is None) == (not files):
        raise click.UsageError("expected either BUNDLE or --of, twice or more")
    where = environment(PACKAGES)
    warn_if_dirty(where)
    found = measure(bundle, SHORT, runs) if bundle else [read_figures(file).figures for file in files]
    path = path_of(output, where, "repeats")
    settings = asdict(SHORT) | {"scratch": "", "runs": len(found)}
    content = {
        "settings": settings,
        "figures": [{name: asdict(f) for name, f in run.items()} for run in found],
    }
    click.echo(write_demands(path, "repeats", where, judge(found), MEASURED, content))
    click.echo(f"{path} and .md")


if __name__ == "__main__":
    run(command)
