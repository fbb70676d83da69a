"""The table of the memory scenario: its rows, and the sentence and plot made of them."""

from dataclasses import dataclass

from colora.benchmarks.memory_gpu import HOW
from colora.benchmarks.memory_measure import Reading
from colora.benchmarks.memory_systems import REFIT
from colora.benchmarks.section import Cell, Column, Plot, Series

MB = 1e6
SMAPS = "smaps_rollup of a fresh process, less an empty one of its package"

COLUMNS = (
    Column("tasks kept as"),
    Column("N", "tasks"),
    Column("files", "MB", "sizes of the files that the system needs for these tasks"),
    Column(
        "weights",
        "MB",
        "counted: files of weights in use, once for each whole model; for one backbone with adapters",
    ),
    Column("RSS", "MB", f"Rss, {SMAPS}, after each task restored one or two pictures"),
    Column("PSS", "MB", f"Pss, {SMAPS}; also depends on who else maps the same libraries"),
    Column("predicted", "MB", "of RSS, from file sizes and the manifest alone: benchmarks/memory_laws.py"),
    Column("error", "%", "predicted against measured RSS"),
    Column("peak, loading", "MB", "VmHWM of the same process until then, less RSS of the empty one"),
    Column(
        "peak, switching", "MB", "VmHWM, set back before, over a change to the first task and its picture"
    ),
    Column("GPU", "MB", HOW),
    Column(
        "empty process",
        "MB",
        "Rss of a process that only imported numpy and the package; all of PyTorch's code",
    ),
    Column(
        "ratio",
        "×",
        "RSS against colora's one backbone with as many tasks, of what runs on a GPU its memory against the first such "
        "row; above 1: it takes more",
    ),
    Column("how"),
)
MEASURED, PREDICTED = "measured", "extrapolated"


@dataclass(frozen=True)
class Row:
    """One system with so many tasks; memory above an empty process."""

    system: str
    tasks: int
    files_bytes: int
    weights_bytes: int
    reading: Reading | None
    """None: not measured"""
    predicted_bytes: int | None
    """None: nothing to predict by"""
    empty_bytes: int
    how: str

    @property
    def rss_bytes(self) -> int | None:
        """Measured where it was, else predicted."""
        return self.reading.memory.rss_bytes if self.reading else self.predicted_bytes

    @property
    def gpu_bytes(self) -> int | None:
        """Of what runs on a GPU."""
        return self.reading.gpu_bytes if self.reading else None

    @property
    def error(self) -> float | None:
        """Of the prediction, as a share."""
        if self.reading is None or self.predicted_bytes is None:
            return None
        return self.predicted_bytes / self.reading.memory.rss_bytes - 1


def cells(row: Row, rows: list[Row]) -> tuple[Cell, ...]:
    """Of the table."""
    read, error = row.reading, row.error
    measured: tuple[Cell, Cell] = (None, None)
    peaks: tuple[Cell, Cell] = (None, None)
    if read:
        measured = mb(read.memory.rss_bytes), mb(read.memory.pss_bytes)
        peaks = mb(read.memory.peak_rss_bytes), mb(read.switch_peak_bytes)
    return (
        row.system,
        row.tasks,
        mb(row.files_bytes),
        mb(row.weights_bytes),
        *measured,
        mb(row.predicted_bytes),
        None if error is None else round(100 * error, 1),
        *peaks,
        mb(read.gpu_bytes) if read else None,
        mb(row.empty_bytes),
        ratio(row, [r for r in rows if r.tasks == row.tasks]),
        row.how,
    )


def not_measured(system: str, why: str) -> tuple[Cell, ...]:
    """Of the table, for a system that does not run here."""
    return (system, *[None] * (len(COLUMNS) - 2), f"not measured: {why}")


def ratio(row: Row, rows: list[Row]) -> float | None:
    """To colora's row among those of as many tasks, or to the first on a GPU."""
    if row.gpu_bytes is not None:
        first = next(r.gpu_bytes for r in rows if r.gpu_bytes is not None)
        return round(row.gpu_bytes / first, 3) if first > 0 else None
    ours = next((r.rss_bytes for r in rows if r.system == REFIT), None)
    return round(row.rss_bytes / ours, 3) if row.rss_bytes and ours else None


def mb(value: int | None) -> float | None:
    """Bytes as MB, to a tenth."""
    return None if value is None else round(value / MB, 1)


def sentence(rows: list[Row]) -> str:
    """The finding: at the largest count, ours against the best and the worst peer that holds all models open."""
    tasks = max(row.tasks for row in rows)
    last = {row.system: row for row in rows if row.tasks == tasks and row.rss_bytes}
    if REFIT not in last:
        return "colora itself could not be measured here."
    ours = last.pop(REFIT)
    how = ours.how.partition(":")[0]
    text = f"{tasks} tasks take {(ours.rss_bytes or 0) / MB:,.0f} MB ({how}) as one backbone with adapters"
    told = [
        f"{row.rss_bytes / (ours.rss_bytes or 1):.2f} times that ({row.how.partition(':')[0]}) as {row.system}"
        for row in sorted(last.values(), key=lambda row: row.rss_bytes or 0)
        if row.rss_bytes
    ]
    errors = [abs(row.error) for row in rows if row.error is not None]
    close = f" The model is within {max(errors):.0%} of every row measured." if errors else ""
    return f"{text}; {', '.join(told)}.{close}" if told else f"{text}.{close}"


def curve(rows: list[Row]) -> Plot:
    """Resident memory against the number of tasks: measured points, and the model's lines."""
    series = []
    for system in dict.fromkeys(row.system for row in rows):
        own = [row for row in rows if row.system == system]
        points = [(row.tasks, row.reading.memory.rss_bytes / MB) for row in own if row.reading]
        if points:
            series.append(Series(system, tuple(x for x, _ in points), tuple(y for _, y in points)))
        left = [
            (row.tasks, row.predicted_bytes / MB) for row in own if not row.reading and row.predicted_bytes
        ]
        if left:
            name = f"{system}: {PREDICTED}"
            series.append(Series(name, tuple(x for x, _ in left), tuple(y for _, y in left)))
    return Plot("Resident memory of N tasks", "tasks", "RSS above an empty process, MB", tuple(series))


def gpu_curve(rows: list[Row]) -> Plot:
    """GPU memory against the number of tasks."""
    series = []
    for system in dict.fromkeys(row.system for row in rows):
        points = [(row.tasks, row.gpu_bytes / MB) for row in rows if row.system == system and row.gpu_bytes]
        if points:
            series.append(Series(system, tuple(x for x, _ in points), tuple(y for _, y in points)))
    return Plot("GPU memory of N tasks", "tasks", "used on the GPU, MB", tuple(series))
