"""How costs grow with pixels, tasks, parameters and threads: laws y = a·x^b, and where each bends.

`python -m colora.benchmarks.scenario_scaling` prints the laws and writes the record; `--full` goes on to 8K, 64 tasks
and 116 M parameters, can be stopped and goes on where it was (at the same commit), and draws a plot. Linux only.
"""

from __future__ import annotations

import json
import os
import tempfile
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, replace
from importlib.util import find_spec
from pathlib import Path

import click
from colora.benchmarks.memory_measure import empty
from colora.benchmarks.record import environment, path_of, warn_if_dirty, write_record
from colora.benchmarks.resident import in_fresh_process
from colora.benchmarks.scenario_scaling_cases import (
    ADAPTERS,
    COMPILED,
    FULL,
    PARAMETERS,
    PEER,
    PIXELS,
    SMALL,
    TASKS,
    THREADS,
    WHOLE,
    Case,
    Grid,
    Store,
    Walk,
    compiled_graphs,
    many_tasks,
    model_case,
    session_case,
    walk,
)
from colora.benchmarks.scenario_scaling_rows import COLUMNS, MEASURED, laws_of, said
from colora.benchmarks.scenario_scaling_view import draw
from colora.benchmarks.script import output_option, run
from colora.benchmarks.section import Section
from colora.benchmarks.section_record import lines, page
from colora.benchmarks.settings import Settings
from colora.runtime.atomic import write_text
from colora.runtime.bundle import MANIFEST, Bundle, file_sha256, open_bundle

PACKAGES = ("numpy", "onnxruntime", "onnx", "torch")
EXPORT_S = 5.0
"""Of one small network: what a share of the time must have room for."""
SHARES = {PIXELS: 2.0, ADAPTERS: 2.0, WHOLE: 1.0, PARAMETERS: 4.0, THREADS: 1.0}
"""Of the time, what each walk may take."""


def section(bundle: Path, settings: Settings, report: Callable[[str], None]) -> Section:
    """The small grid within `settings.seconds`. Raises: BackendError, BundleError."""
    return scale(bundle, settings, report, SMALL, Store())


def scale(
    bundle: Path, settings: Settings, report: Callable[[str], None], grid: Grid, store: Store
) -> Section:
    """Measure a grid and fit its laws."""
    opened = open_bundle(bundle)
    bare = empty("onnxruntime").rss_bytes
    walks, notes = walk_all(opened, settings, report, grid, store)
    rows, plots = laws_of(walks, bare, opened.manifest.tile.when_above)
    notes += [f"{each.axis}, {each.way}: {each.why}" for each in walks if each.why]
    notes += [f"{name}: {told}" for name, told in MEASURED.items()]
    return Section("scaling", "How costs grow", said(rows), COLUMNS, rows, plots, tuple(notes))


def walk_all(
    bundle: Bundle, settings: Settings, report: Callable[[str], None], grid: Grid, store: Store
) -> tuple[list[Walk], list[str]]:
    """All axes that can be walked here, and why others can't."""
    begin, notes, walks = time.perf_counter(), [], []
    tasks = settings.tasks or bundle.tasks
    left = dict(SHARES)

    def seconds(name: str) -> float:
        """The share of what is left of the time."""
        share = left.pop(name) / (sum(left.values()) + SHARES[name])
        return max(settings.seconds - (time.perf_counter() - begin), 0) * share

    def go(axis: str, way: str, cases: Sequence[Case], budget: float) -> None:
        walks.append(walk(axis, way, cases, store, budget, report))

    def restored(x: float, label: str, policy: str, size: tuple[int, int], by: Settings = settings) -> Case:
        return session_case(x, label, bundle.path, tasks[:1], policy, by, grid, size)

    budget = seconds(PIXELS) / len(grid.policies)
    for policy in grid.policies:
        cases = [restored(h * w, f"{w}×{h}", policy, (h, w)) for h, w in grid.sides]
        go(PIXELS, policy, cases, budget)
    if bundle.manifest.kind == "shared" and tasks:
        budget = seconds(ADAPTERS)
        copies = settings.scratch / file_sha256(bundle.path / MANIFEST)[:12]
        work, names = many_tasks(bundle.path, copies, max(grid.tasks))
        many = [
            session_case(n, str(n), work, names[:n], "refit", settings, grid, (64, 64)) for n in grid.tasks
        ]
        go(TASKS, ADAPTERS, many, budget)
        whole = [
            model_case(n, str(n), bundle.path, copies / "models", n, PEER, settings, grid, 64)
            for n in grid.models
        ]
        go(TASKS, WHOLE, whole, seconds(WHOLE))
    else:
        notes.append("tasks: left out, for a bundle with one task merged in, or none, has nothing to switch")
    budget = seconds(PARAMETERS)
    widths = grid.widths[: int(min(budget / EXPORT_S, len(grid.widths)))]
    lacking = [name for name in ("torch", "onnxscript", "onnxsim") if find_spec(name) is None]
    if lacking:
        notes.append(f"parameters: left out, {lacking[0]} is missing: pip install 'colora[export]'")
    elif len(widths) < 2:
        notes.append(f"parameters: left out, {budget:.0f} s are too few for two networks; --full has them")
    else:
        report(f"{PARAMETERS}: networks of width {', '.join(map(str, widths))}")
        started = time.perf_counter()
        layout = "-".join(grid.blocks).replace(",", ".")
        graphs = compiled_graphs(settings.scratch / f"graphs-{layout}", grid, widths)
        budget -= time.perf_counter() - started
        cases = [
            model_case(n, f"{n / 1e6:.1f} M", folder, folder, 1, "default", settings, grid, settings.size)
            for n, folder in graphs.items()
        ]
        go(PARAMETERS, COMPILED, cases, budget)
    if (most := cores()) > 1:
        counts = sorted({*(2**i for i in range(most.bit_length())), most})
        square = (settings.size, settings.size)
        cases = [restored(n, str(n), "refit", square, replace(settings, threads=n)) for n in counts]
        go(THREADS, "refit", cases, seconds(THREADS))
    else:
        notes.append("threads: left out, this process may use one core")
    return walks, notes


def cores() -> int:
    """That this process may use."""
    return len(os.sched_getaffinity(0))


@click.command()
@click.option(
    "--bundle",
    type=click.Path(exists=True, file_okay=False, path_type=Path),
    help="Copied, not changed.  [default: the zoo's nafnet-small with its tasks, exported]",
)
@click.option("--full", is_flag=True, help="The whole range, for as long as it takes, and a plot.")
@click.option(
    "--seconds", type=click.FloatRange(1), help="At most, about.  [default: 45; with --full no limit]"
)
@click.option("--threads", default=1, show_default=True, help="Of one run; 0: ONNX Runtime's choice.")
@click.option(
    "--work", type=click.Path(path_type=Path),
    help="Folder that keeps networks and points: a stopped run goes on there.  [default with --full: build/scaling]",
)  # fmt: skip
@output_option
def command(
    bundle: Path | None, full: bool, seconds: float | None, threads: int, work: Path | None, output: Path
) -> None:
    """How time and memory grow with pixels, tasks, parameters and threads, and where that bends."""
    where = environment(PACKAGES)
    warn_if_dirty(where)
    work = work or (Path("build/scaling") if full else None)
    with tempfile.TemporaryDirectory() as temporary:
        folder = (work or Path(temporary)).resolve()
        folder.mkdir(parents=True, exist_ok=True)
        if bundle is None:
            bundle = folder / "bundle"
            if not bundle.exists():
                click.echo("nafnet-small: export …", err=True)
                in_fresh_process("colora.benchmarks.networks:export", "nafnet-small", folder)
        settings = Settings(folder, threads=threads, seconds=seconds or (1e9 if full else 45.0))
        sha256 = file_sha256(bundle / MANIFEST)
        told = json.dumps([where.commit, where.cpu, where.cores, where.packages, sha256])
        store = Store.open(folder, told) if work else Store()
        grid = FULL if full else SMALL
        found = scale(bundle, settings, lambda line: click.echo(f"{line} …", err=True), grid, store)
    path = path_of(output, where, "scaling")
    content = {
        "settings": {"full": full, "threads": threads, "seconds": seconds, "bundle_sha256": sha256},
        "section": asdict(found),
        "grid": asdict(grid),
    }
    write_record(path, "scaling", where, content)
    write_text(path.with_suffix(".md"), page(found, where))
    click.echo("\n".join(lines(found)))
    if drawn := full and bool(found.plots):
        draw(found, path.with_suffix(".png"))
    click.echo(f"{path} and .md{' and .png' if drawn else ''}")


if __name__ == "__main__":
    run(command)
