"""What became slower from one commit to another: `python -m colora.benchmarks.regressions A.json B.json`.

A and B are saved by pytest-benchmark (`make suites` with SAVE=name, or --benchmark-json). On a machine that others use
both differ by chance, so a row is called slower or faster only if the medians differ by more than a threshold and the
middle halves of the rounds don't touch.
"""

import json
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import click
from colora.benchmarks.script import run
from colora.devices.errors import ReportError
from colora.runtime.cli_devices import table

Verdict = Literal["slower", "faster", "", "new", "gone"]


@dataclass(frozen=True)
class Bench:
    """One benchmark of a saved run, in seconds."""

    name: str
    q1: float
    median: float
    q3: float
    rounds: int


@dataclass(frozen=True)
class Saved:
    """A run."""

    commit: str
    machine: dict[str, Any]
    benches: dict[str, Bench]


def read_saved(path: Path) -> Saved:
    """Raises: ReportError for a file that pytest-benchmark did not save."""
    try:
        told = json.loads(path.read_text("utf-8"))
        benches = {
            each["fullname"]: Bench(
                each["fullname"], *(each["stats"][name] for name in ("q1", "median", "q3", "rounds"))
            )
            for each in told["benchmarks"]
        }
        commit = str(told["commit_info"].get("id", ""))[:7] + (
            "+" if told["commit_info"].get("dirty") else ""
        )
        return Saved(commit, told["machine_info"], benches)
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as e:
        raise ReportError(
            f"{path}: expected a run saved by pytest-benchmark ({type(e).__name__}: {e}): make one by "
            "pytest benchmarks --benchmark-only --benchmark-json=FILE"
        ) from e


def verdict(before: Bench | None, after: Bench | None, threshold: float) -> Verdict:
    """threshold: relative difference of medians that is worth a word."""
    if before is None:
        return "new"
    if after is None:
        return "gone"
    if after.median > before.median * (1 + threshold) and after.q1 > before.q3:
        return "slower"
    if before.median > after.median * (1 + threshold) and before.q1 > after.q3:
        return "faster"
    return ""


def regressions(a: Saved, b: Saved, threshold: float) -> tuple[list[str], list[str]]:
    """The table as lines, the worst first; and the names of what became slower."""
    rows = []
    for name in [*a.benches, *(name for name in b.benches if name not in a.benches)]:
        before, after = a.benches.get(name), b.benches.get(name)
        ratio = after.median / before.median if before and after else None
        rows.append((name, before, after, ratio, verdict(before, after, threshold)))
    rows.sort(key=lambda row: -(row[3] or 0.0))
    header = ("benchmark", f"{a.commit or 'A'}, ms", f"{b.commit or 'B'}, ms", "ratio", "rounds", "")
    lines = [
        (
            name,
            _ms(before),
            _ms(after),
            f"{ratio:.2f}" if ratio else "–",
            "/".join(str(bench.rounds) if bench else "–" for bench in (before, after)),
            told,
        )
        for name, before, after, ratio, told in rows
    ]
    return table([header, *lines]), [row[0] for row in rows if row[4] == "slower"]


def differences(a: Saved, b: Saved) -> list[str]:
    """What is not alike about the machines; it may be the reason of everything else."""
    return [
        f"{name}: {a.machine.get(name)} and {b.machine.get(name)}"
        for name in sorted({*a.machine, *b.machine})
        if a.machine.get(name) != b.machine.get(name)
    ]


def _ms(bench: Bench | None) -> str:
    return f"{bench.median * 1e3:.3f} ({bench.q1 * 1e3:.3f} – {bench.q3 * 1e3:.3f})" if bench else "–"


@click.command()
@click.argument("a", type=click.Path(exists=True, dir_okay=False, path_type=Path))
@click.argument("b", type=click.Path(exists=True, dir_okay=False, path_type=Path))
@click.option(
    "--threshold", default=0.1, show_default=True, type=click.FloatRange(0), help="Difference of medians."
)
@click.option("--fail", is_flag=True, help="Exit code 1 if anything became slower.")
def command(a: Path, b: Path, threshold: float, fail: bool) -> None:
    """Medians and quartiles of A and B, two runs of the suites, the worst ratio first."""
    before, after = read_saved(a), read_saved(b)
    for line in differences(before, after):
        click.echo(f"not the same machine: {line}", err=True)
    lines, slower = regressions(before, after, threshold)
    for line in lines:
        click.echo(line)
    click.echo(f"{len(slower)} slower by more than {threshold:.0%}, quartiles apart: {_listed(slower)}")
    sys.exit(1 if fail and slower else 0)


def _listed(names: Sequence[str]) -> str:
    return ", ".join(names) or "none"


if __name__ == "__main__":
    run(command)
