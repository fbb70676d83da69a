"""The figures of the memory record: rows of measured memory, and what the ratios between them are."""

import statistics
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass, fields

from colora.benchmarks.resident import Memory

SHARED = "one backbone + adapters"


@dataclass(frozen=True)
class Row:
    """One system holding some tasks; memory is above that of an empty process."""

    system: str
    tasks: int
    files_bytes: int
    rss_bytes: int
    pss_bytes: int
    anonymous_bytes: int
    peak_rss_bytes: int
    rss_spread_bytes: int
    """Largest minus smallest RSS of the repeats."""


@dataclass(frozen=True)
class RowRatio:
    """Whole models divided by the shared backbone, at the same number of tasks: above 1, sharing takes less."""

    system: str
    tasks: int
    files: float
    rss: float
    pss: float
    peak_rss: float


def make_row(system: str, tasks: int, files_bytes: int, runs: Sequence[Memory], empty: Memory) -> Row:
    """Medians of the runs, less those of an empty process."""
    above = median(runs) - empty
    spread = max(run.rss_bytes for run in runs) - min(run.rss_bytes for run in runs)
    return Row(system, tasks, files_bytes, **asdict(above), rss_spread_bytes=spread)


def median(runs: Sequence[Memory]) -> Memory:
    """Field by field."""
    return Memory(*(round(statistics.median(getattr(run, f.name) for run in runs)) for f in fields(Memory)))


def make_ratios(rows: Iterable[Row]) -> list[RowRatio]:
    """For each row of whole models, its ratio to the shared row of as many tasks."""
    rows = list(rows)
    ours = {row.tasks: row for row in rows if row.system == SHARED}
    return [
        RowRatio(
            row.system,
            row.tasks,
            files=row.files_bytes / ours[row.tasks].files_bytes,
            rss=row.rss_bytes / ours[row.tasks].rss_bytes,
            pss=row.pss_bytes / ours[row.tasks].pss_bytes,
            peak_rss=row.peak_rss_bytes / ours[row.tasks].peak_rss_bytes,
        )
        for row in rows
        if row.system != SHARED
    ]
