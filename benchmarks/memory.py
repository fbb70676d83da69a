"""Files and resident memory of N tasks: one backbone plus adapters against N fully tuned models; and latency.

`python -m colora.benchmarks.memory` prints the tables and writes the record and a plot. Linux only.
"""

import shutil
import tempfile
from collections.abc import Iterable, Sequence
from dataclasses import asdict
from pathlib import Path

import click
from colora.benchmarks.fleet import Member, make_fleet, separate_bytes, shared_bytes
from colora.benchmarks.memory_rows import SHARED, Row, make_ratios, make_row, median
from colora.benchmarks.memory_view import plot, print_tables
from colora.benchmarks.record import RESULTS, environment, record_path, warn_if_dirty, write_record
from colora.benchmarks.resident import Memory, in_fresh_process
from colora.benchmarks.scenarios import PEERS
from colora.benchmarks.script import run
from colora.benchmarks.zoo_bundle import zoo_bundle
from colora.runtime.bundle import open_bundle

PACKAGES = ("numpy", "onnxruntime", "onnx", "onnxsim", "torch")

MEASURED = {
    "files_bytes": "Shared: all files of the bundle (the backbone is in it twice: in the graph's coordinates and in "
    "the trained ones) and the N adapters. Whole models: graph.onnx and graph.data of each of N tasks.",
    "memory": "Rss, Pss, Anonymous of /proc/self/smaps_rollup and VmHWM of /proc/self/status, at the end of a fresh "
    "process that held all N tasks and ran each once at the size given; less the same of `empty`, a process that only "
    "imported numpy and ONNX Runtime. Median of the repeats. PSS also depends on what else runs and maps the same "
    "libraries; RSS does not.",
    SHARED: "One colora session, policy refit, every adapter resident, every task checked on its golden input (64×64) "
    "and run once.",
    "whole models": "ONNX Runtime over N ONNX files, which are the bundle's own graph with one task's weights merged "
    "in; settings under `peers`. That graph has fewer operators than a plain export of the trained network.",
    "tasks": "Origin `bundle`: an adapter that was there. Origin `shuffled`: the numbers of one in random order, so "
    "that ranks and sizes are real and the weights are others; what such a task restores means nothing.",
    "latency": "All calls by turns in one process, in rounds, the order rotating, 50 ms apart; 3 rounds of warm-up. "
    "Ratios are taken within each round; their quartiles are given.",
}
"""How the numbers came about; part of the record."""


def measure(
    bundle: Path, members: Sequence[Member], counts: Iterable[int], *, size: int, threads: int, repeats: int
) -> tuple[Memory, list[Row]]:
    """The empty process, and a row for each system and count, each run in processes of its own."""
    module = "colora.benchmarks.scenarios"

    def runs(function: str, *args: str) -> list[Memory]:
        return [Memory(**in_fresh_process(f"{module}:{function}", *args)) for _ in range(repeats)]

    empty = median(runs("empty", str(size)))
    rows = []
    for n in progress(list(counts), "resident memory"):
        first = members[:n]
        tasks, models = ",".join(m.task for m in first), ",".join(str(m.model) for m in first)
        held = runs("shared", str(bundle), tasks, str(size), str(threads))
        rows.append(make_row(SHARED, n, shared_bytes(bundle, first), held, empty))
        for peer in PEERS:
            held = runs("separate", peer, models, str(size), str(threads))
            rows.append(make_row(peer, n, separate_bytes(first), held, empty))
    return empty, rows


def progress(items: list[int], told: str) -> Iterable[int]:
    """The items, with a bar on stderr."""
    from rich.console import Console
    from rich.progress import track

    return track(items, told, console=Console(stderr=True))


@click.command()
@click.option(
    "--bundle",
    type=click.Path(exists=True, file_okay=False, path_type=Path),
    help="[default: exported from the zoo]",
)
@click.option("--backbone", default="nafnet-small", show_default=True, help="Of the zoo, without --bundle.")
@click.option(
    "--tasks", "counts", multiple=True, type=click.IntRange(1, 64), default=(1, 2, 4, 8), show_default=True
)
@click.option("--all", "all_", is_flag=True, help="1, 2, 3 … up to the largest of --tasks.")
@click.option(
    "--size", default=256, show_default=True, help="Side of the picture in px; a multiple of the backbone's."
)
@click.option("--threads", default=0, show_default=True, help="Of one run; 0: ONNX Runtime's choice.")
@click.option(
    "--repeats",
    default=3,
    show_default=True,
    type=click.IntRange(1),
    help="Processes for each memory figure.",
)
@click.option("--rounds", default=30, show_default=True, type=click.IntRange(2), help="Of the latencies.")
@click.option(
    "-o", "--output", default=RESULTS, show_default=True, type=click.Path(path_type=Path), help="Folder."
)
def command(
    bundle: Path | None,
    backbone: str,
    counts: tuple[int, ...],
    all_: bool,
    size: int,
    threads: int,
    repeats: int,
    rounds: int,
    output: Path,
) -> None:
    """Files, resident memory and latency of N tasks: one backbone plus adapters against N fully tuned models."""
    where = environment(PACKAGES)
    warn_if_dirty(where)
    counts = tuple(range(1, max(counts) + 1)) if all_ else tuple(sorted(set(counts)))
    with tempfile.TemporaryDirectory() as folder:
        work = Path(folder) / "bundle"
        if bundle:
            shutil.copytree(bundle, work)  # tasks are added to it
        else:
            zoo_bundle(work, backbone)
        manifest = open_bundle(work).manifest
        members = make_fleet(work, Path(folder) / "models", max(2, *counts))
        empty, rows = measure(work, members, counts, size=size, threads=threads, repeats=repeats)
        pair = (",".join(m.task for m in members[:2]), ",".join(str(m.model) for m in members[:2]))
        click.echo("latency …", err=True)
        latencies = in_fresh_process(
            "colora.benchmarks.latency:latency", work, *pair, str(size), str(threads), str(rounds)
        )
        tasks = [
            {"task": m.task, "origin": m.origin, "adapter_bytes": m.adapter.stat().st_size} for m in members
        ]
    ratios = make_ratios(rows)
    print_tables(rows, ratios, latencies)
    path = record_path(output, where, "onnxruntime")
    content = {
        "settings": {
            "backbone": manifest.backbone,
            "backbone_sha256": manifest.backbone_sha256,
            "size_px": size,
            "threads": threads,
            "repeats": repeats,
        },
        "tasks": tasks,
        "peers": {peer.name: peer.told for peer in PEERS.values()},
        "measured": MEASURED,
        "empty_process": asdict(empty),
        "memory": [asdict(row) for row in rows],
        "ratios": [asdict(ratio) for ratio in ratios],
        "latency": latencies,
    }
    write_record(path, "memory", where, content)
    plot(rows, path.with_suffix(".png"))
    click.echo(f"{path} and {path.with_suffix('.png')}")


if __name__ == "__main__":
    run(command)
