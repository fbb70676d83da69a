"""Memory of N tasks: colora's two policies against N fully tuned models, measured and predicted.

`python -m colora.benchmarks.scenario_memory BUNDLE` prints the table and writes a record. Linux only.
"""

import os
import tempfile
from collections.abc import Callable, Iterable, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass
from pathlib import Path

import click
from colora.benchmarks.memory_held import REFIT, SYSTEMS
from colora.benchmarks.memory_laws import LAWS
from colora.benchmarks.memory_measure import (
    Fleet,
    Reading,
    available_bytes,
    disk_bytes,
    empty,
    make_models,
    readings,
)
from colora.benchmarks.memory_model import Facts, facts_of
from colora.benchmarks.record import RESULTS, environment, record_path, warn_if_dirty, write_record
from colora.benchmarks.resident import Memory
from colora.benchmarks.scenario_latency import lines
from colora.benchmarks.script import run
from colora.benchmarks.section import Cell, Column, Plot, Section, Series
from colora.benchmarks.settings import Settings
from colora.devices.errors import BackendError
from colora.devices.probe import probe
from colora.runtime.bundle import open_bundle

MB = 1e6
SPARE = 0.8
"""Of the memory or disk that is free: more is not taken."""
PACKAGES = ("numpy", "onnxruntime", "openvino", "torch")
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
    Column("empty process", "MB", "Rss of a process that only imported numpy and the package"),
    Column("ratio", "×", "RSS against colora's one backbone with as many tasks; above 1: it takes more"),
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
    def error(self) -> float | None:
        """Of the prediction, as a share."""
        if self.reading is None or self.predicted_bytes is None:
            return None
        return self.predicted_bytes / self.reading.memory.rss_bytes - 1


def section(bundle: Path, settings: Settings, report: Callable[[str], None]) -> Section:
    """Measure. Raises: BundleError for a bundle that shares no backbone or has no task; BackendError off Linux."""
    notes: list[str] = []
    bases = bare(notes)
    counts = tuple(sorted(set(settings.counts)))
    report("memory: whole models to compare with")
    fitting = fit_disk(counts, 2 * weights_of(bundle, settings), settings.scratch)
    if fitting != counts:
        notes.append(f"Too little disk for {max(counts)} whole models: extrapolated from {max(fitting)} on.")
    fleet = make_models(bundle, settings.scratch / "fleet", max(fitting))
    facts = facts_of(fleet.bundle, settings.size)
    rows = measure(fleet, facts, bases, counts, fitting, settings, report)
    extrapolated = [row for row in rows if row.reading is None]
    if extrapolated:
        notes.append(f"{len(extrapolated)} of {len(rows)} rows are extrapolated by the model and marked so.")
    shuffled = sum(member.origin != "bundle" for member in fleet.members)
    if shuffled:
        notes.append(
            f"{shuffled} of {len(fleet.members)} tasks are the bundle's with their numbers in random order: right "
            "in size, without meaning."
        )
    notes += [f"{name}: {system.told}." for name, system in SYSTEMS.items()]
    notes.append(gpu_note())
    return Section(
        "memory",
        "Memory: one backbone and adapters, or N tuned models",
        sentence(rows),
        COLUMNS,
        tuple(cells(row, rows) for row in rows),
        (curve(rows),),
        tuple(notes),
    )


def bare(notes: list[str]) -> dict[str, Memory]:
    """Empty processes by package; what is not installed is noted and left out."""
    found = {}
    for package, extra in {s.package: s.extra for s in SYSTEMS.values()}.items():
        try:
            found[package] = empty(package)
        except BackendError as e:
            if "ModuleNotFoundError" not in str(e) and "MissingExtra" not in str(e):
                raise
            notes.append(f"Not measured: {package} is not installed: pip install 'colora[{extra}]'")
    return found


def weights_of(bundle: Path, settings: Settings) -> int:
    """Bytes of one model's weights."""
    return facts_of(open_bundle(bundle), settings.size).weights


def fit_disk(counts: tuple[int, ...], each: int, folder: Path) -> tuple[int, ...]:
    """Those counts of whole models that there is room for; at least the smallest."""
    room = SPARE * disk_bytes(folder) / max(each, 1)
    return tuple(n for n in counts if n <= room) or counts[:1]


def measure(
    fleet: Fleet, facts: Facts, bases: Mapping[str, Memory], counts: tuple[int, ...], fitting: tuple[int, ...],
    settings: Settings, report: Callable[[str], None],
) -> list[Row]:  # fmt: skip
    """Rows of every system whose package is there, in the order of SYSTEMS; those left out are extrapolated."""
    systems = [name for name, system in SYSTEMS.items() if system.package in bases]
    free = available_bytes()
    beside = max(1, min(2, (os.cpu_count() or 1) // max(1, settings.threads))) if settings.threads else 1
    seconds = beside * settings.seconds / len(systems)

    def one(system: str) -> list[Row]:
        base = bases[SYSTEMS[system].package]
        possible = fit_memory(system, fitting, facts, base, free // beside)
        report(f"memory: {system}")
        given = {"size": settings.size, "threads": settings.threads}
        found = readings(fleet, system, possible, base, **given, seconds=seconds) if possible else []
        by_tasks = {reading.tasks: reading for reading in found}
        return [
            make_row(fleet, facts, system, n, by_tasks.get(n), base, why(n, fitting, possible))
            for n in counts
        ]

    with ThreadPoolExecutor(beside) as pool:
        return [row for rows in pool.map(one, systems) for row in rows]


def fit_memory(system: str, counts: Iterable[int], facts: Facts, base: Memory, free: int) -> tuple[int, ...]:
    """Those counts whose predicted memory is free; all of them where nothing predicts it."""
    law = LAWS.get(system)
    return tuple(n for n in counts if law is None or law.bytes(facts, n) + base.rss_bytes <= SPARE * free)


def why(tasks: int, fitting: tuple[int, ...], possible: tuple[int, ...]) -> str:
    """A count was not measured."""
    if tasks not in fitting:
        return f"{PREDICTED}: too little disk for so many models"
    if tasks not in possible:
        return f"{PREDICTED}: too little memory for so many models"
    return f"{PREDICTED}: more time than was set"


def make_row(
    fleet: Fleet, facts: Facts, system: str, tasks: int, reading: Reading | None, base: Memory, left_out: str
) -> Row:
    """Figures of one system and count. Files of tasks that were not made are as large as the others on average."""
    made = min(tasks, len(fleet.members))
    files = fleet.files_bytes(system, made)
    if made < tasks:
        files += round((tasks - made) * (files - fleet.files_bytes(system, 0)) / made)
    once = not SYSTEMS[system].whole
    law = LAWS.get(system)
    return Row(
        system,
        tasks,
        files,
        facts.weights + tasks * facts.adapter if once else tasks * facts.weights,
        reading,
        law.bytes(facts, tasks) if law else None,
        base.rss_bytes,
        MEASURED if reading else left_out,
    )


def cells(row: Row, rows: list[Row]) -> tuple[Cell, ...]:
    """Of the table."""
    ours = next((r.rss_bytes for r in rows if r.system == REFIT and r.tasks == row.tasks), None)
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
        mb(row.empty_bytes),
        round(row.rss_bytes / ours, 3) if row.rss_bytes and ours else None,
        row.how,
    )


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
    text = f"{tasks} tasks take {(ours.rss_bytes or 0) / MB:,.0f} MB as one backbone with adapters"
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
            name = f"{system} ({PREDICTED})"
            series.append(Series(name, tuple(x for x, _ in left), tuple(y for _, y in left)))
    return Plot("Resident memory of N tasks", "tasks", "RSS above an empty process, MB", tuple(series))


def gpu_note() -> str:
    """What is said of GPU memory."""
    gpus = probe().gpus
    if not gpus:
        return "No CUDA row: no NVIDIA GPU was found (nvidia-smi, NVML)."
    names = ", ".join(gpu.name for gpu in gpus)
    return f"No CUDA row: memory of {names} is not measured by this scenario; these rows are of the CPU."


@click.command()
@click.argument("bundle", type=click.Path(exists=True, file_okay=False, path_type=Path))
@click.option(
    "--tasks", "counts", multiple=True, type=click.IntRange(1, 64), help="[default: 1, 2, 4, 8, 16]"
)
@click.option("--size", default=256, show_default=True, help="Side of the picture in px.")
@click.option("--threads", default=1, show_default=True, help="Of every network; 0: the backend's choice.")
@click.option("--seconds", default=90.0, show_default=True, help="To spend on measuring, about.")
@click.option(
    "-o", "--output", default=RESULTS, show_default=True, type=click.Path(path_type=Path), help="Folder."
)
def command(
    bundle: Path, counts: tuple[int, ...], size: int, threads: int, seconds: float, output: Path
) -> None:
    """Memory of N tasks of BUNDLE: one backbone with adapters against N whole models, measured and predicted."""
    where = environment(PACKAGES)
    warn_if_dirty(where)
    with tempfile.TemporaryDirectory() as folder:
        given = Settings(Path(folder), size=size, threads=threads, seconds=seconds)
        given = Settings(Path(folder), size, threads=threads, seconds=seconds, counts=counts or given.counts)
        found = section(bundle, given, lambda text: click.echo(text, err=True))
    for line in lines(found):
        click.echo(line)
    path = record_path(output, where, "onnxruntime")
    path = path.with_name(f"memory-systems-{path.name}")
    settings = asdict(given) | {"scratch": "", "pairs": []}
    write_record(path, "memory-systems", where, {"settings": settings, "section": asdict(found)})
    click.echo(f"record: {path}")


if __name__ == "__main__":
    run(command)
