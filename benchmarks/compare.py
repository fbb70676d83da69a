"""Two reports, or two records of one kind, figure by figure: `colora bench --compare A.json B.json`."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from colora.benchmarks.figures import Found, read_figures
from colora.benchmarks.report_axis import written
from colora.devices.errors import ReportError
from colora.runtime.cli_devices import table

SAME = 0.01
"""Relative difference below which a figure is only counted."""
MACHINE = ("cpu", "cores", "memory_bytes", "os", "governor", "python", "packages", "power_mode", "gpus")


def compare(a: Path, b: Path) -> list[str]:
    """Lines for a terminal: what differs about the machines, then the figures that differ, then counts.

    Raises: ReportError for files that are no records, are of another version, or of different kinds.
    """
    before, after = read_figures(a), read_figures(b)
    if before.kind != after.kind:
        raise ReportError(
            f"{a} is of the kind {before.kind!r} and {b} of {after.kind!r}: compare two of one kind"
        )
    lines = [
        f"{name}: {where.get('date_utc', '')[:16]} commit {where.get('commit', '')[:7] or 'none'}"
        f"{'' if where.get('clean_tree') else ', not clean'}"
        for name, where in (("A", before.environment), ("B", after.environment))
    ]
    lines += _differences("machine", before.environment, after.environment, MACHINE)
    lines += _differences("settings", before.settings, after.settings, (*before.settings, *after.settings))
    rows, same = [("figure", "A", "B", "B / A", "")], 0
    for name, old in before.figures.items():
        new = after.figures.get(name)
        if new is None:
            continue
        if abs(new.value - old.value) <= SAME * abs(old.value):
            same += 1
            continue
        ratio = f"{new.value / old.value:.3f}" if old.value else "–"
        unit = f", {old.unit}" if old.unit else ""
        rows.append((f"{name}{unit}", _told(old), _told(new), ratio, _verdict(old, new)))
    if len(rows) > 1:
        lines += table(rows)
    lines.append(f"{same} figures within {SAME:.0%}, {len(rows) - 1} not")
    for name, these, others in (("A", before.figures, after.figures), ("B", after.figures, before.figures)):
        alone = [figure for figure in these if figure not in others]
        if alone:
            lines.append(f"only in {name}: {len(alone)}, {'; '.join(alone[:3])}{' …' if alone[3:] else ''}")
    return lines


def _verdict(old: Found, new: Found) -> str:
    """Whether each value lies where the other run says that an equal run's does."""
    if old.low is None or old.high is None:
        return ""
    return "as an equal run" if old.low <= new.value <= old.high else "outside A's interval"


def _told(found: Found) -> str:
    if found.low is None or found.high is None:
        return written(found.value)
    return f"{written(found.value)} ({written(found.low)} to {written(found.high)})"


def _differences(what: str, a: Mapping[str, Any], b: Mapping[str, Any], names: tuple[str, ...]) -> list[str]:
    return [
        f"{what}: {name}: {a.get(name)} and {b.get(name)}"
        for name in dict.fromkeys(names)
        if a.get(name) != b.get(name)
    ]
