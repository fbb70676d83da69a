"""What engines of TensorRT for RTX take, by the builder's own word: a task merged against one fully tuned model each.

`python -m colora.benchmarks.engines` builds every shipped task for real, without a GPU, prints the table and writes it
as JSON and Markdown. Nothing here is run: an engine needs a board for that.
"""

from __future__ import annotations

import tempfile
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import click
import numpy as np
from colora.benchmarks.record import (
    Environment,
    environment,
    path_of,
    warn_if_dirty,
    write_record,
)
from colora.benchmarks.script import output_option, run
from colora.benchmarks.tables import heading, markdown, show
from colora.runtime.atomic import write_text
from colora.runtime.weights import Array

if TYPE_CHECKING:
    from colora.export.compile import Compiled
    from colora.runtime.engine import Built
    from colora.runtime.manifest import Shapes

PACKAGES = ("numpy", "onnx", "torch", "tensorrt-rtx")
TUNED, MERGED, SWITCHED = "fully tuned", "merged", "weights are inputs"
ALL = "all tasks"
CHANGE = 0.01
MEASURED = {
    "weights, activations": "what the builder reports when it has built (Total Weights Memory, Total Activation "
    "Memory); activations at the largest picture, one at a time",
    MERGED: "the adapter merged into the backbone's weights: an engine for each task; they run one after another, so "
    "that one block of activations serves all",
    TUNED: f"the same network with every weight changed (at random, by {CHANGE:.0%}, seed 0), as full tuning changes "
    "every one: an engine for each task, each with activations of its own, as separate models are served; one block "
    "for all of them would make the two alike, for an engine is as large whatever its weights",
    SWITCHED: "one engine whose switchable tensors are inputs: weights are those of the task that is bound, plus the "
    "adapters' numbers of all; whether it runs as fast as a merged one nobody has measured",
    "seconds": "of the build; on a machine that does nothing else only",
}


@dataclass(frozen=True)
class Row:
    """One engine, or the sum over all tasks."""

    precision: str
    compute_capability: str
    form: str
    task: str
    """or ALL"""
    file_bytes: int
    weight_bytes: int
    activation_bytes: int
    seconds: float

    @property
    def memory_bytes(self) -> int:
        """On the GPU, contexts and CUDA itself not counted."""
        return self.weight_bytes + self.activation_bytes


def rows_of(
    precision: str,
    capability: str,
    compiled: Compiled,
    weights: Mapping[str, Mapping[str, Array]],
    adapter_bytes: int,
    shapes: Shapes,
    folder: Path,
) -> Iterator[Row]:
    """Engines of every task in each form, then their sums.

    weights: task → source parameters, its adapter merged in. adapter_bytes: of all tasks. compiled: in fp32.
    """
    from colora.export.graph import bare, close
    from colora.export.precision_fp16 import type_float16
    from colora.export.target_rtx import build_engine
    from colora.export.tensors import GraphTensors
    from colora.runtime.bundle import GRAPH

    graph, program = compiled.graph, compiled.program
    if precision == "fp16":
        graph, program = type_float16(graph, program)

    def row(form: str, task: str, built: Built, weight_bytes: int | None = None) -> Row:
        stored = built.weight_bytes if weight_bytes is None else weight_bytes
        if stored is None or built.activation_bytes is None:
            raise RuntimeError(f"the builder did not report memory: {built.messages[-5:]}")
        memory = built.size_bytes, stored, built.activation_bytes
        return Row(precision, capability, form, task, *memory, built.seconds)

    def engine(source: Mapping[str, Array]) -> Built:
        file = close(graph, compiled.shapes, GraphTensors(program, source).__getitem__, folder)
        return build_engine(file, folder / "engine", shapes, capability)

    merged = [row(MERGED, task, engine(source)) for task, source in weights.items()]
    tuned = [row(TUNED, task, engine(stirred(source))) for task, source in weights.items()]
    yield from merged
    yield from tuned
    yield total(merged, max(r.activation_bytes for r in merged))
    yield total(tuned, sum(r.activation_bytes for r in tuned))
    (folder / GRAPH).write_bytes(bare(graph).SerializeToString())
    first = next(iter(weights.values()))
    tensors = GraphTensors(program, first)
    bound = sum(tensors[name].nbytes for name in tensors) + adapter_bytes
    yield row(SWITCHED, ALL, build_engine(folder / GRAPH, folder / "engine", shapes, capability), bound)


def stirred(weights: Mapping[str, Array]) -> dict[str, Array]:
    """Weights of the same shapes, every number another."""
    rng = np.random.default_rng(0)
    return {
        name: (w * (1 + CHANGE * rng.standard_normal(w.shape))).astype(np.float32)
        for name, w in weights.items()
    }


def total(rows: Sequence[Row], activation_bytes: int) -> Row:
    """All tasks at hand."""
    first = rows[0]
    return Row(
        first.precision,
        first.compute_capability,
        first.form,
        ALL,
        sum(r.file_bytes for r in rows),
        sum(r.weight_bytes for r in rows),
        activation_bytes,
        sum(r.seconds for r in rows),
    )


HEADER = (
    "precision",
    "for",
    "engine",
    "task",
    "file MB",
    "weights MB",
    "activations MB",
    "memory ×",
    "build s",
)


def cells(row: Row, rows: Sequence[Row]) -> tuple[str, ...]:
    """A row as text. ×: against fully tuned, below 1: less."""
    key = row.precision, row.compute_capability, row.task
    (tuned,) = (r for r in rows if (r.precision, r.compute_capability, r.task) == key and r.form == TUNED)
    return (
        *(row.precision, row.compute_capability, row.form, row.task),
        *(f"{x / 1e6:.1f}" for x in (row.file_bytes, row.weight_bytes, row.activation_bytes)),
        f"{row.memory_bytes / tuned.memory_bytes:.2f}",
        f"{row.seconds:.1f}",
    )


def page(rows: Sequence[Row], where: Environment) -> str:
    """The table, and how it was measured."""
    notes = "\n".join(f"- {name}: {told}" for name, told in MEASURED.items())
    table = markdown(HEADER, [cells(row, rows) for row in rows], left=4)
    return f"{heading('engines', where)}\n{table}\n{notes}\n"


@click.command()
@click.option("--backbone", default="nafnet-small", show_default=True, help="Of the zoo.")
@click.option("--task", "tasks", multiple=True, help="Of the zoo; may be repeated.  [default: all that fit]")
@click.option(
    "--capability",
    "capabilities",
    multiple=True,
    default=("7.5", "8.6"),
    show_default=True,
    help="To build for; may be repeated.",
)
@click.option(
    "--side", default=256, show_default=True, type=click.IntRange(64), help="Of the largest picture, px."
)
@output_option
def command(
    backbone: str, tasks: tuple[str, ...], capabilities: tuple[str, ...], side: int, output: Path
) -> None:
    """Memory and files of engines for RTX boards, merged per task against fully tuned; written to the folder OUTPUT."""
    from colora.export.compile import compile_graph
    from colora.export.plan import make_plan
    from colora.export.target_rtx import find_capabilities
    from colora.export.tensors import MergedWeights
    from colora.runtime.adapter import read_adapter
    from colora.runtime.manifest import Shapes
    from colora.train.backbones import BACKBONES
    from colora.train.checkpoint import arrays, load_backbone, zoo

    where = environment(PACKAGES)
    warn_if_dirty(where)
    chosen = find_capabilities(capabilities)
    checkpoint = load_backbone(backbone)
    files = {name: file for name, file in sorted(zoo().items()) if name not in BACKBONES}
    adapters = {name: read_adapter(file) for name, file in files.items()}
    fitting = [name for name, adapter in adapters.items() if adapter.backbone_sha256 == checkpoint.sha256]
    names = tasks or tuple(fitting)
    multiple = checkpoint.backbone.pad.multiple_of
    shapes = Shapes((multiple, multiple), (side, side), (side, side), multiple)
    rows: list[Row] = []
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary)
        compiled = compile_graph(make_plan(names, backbone, "rtx", folder / "bundle"))
        weights = {name: MergedWeights(arrays(checkpoint.module), adapters[name]) for name in names}
        stored = sum(files[name].stat().st_size for name in names)
        for precision in ("fp32", "fp16"):
            for capability in chosen:
                click.echo(f"{precision} for {capability} …", err=True)
                rows += rows_of(precision, capability, compiled, weights, stored, shapes, folder)
    title = "Engines, built and not run; memory × is against fully tuned"
    show(HEADER, [cells(row, rows) for row in rows], left=4, title=title)
    path = path_of(output, where, "engines", "tensorrt-rtx")
    settings = {"backbone": backbone, "tasks": list(names), "side": side, "change": CHANGE}
    write_record(
        path, "engines", where, {"settings": settings, "measured": MEASURED, "rows": [*map(asdict, rows)]}
    )
    write_text(path.with_suffix(".md"), page(rows, where))
    click.echo(f"{path} and {path.with_suffix('.md')}")


if __name__ == "__main__":
    run(command)
