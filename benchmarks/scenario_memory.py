"""Memory of N tasks: colora's two policies against N fully tuned models, measured and predicted.

`python -m colora.benchmarks.scenario_memory BUNDLE` prints the table and writes a record and a plot. Linux only.
"""

import os
import tempfile
import time
from collections.abc import Callable, Iterable, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path

import click
from colora.benchmarks.memory_gpu import used_bytes
from colora.benchmarks.memory_laws import FITTED_PX, LAWS
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
from colora.benchmarks.memory_systems import EVERY, GPU_SYSTEMS, SYSTEMS
from colora.benchmarks.memory_table import (
    COLUMNS,
    MEASURED,
    PREDICTED,
    Row,
    cells,
    curve,
    gpu_curve,
    not_measured,
    sentence,
)
from colora.benchmarks.memory_view import save
from colora.benchmarks.record import environment, warn_if_dirty
from colora.benchmarks.resident import Memory
from colora.benchmarks.script import output_option, run
from colora.benchmarks.section import Section
from colora.benchmarks.section_record import keep
from colora.benchmarks.settings import Settings
from colora.devices.errors import BackendError
from colora.runtime.bundle import open_bundle

SPARE = 0.8
"""Of the memory or disk that is free: more is not taken."""
PACKAGES = ("numpy", "onnxruntime", "openvino", "torch")


def section(bundle: Path, settings: Settings, report: Callable[[str], None]) -> Section:
    """Measure. Raises: BundleError for a bundle that shares no backbone or has no task; BackendError off Linux."""
    begin, notes, absent = time.monotonic(), list[str](), dict[str, str]()
    bases = bare(absent)
    counts = tuple(sorted(set(settings.counts)))
    report("memory: whole models to compare with")
    fitting = fit_disk(counts, 2 * weights_of(bundle, settings), settings.scratch)
    if fitting != counts:
        notes.append(f"Too little disk for {max(counts)} whole models: extrapolated from {max(fitting)} on.")
    fleet = make_models(bundle, settings.scratch / "fleet", max(fitting))
    facts = facts_of(fleet.bundle, settings.size)
    left = max(settings.seconds - (time.monotonic() - begin), settings.seconds / 2)
    on_gpu = used_bytes() is not None
    given = replace(settings, seconds=left / (1 + on_gpu))
    gpu_rows = measure_gpu(fleet, facts, fitting, given, absent, report) if on_gpu else []
    rows = measure(fleet, facts, bases, counts, fitting, given, report)
    extrapolated = [row for row in rows if row.reading is None]
    if extrapolated:
        notes.append(f"{len(extrapolated)} of {len(rows)} rows are extrapolated by the model and marked so.")
    if not FITTED_PX[0] <= settings.size <= FITTED_PX[1]:
        fitted = f"{FITTED_PX[0]} to {FITTED_PX[1]} px"
        notes.append(
            f"The model was fitted at {fitted}; at {settings.size} px it may be further off than there."
        )
    shuffled = sum(member.origin != "bundle" for member in fleet.members)
    if shuffled:
        notes.append(
            f"{shuffled} of {len(fleet.members)} tasks are the bundle's with their numbers in random order: right "
            "in size, without meaning."
        )
    notes += [f"{name}: {system.told}." for name, system in SYSTEMS.items()]
    notes += [f"{row}: {GPU_SYSTEMS[row].told}." for row in dict.fromkeys(r.system for r in gpu_rows)]
    if not on_gpu:
        absent |= dict.fromkeys(GPU_SYSTEMS, "no NVIDIA GPU answered (nvidia-smi, NVML)")
    return Section(
        "memory",
        "Memory: one backbone and adapters, or N tuned models",
        sentence(rows),
        COLUMNS,
        (
            *(cells(row, every) for every in (rows, gpu_rows) for row in every),
            *(not_measured(name, why) for name, why in absent.items()),
        ),
        (curve(rows), gpu_curve(gpu_rows)) if gpu_rows else (curve(rows),),
        tuple(notes),
    )


def bare(absent: dict[str, str]) -> dict[str, Memory]:
    """Empty processes by package. absent: the systems of those that are not installed are added, with the reason."""
    found = {}
    for package, extra in {s.package: s.extra for s in SYSTEMS.values()}.items():
        try:
            found[package] = empty(package)
        except BackendError as e:
            if "ModuleNotFoundError" not in str(e) and "MissingExtra" not in str(e):
                raise
            without = [name for name, system in SYSTEMS.items() if system.package == package]
            absent |= dict.fromkeys(without, f"{package} is not installed: pip install 'colora[{extra}]'")
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


def measure_gpu(
    fleet: Fleet, facts: Facts, counts: tuple[int, ...], settings: Settings, absent: dict[str, str],
    report: Callable[[str], None],
) -> list[Row]:  # fmt: skip
    """Rows of what runs on the GPU, one system after another. absent: what does not run here is added."""
    rows = []
    for name, system in GPU_SYSTEMS.items():
        report(f"memory: {name}")
        try:
            base = empty(system.package)
            found = readings(
                fleet, name, counts, base, size=settings.size, threads=settings.threads,
                seconds=settings.seconds / len(GPU_SYSTEMS),
            )  # fmt: skip
        except BackendError as e:
            absent[name] = str(e)
            continue
        rows += [make_row(fleet, facts, name, r.tasks, r, base) for r in found]
    return rows


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
    fleet: Fleet,
    facts: Facts,
    system: str,
    tasks: int,
    reading: Reading | None,
    base: Memory,
    left_out: str = "",
) -> Row:
    """Figures of one system and count. Files of tasks that were not made are as large as the others on average."""
    made = min(tasks, len(fleet.members))
    files = fleet.files_bytes(system, made)
    if made < tasks:
        files += round((tasks - made) * (files - fleet.files_bytes(system, 0)) / made)
    once = not EVERY[system].whole
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


@click.command()
@click.argument("bundle", type=click.Path(exists=True, file_okay=False, path_type=Path))
@click.option(
    "--tasks", "counts", multiple=True, type=click.IntRange(1, 64), help="[default: 1, 2, 4, 8, 16]"
)
@click.option("--size", default=256, show_default=True, help="Side of the picture in px.")
@click.option("--threads", default=1, show_default=True, help="Of every network; 0: the backend's choice.")
@click.option("--seconds", default=90.0, show_default=True, help="To spend on measuring, about.")
@output_option
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
    path = keep(found, "memory-systems", given, where, output)
    save(found.plots[0], path.with_suffix(".png"))


if __name__ == "__main__":
    run(command)
