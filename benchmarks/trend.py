"""Headline figures over the commits of main: `python -m colora.benchmarks.trend` writes one page that opens offline.

Every record that was ever committed under benchmarks/results is read from git, those of unclean commits and of formats
that this version doesn't read apart, and put where its own commit stands.
"""

import json
import re
import subprocess
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

import click
from colora.benchmarks.figures import Recorded, figures_of
from colora.benchmarks.record import RESULTS
from colora.benchmarks.report_html import fill, shown
from colora.benchmarks.script import run
from colora.benchmarks.section import Column, Plot, Section, Series
from colora.devices.errors import ReportError
from colora.runtime.atomic import write_text


@dataclass(frozen=True)
class Headline:
    """A plot of one kind of record."""

    title: str
    y: str
    pattern: str
    """Of names of figures (see figures.py); its groups name the line."""


HEADLINES: dict[str, tuple[Headline, ...]] = {
    "memory-systems": (
        Headline("RSS of eight tasks", "MB", r"memory / (.+) / 8 / measured / RSS"),
        Headline("RSS of eight tasks against ours", "×", r"memory / (.+) / 8 / measured / ratio"),
    ),
    "footprint": (
        Headline(
            "Eight tasks against eight sessions at their best, in use",
            "×",
            r"demands / (.+), 8 tasks, each task has run once: colora / 8 sessions.* / value",
        ),
        Headline(
            "The same, once activations were given back",
            "×",
            r"demands / (.+), 8 tasks, then activations were given back: colora / 8 sessions.* / value",
        ),
        Headline(
            "Eight tasks against one session and adapters, in use",
            "×",
            r"demands / (.+), 8 tasks, each task has run once: colora / one session.* / value",
        ),
    ),
    "compiled": (
        Headline(
            "Compiled graph against a plain export",
            "×",
            r"latency / (\d+ / .*(?:blocks|shuffle)) / ratio_to_plain_p50",
        ),
    ),
    "switching": (
        Headline("A change of task, in place", "ms", r"backbones / (.+) / times / switch, refit / ms_p50"),
        Headline(
            "A change of task against opening a model",
            "×",
            r"backbones / (.+) / ratios / switch / open / p50",
        ),
    ),
    "start": (
        Headline("Start to first picture", "ms", r"demands / ((?:first|later) start|bare .* script) / value"),
    ),
    "quality": (
        Headline("PSNR with adapter", "dB", r"(?:nafnet-small / )?scores / (.+) / adapter / psnr_db"),
        Headline(
            "PSNR of the backbone alone", "dB", r"(?:nafnet-small / )?scores / (.+) / backbone / psnr_db"
        ),
    ),
    "soak": (Headline("Growth of memory in a soak", "share", r"(growth)"),),
    "latency": (
        Headline("A picture by backend and policy", "ms", r"latency / picture / (.+) / p50"),
        Headline("A change of task", "ms", r"latency / change of task / (.+) / p50"),
        Headline("Starts", "ms", r"latency / (\w+ start / .+) / p50"),
    ),
}
"""Kind of record → what is shown of it."""
RATIOS = ("ms", "bytes", "×")
"""Units in which twice as much is a meaningful thing to say."""


@dataclass(frozen=True)
class Kept:
    """A record as it stood in one commit."""

    file: str
    recorded: Recorded

    @property
    def place(self) -> str:
        """Where it stands on the axis: day, and commit that was measured."""
        where = self.recorded.environment
        return f"{where['date_utc'][5:10]} {where['commit'][:7]}"


def history(repository: Path, folder: Path = RESULTS) -> tuple[list[Kept], list[str]]:
    """Every version of every record, by the time it was measured, and why some are left out.

    Raises: ReportError where git has no such history.
    """
    listing = _git(
        repository,
        "log",
        "--format=%x00%H",
        "--name-only",
        "--diff-filter=AM",
        "--",
        f"{folder.as_posix()}/*.json",
    )
    versions: dict[tuple[str, str], Kept] = {}
    left_out = []
    for block in listing.split("\0")[1:]:
        commit, *files = block.split()
        for file in files:
            if PurePosixPath(file).parent != PurePosixPath(folder.as_posix()):
                continue
            name = f"{PurePosixPath(file).name} of {commit[:7]}"
            try:
                recorded = figures_of(json.loads(_git(repository, "show", f"{commit}:{file}")), name)
            except (ReportError, ValueError) as e:
                left_out.append(str(e))
                continue
            if not recorded.environment.get("clean_tree"):
                left_out.append(f"{name}: not of a clean commit")
                continue
            kept = Kept(PurePosixPath(file).stem, recorded)
            versions[kept.file, recorded.environment["date_utc"]] = kept
    if not listing.strip():
        raise ReportError(
            f"{repository}: git has no record under {folder}; run it in a checkout with its history"
        )
    return sorted(versions.values(), key=lambda kept: str(kept.recorded.environment["date_utc"])), left_out


def sections(kept: Iterable[Kept]) -> list[Section]:
    """One for each kind of record that has headlines, with a plot for each of those."""
    everything = list(kept)
    found = []
    for kind, headlines in HEADLINES.items():
        mine = [each for each in everything if each.recorded.kind == kind]
        several = len({each.file for each in mine}) > 1
        rows, plots = [], []
        for headline in headlines:
            lines = _lines(mine, headline, several)
            if not lines:
                continue
            plots.append(Plot(headline.title, "commit", headline.y, tuple(lines)))
            rows += [
                (
                    headline.title,
                    line.name,
                    line.y[0],
                    line.y[-2] if line.y[1:] else None,
                    line.y[-1],
                    _change(line.y, headline.y),
                    len(line.y),
                )
                for line in lines
            ]
        if rows:
            columns = ("figure", "of", "first", "before", "last")
            change = Column("last / before", "×", "above 1: the figure grew")
            found.append(
                Section(
                    kind,
                    kind.capitalize(),
                    _said(rows),
                    (*(Column(name) for name in columns), change, Column("records")),
                    tuple(rows),
                    tuple(plots),
                )
            )
    return found


def _lines(kept: Sequence[Kept], headline: Headline, several: bool) -> list[Series]:
    """several: files, so that lines are named after theirs."""
    points: dict[str, dict[str, float]] = {}
    for each in kept:
        for name, figure in each.recorded.figures.items():
            match = re.fullmatch(headline.pattern, name)
            if match:
                line = f"{match[1]}, {each.file}" if several else match[1]
                points.setdefault(line, {})[each.place] = figure.value
    places = list(dict.fromkeys(each.place for each in kept))
    series = []
    for line, values in points.items():
        x = [place for place in places if place in values]
        series.append(Series(line, tuple(x), tuple(values[place] for place in x)))
    return series


def _change(y: Sequence[float], unit: str) -> float | None:
    return y[-1] / y[-2] if len(y) > 1 and y[-2] > 0 and unit in RATIOS else None


def _said(rows: Sequence[tuple[str | float | int | None, ...]]) -> str:
    changed = [(change, row) for row in rows if isinstance(change := row[5], float)]
    if not changed:
        return ""
    change, most = max(changed, key=lambda one: max(one[0], 1 / one[0]))
    return f"Most changed by the last record: {most[0]}, {most[1]}: {change:.2f} times what it was."


def _git(repository: Path, *args: str) -> str:
    try:
        done = subprocess.run(["git", *args], cwd=repository, capture_output=True, text=True)
    except OSError as e:
        raise ReportError(f"{repository}: no git ({e})") from e
    if done.returncode:
        raise ReportError(f"{repository}: {done.stderr.strip()}")
    return done.stdout


@click.command()
@click.option(
    "-o", "--output", default="trend.html", show_default=True, type=click.Path(dir_okay=False, path_type=Path)
)
@click.option(
    "--repository", default=".", show_default=True, type=click.Path(file_okay=False, path_type=Path)
)
def command(output: Path, repository: Path) -> None:
    """Draw the headline figures of every record in git, commit by commit."""
    kept, left_out = history(repository)
    for reason in left_out:
        click.echo(f"left out: {reason}", err=True)
    told = (
        f"{len(kept)} records of {len({each.place for each in kept})} measurements, {len(left_out)} left out"
    )
    write_text(output, fill("trend.html", {"sections": shown(sections(kept)), "told": told}))
    click.echo(f"{output}: {told}")


if __name__ == "__main__":
    run(command)
