"""What an experiment found, for people: means over tasks and seeds, a plot, and how that compares with the paper."""

import math
import statistics
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

Result = Mapping[str, Any]
"""as `experiment_runs.perform` gives it"""


@dataclass(frozen=True)
class Claim:
    """The paper: line `better` lies above line `other` by so many dB (below 0: under it)."""

    better: str
    other: str
    paper_db: Mapping[Any, float]
    """along the axis; empty where the paper says nothing"""


@dataclass(frozen=True)
class Point:
    """One task, or the mean of all, on one line at one place of the axis."""

    task: str
    line: str
    at: Any
    psnr_db: float
    gain_db: float
    """over the input"""
    runs: int


MEAN = "mean"


def label(result: Result, line: str) -> str:
    """Name of the line that a run is on: the fields of Run that `line` joins by "+"."""
    return ", ".join(str(result["run"][field]) for field in line.split("+"))


def points(results: Sequence[Result], line: str, axis: str) -> list[Point]:
    """Means over seeds by task; and over tasks, where there are several that all have it."""
    tasks = list(dict.fromkeys(r["run"]["task"] for r in results))
    found = []
    for name, at in dict.fromkeys((label(r, line), r["run"][axis]) for r in results):
        cell = [r for r in results if (label(r, line), r["run"][axis]) == (name, at)]
        by_task = {task: [r for r in cell if r["run"]["task"] == task] for task in tasks}
        for task, part in by_task.items():
            if part:
                found.append(_point(task, name, at, part))
        if len(tasks) > 1 and all(by_task.values()):
            found.append(_point(MEAN, name, at, cell))
    return found


def _point(task: str, line: str, at: Any, part: Sequence[Result]) -> Point:
    db = statistics.fmean(r["psnr_db"] for r in part)
    gain = statistics.fmean(r["psnr_db"] - r["input_db"] for r in part)
    return Point(task, line, at, db, gain, len(part))


def judge(results: Sequence[Result], claim: Claim, line: str, axis: str) -> list[str]:
    """A sentence for each place of the axis: the gap between the two lines, mean and standard error over pairs of runs
    that differ in nothing else, beside the paper's."""

    def apart(result: Result) -> tuple[Any, ...]:
        return tuple(value for field, value in result["run"].items() if field not in line.split("+"))

    by_line = {
        name: {apart(r): r["psnr_db"] for r in results if label(r, line) == name}
        for name in (claim.better, claim.other)
    }
    told = []
    for at in dict.fromkeys(r["run"][axis] for r in results):
        here = {apart(r) for r in results if r["run"][axis] == at}
        shared = [key for key in by_line[claim.better] if key in here and key in by_line[claim.other]]
        gaps = [by_line[claim.better][key] - by_line[claim.other][key] for key in shared]
        if gaps:
            told.append(
                f"{axis} {at}: {claim.better} - {claim.other} {_against(gaps, claim.paper_db.get(at))}"
            )
    return told


def _against(gaps: Sequence[float], paper: float | None) -> str:
    mean = statistics.fmean(gaps)
    error = statistics.stdev(gaps) / math.sqrt(len(gaps)) if len(gaps) > 1 else math.inf
    told = f"{mean:+.2f} dB" + (f" ± {error:.2f} ({len(gaps)} runs)" if len(gaps) > 1 else " (one run)")
    if paper is None:
        return told
    if abs(mean - paper) <= 2 * error and len(gaps) > 1:
        verdict = "agrees with the paper within two standard errors"
    elif len(gaps) == 1:
        verdict = "one run can't tell"
    elif mean * paper < 0 and abs(mean) > 2 * error:
        verdict = "CONTRADICTS the paper's sign"
    else:
        verdict = "differs from the paper, " + ("smaller" if mean < paper else "larger")
    return f"{told}; paper {paper:+.2f}: {verdict}"


def _rows(told: Sequence[Point]) -> tuple[list[Any], list[tuple[str, str, list[str]]]]:
    """(places of the axis, (task, line, cells))."""
    places = list(dict.fromkeys(p.at for p in told))
    rows = []
    tasks = [*(task for task in dict.fromkeys(p.task for p in told) if task != MEAN), MEAN]
    for task, line in sorted(
        dict.fromkeys((p.task, p.line) for p in told), key=lambda row: tasks.index(row[0])
    ):
        at = {p.at: p for p in told if (p.task, p.line) == (task, line)}
        rows.append(
            (task, line, [f"{at[x].psnr_db:.2f} ({at[x].gain_db:+.2f})" if x in at else "–" for x in places])
        )
    return places, rows


def print_table(told: Sequence[Point], title: str, line: str, axis: str) -> None:
    """PSNR in dB and gain over the input, by task and line along the axis, aligned."""
    from rich.console import Console
    from rich.table import Table

    places, rows = _rows(told)
    table = Table("task", line, *(f"{axis} {at}" for at in places))
    for column in table.columns[2:]:
        column.justify, column.no_wrap = "right", True
    for (task, name, cells), following in zip(rows, [*rows[1:], None], strict=True):
        table.add_row(task, name, *cells, end_section=following is None or following[0] != task)
    print(f"{title}; PSNR in dB (over the input)")
    Console(width=max(80, 24 + 17 * (len(places) + 1))).print(table)


def markdown(
    told: Sequence[Point], title: str, line: str, axis: str, scale: str, sentences: Sequence[str]
) -> str:
    """The same, with the sentences below."""
    places, rows = _rows(told)
    lines = [f"# {title}", "", f"| task | {line} | " + " | ".join(f"{axis} {at}" for at in places) + " |"]
    lines += ["| --- | --- |" + " ---: |" * len(places)]
    lines += [f"| {task} | {name} | " + " | ".join(cells) + " |" for task, name, cells in rows]
    lines += [
        "",
        f"PSNR in dB on the test pairs (gain over the input), means over seeds. Scale: {scale}.",
        "",
    ]
    return "\n".join([*lines, *(f"- {sentence}" for sentence in sentences)]) + "\n"


def plot(told: Sequence[Point], title: str, axis: str, path: Path) -> None:
    """Gain over the input along the axis as PNG, a panel for each task and the mean; bars where there is one place."""
    from matplotlib.figure import Figure

    tasks = list(dict.fromkeys(p.task for p in told))
    figure = Figure(figsize=(3.2 * len(tasks) + 1.5, 3.6), layout="constrained")
    for axes, task in zip(figure.subplots(1, len(tasks), squeeze=False)[0], tasks, strict=True):
        places = list(dict.fromkeys(p.at for p in told if p.task == task))
        lines = list(dict.fromkeys(p.line for p in told if p.task == task))
        for n, line in enumerate(lines):
            mine = [p for p in told if (p.task, p.line) == (task, line)]
            along, gains = [places.index(p.at) for p in mine], [p.gain_db for p in mine]
            if len(places) == 1:
                axes.bar((n - (len(lines) - 1) / 2) / len(lines), gains, 0.8 / len(lines), label=line)
            else:
                axes.plot(along, gains, marker="o", label=line)
        axes.set_xticks(range(len(places)), [str(place) for place in places], fontsize=8)
        axes.set(xlabel=axis, title=task)
        axes.grid(alpha=0.3)
    figure.axes[0].set_ylabel("gain over the input (dB)")
    handles, labels = figure.axes[-1].get_legend_handles_labels()
    figure.legend(handles, labels, loc="outside lower center", ncols=len(labels), fontsize=8)
    figure.suptitle(title, fontsize=10)
    figure.savefig(path, dpi=120)
