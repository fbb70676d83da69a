"""What a change of task costs: against copying the weights that change, and against opening a whole model for the task.

`python -m colora.benchmarks.switching` prints the table and writes the record, for the shipped backbone and for NAFNet
w32 (29 M parameters; random weights, adapters of 7 %). The process that measures loads no torch.
"""

import tempfile
from collections.abc import Callable, Mapping
from dataclasses import asdict
from functools import partial
from itertools import cycle
from pathlib import Path
from typing import Any

import click
import numpy as np
from colora.benchmarks.fleet import make_fleet
from colora.benchmarks.networks import BACKBONES, RANDOM, make_bundle
from colora.benchmarks.record import Environment, environment, path_of, warn_if_dirty, write_record
from colora.benchmarks.resident import in_fresh_process
from colora.benchmarks.scenarios import PEERS, open_model
from colora.benchmarks.script import output_option, run, threads_option
from colora.benchmarks.tables import heading, markdown, show
from colora.benchmarks.timing import interleave, paired_ratio, summary
from colora.runtime.atomic import write_text
from colora.runtime.backend_ort import OrtBackend
from colora.runtime.bundle import WEIGHTS, open_bundle
from colora.runtime.merge import GraphTensors
from colora.runtime.mixture import Part
from colora.runtime.session import GOLDEN_TOLERANCE
from colora.runtime.switch import Switcher

PACKAGES = ("numpy", "onnxruntime", "onnx", "onnxsim", "torch")
COPY, REFIT, HOT, OPEN = (
    "copy in memory",
    "switch, refit",
    "switch, merged, hot task",
    "open a merged ONNX file",
)
BY_COPY, BY_OPEN, HOT_MS = "switch / copy", "switch / open", "hot task, ms"
TARGETS = {BY_COPY: 3.0, BY_OPEN: 1 / 8, HOT_MS: 1.0}
"""What a switch may cost."""
MEASURED = {
    COPY: "Every graph tensor that one of the two tasks changes, from one array to another (numpy).",
    REFIT: "Policy `refit`, to the other of two tasks that were proven before, no picture: from the task's name to "
    "weights in place and the pages of the mapped source weights released.",
    HOT: "The same under policy `merged`, the graphs of both tasks open.",
    OPEN: "InferenceSession over the file with the other task merged in, default options, files in the page cache; "
    "it is dropped afterwards, untimed.",
    "times": "All four by turns in one process, in rounds, the order rotating, 50 ms apart; 3 rounds of warm-up. "
    "Ratios are taken within each round; their quartiles are given.",
    "source_resident_bytes": "Of the mapped source weights, right after a switch: Rss of its line in /proc/self/smaps.",
    "nafnet-sidd-w32": "NAFNet w32 (2, 2, 4, 8 + 12 + 2, 2, 2, 2 blocks), random weights, and two random adapters that "
    "store 7 % of its numbers, the same share for each kernel.",
}
"""How the numbers came about; part of the record."""


def measure(bundle: str, tasks: str, models: str, threads: str, rounds: str) -> dict[str, Any]:
    """tasks, models: two of each, comma-separated, in the same order. Nothing here loads torch."""
    opened, names = open_bundle(bundle), tasks.split(",")
    graph = partial(OrtBackend.open, threads=int(threads))
    tolerance = GOLDEN_TOLERANCE[opened.manifest.precision]
    refit = Switcher(opened, graph, "refit", None, tolerance)
    merged = Switcher(opened, graph, "merged", 2, tolerance)
    source = GraphTensors(opened)
    changed = source.touched(*((Part(opened.read_task(name), 1.0),) for name in names))
    weights = {name: tensor.copy() for name, tensor in source.under((), changed)}
    copies = {name: np.empty_like(tensor) for name, tensor in weights.items()}
    sessions: list[Any] = []

    def copy() -> None:
        for name, tensor in weights.items():
            copies[name][...] = tensor

    def turns(switcher: Switcher) -> Callable[[], object]:
        for name in names:
            switcher.switch(name, 1.0)
        following = cycle(names)
        return lambda: switcher.switch(next(following), 1.0)

    files, switch = cycle(models.split(",")), turns(refit)
    calls: dict[str, Callable[[], object]] = {
        COPY: copy,
        REFIT: switch,
        HOT: turns(merged),
        OPEN: lambda: sessions.append(open_model(next(files), PEERS["default"], int(threads))),
    }
    times = interleave(calls, int(rounds), between=sessions.clear)
    switch()
    resident = mapped_bytes(Path(bundle) / WEIGHTS)
    ratios = {
        BY_COPY: paired_ratio(times[REFIT], times[COPY]),
        BY_OPEN: paired_ratio(times[REFIT], times[OPEN]),
        HOT_MS: paired_ratio(times[HOT], [1.0] * len(times[HOT])),
    }
    return {
        "changed_tensors": len(changed),
        "changed_bytes": sum(tensor.nbytes for tensor in weights.values()),
        "source_bytes": (Path(bundle) / WEIGHTS).stat().st_size,
        "source_resident_bytes": resident,
        "times": {name: asdict(summary(ms)) for name, ms in times.items()},
        "ratios": {name: asdict(ratio) for name, ratio in ratios.items()},
    }


def mapped_bytes(path: Path) -> int:
    """Of the file at `path`, in memory because this process maps it. Linux."""
    resident, inside = 0, False
    for line in Path("/proc/self/smaps").read_text().splitlines():
        first = line.split(" ", 1)[0]
        if "-" in first:  # a mapping begins: addresses, rights, …, path
            inside = line.endswith(str(path.resolve()))
        elif inside and first == "Rss:":
            resident += 1024 * int(line.split()[1])
    return resident


TIMES = ("backbone", "changed by a switch", "W0 resident", "call", "ms p50", "ms p95")
RATIOS = ("backbone", "ratio", "median", "quartiles", "target")


Rows = list[tuple[str, ...]]


def tables(results: Mapping[str, Any]) -> tuple[Rows, Rows]:
    """Of times and of ratios."""
    times: Rows = []
    ratios: Rows = []
    for name, found in results.items():
        changed = f"{found['changed_bytes'] / 1e6:.1f} MB, {found['changed_tensors']} tensors"
        resident = f"{found['source_resident_bytes'] / 1e6:.1f} of {found['source_bytes'] / 1e6:.1f} MB"
        for call, x in found["times"].items():
            times.append((name, changed, resident, call, f"{x['ms_p50']:.2f}", f"{x['ms_p95']:.2f}"))
        for ratio, x in found["ratios"].items():
            quartiles = f"{x['p25']:.3f} – {x['p75']:.3f}"
            ratios.append((name, ratio, f"{x['p50']:.3f}", quartiles, f"≤ {TARGETS[ratio]:g}"))
    return times, ratios


def page(results: Mapping[str, Any], where: Environment) -> str:
    """Both tables, and how it was measured."""
    times, ratios = tables(results)
    notes = "\n".join(f"- {name}: {told}" for name, told in MEASURED.items())
    parts = (
        heading("switching", where),
        markdown(TIMES, times, left=4),
        markdown(RATIOS, ratios, left=2),
        notes,
    )
    return "\n".join(parts) + "\n"


@click.command()
@click.option(
    "--backbone",
    "backbones",
    multiple=True,
    default=("nafnet-small", *RANDOM),
    show_default=True,
    help=BACKBONES,
)
@click.option(
    "--bundle",
    type=click.Path(exists=True, file_okay=False, path_type=Path),
    help="One with two tasks, instead of exporting --backbone.",
)
@click.option("--passes", help="Of the export, comma-separated.  [default: the target's]")
@threads_option
@click.option("--rounds", default=30, show_default=True, type=click.IntRange(2))
@output_option
def command(
    backbones: tuple[str, ...],
    bundle: Path | None,
    passes: str | None,
    threads: int,
    rounds: int,
    output: Path,
) -> None:
    """A change of task against copying the weights that change, and against opening a whole model."""
    where = environment(PACKAGES)
    warn_if_dirty(where)
    results = {}
    for name in (bundle.name,) if bundle else backbones:
        with tempfile.TemporaryDirectory() as temporary:
            folder = Path(temporary)
            click.echo(f"{name} …", err=True)
            made = bundle or make_bundle(name, folder, passes.split(",") if passes else None)
            members = make_fleet(made, folder / "models", 2)
            results[name] = in_fresh_process(
                "colora.benchmarks.switching:measure",
                made,
                ",".join(m.task for m in members),
                ",".join(str(m.model) for m in members),
                str(threads),
                str(rounds),
            )
    times, ratios = tables(results)
    show(TIMES, times, left=4)
    show(RATIOS, ratios, left=2)
    path = path_of(output, where, "switching")
    settings = {"passes": passes, "threads": threads, "rounds": rounds}
    write_record(
        path,
        "switching",
        where,
        {"settings": settings, "measured": MEASURED, "targets": TARGETS, "backbones": results},
    )
    write_text(path.with_suffix(".md"), page(results, where))
    click.echo(f"{path} and .md")


if __name__ == "__main__":
    run(command)
