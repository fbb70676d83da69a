"""Memory of eight tasks against what is asked: a quarter of eight sessions, and little above one session and adapters.

`python -m colora.benchmarks.footprint` prints the table and writes the record. Linux only.
"""

import json
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Mapping
from pathlib import Path

import click
from colora.benchmarks import footprint_run
from colora.benchmarks.demand import Demand, write_demands
from colora.benchmarks.fleet import make_fleet
from colora.benchmarks.networks import BACKBONES, RANDOM
from colora.benchmarks.record import environment, path_of, warn_if_dirty
from colora.benchmarks.resident import Memory, in_fresh_process, median, parse_memory
from colora.benchmarks.scenarios import PEERS
from colora.benchmarks.script import output_option, run, threads_option

PACKAGES = ("numpy", "onnxruntime", "onnx", "torch")
PEER_MOST, SELF_MOST = 0.25, 1.15
STATES = {"used": "each task has run once", "rest": "then activations were given back"}
MB = 1e6

MEASURED = {
    "memory": "Rss of /proc/self/smaps_rollup at the end of a fresh process, less that of one that only imported numpy "
    "and ONNX Runtime: median of the repeats. All pages count, those of mapped files too; the JSON has Pss, anonymous "
    "pages and peaks as well.",
    "used": "After every task restored one picture of the size given, in a process that went on holding all.",
    "rest": "After that and `Session.trim`; for ONNX Runtime the same by hand: a run with "
    "memory.enable_memory_arena_shrinkage in each session, and malloc_trim of the C library.",
    "colora": "load(backend='ort', policy='refit'): one graph, all adapters resident, each proven on its golden input.",
    "one session and adapters": "The same session that ran the backbone alone, plus the sizes of the adapter files.",
    "eight sessions": "ONNX Runtime over eight ONNX files, each the bundle's own graph with one task merged in; the "
    "settings that take least memory of those listed under `peers`.",
    "tasks": "Those of the bundle, then their numbers in random order: right in size, without meaning. A backbone "
    "called random has random weights and adapters of 7 %, in float16 as training writes them, because no trained one "
    "of that size is shipped.",
}
"""How the numbers came about; part of the record."""

Figures = dict[str, dict[str, Memory]]
"""System → state → memory above an empty process."""


def measure(
    folder: Path, bundle: Path, tasks: int, size: int, threads: int, repeats: int
) -> tuple[Figures, int]:
    """Memory of every system, and the bytes of the adapter files."""
    members = make_fleet(bundle, folder / "models", tasks)
    names, models = ",".join(m.task for m in members), ",".join(str(m.model) for m in members)
    texts = [
        json.loads(
            subprocess.run([sys.executable, "-c", footprint_run.BARE], capture_output=True, check=True).stdout
        )
        for _ in range(repeats)
    ]
    empty = median([parse_memory(text) for text in texts])
    given = {"colora": ("colora", str(bundle), names), "colora, backbone alone": ("colora", str(bundle), "")}
    given |= {name: ("peer", name, models) for name in PEERS}
    figures: Figures = {}
    for system, (function, *args) in given.items():
        click.echo(f"{system} …", err=True)
        where = f"colora.benchmarks.footprint_run:{function}"
        runs = [in_fresh_process(where, *args, str(size), str(threads)) for _ in range(repeats)]
        figures[system] = {s: median([Memory(**reading[s]) for reading in runs]) - empty for s in STATES}
    return figures, sum(m.adapter.stat().st_size for m in members)


def judge(backbone: str, tasks: int, figures: Figures, adapter_bytes: int) -> list[Demand]:
    """Every system's memory, and the ratios that are asked for, in both states."""
    demands = []
    for state, told in STATES.items():
        rss = {system: f[state].rss_bytes for system, f in figures.items()}
        best = min(PEERS, key=lambda name: rss[name])
        where = f"{backbone}, {tasks} tasks, {told}"
        demands += [Demand(f"{where}: {system}", rss[system] / MB, "MB") for system in figures]
        one = rss["colora, backbone alone"] + adapter_bytes
        demands += [
            Demand(
                f"{where}: colora",
                rss["colora"] / rss[best],
                most=PEER_MOST,
                against=f"{tasks} sessions, {best}",
            ),
            Demand(
                f"{where}: colora", rss["colora"] / one, most=SELF_MOST, against="one session and adapters"
            ),
        ]
    return demands


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
    help="A copy of it is used, instead of exporting --backbone.",
)
@click.option("--tasks", default=8, show_default=True, type=click.IntRange(2, 64))
@click.option("--size", default=256, show_default=True, help="Side of the picture in px.")
@threads_option
@click.option(
    "--repeats", default=2, show_default=True, type=click.IntRange(1), help="Processes for each figure."
)
@output_option
def command(
    backbones: tuple[str, ...],
    bundle: Path | None,
    tasks: int,
    size: int,
    threads: int,
    repeats: int,
    output: Path,
) -> None:
    """Memory of many tasks by one backbone with adapters, against as many whole models in ONNX Runtime."""
    where = environment(PACKAGES)
    warn_if_dirty(where)
    demands: list[Demand] = []
    rows: dict[str, Mapping[str, Mapping[str, int]]] = {}
    for backbone in ("bundle",) if bundle else backbones:
        with tempfile.TemporaryDirectory() as text:
            folder = Path(text)
            work = folder / "bundle"
            if bundle:
                shutil.copytree(bundle, work)
            else:
                in_fresh_process("colora.benchmarks.networks:export", backbone, str(folder))
            figures, adapter_bytes = measure(folder, work, tasks, size, threads, repeats)
        demands += judge(backbone, tasks, figures, adapter_bytes)
        rows[backbone] = {
            system: {f"{s}_{k}": v for s, m in states.items() for k, v in vars(m).items()}
            for system, states in figures.items()
        }
    path = path_of(output, where, "footprint")
    settings = {"size_px": size, "tasks": tasks, "threads": threads, "repeats": repeats}
    content = {
        "settings": settings,
        "peers": {name: peer.told for name, peer in PEERS.items()},
        "memory": rows,
    }
    click.echo(write_demands(path, "footprint", where, demands, MEASURED, content))
    click.echo(f"{path} and .md")


if __name__ == "__main__":
    run(command)
