"""What each precision costs each shipped task: bytes, PSNR against fp32 and against clean pictures, layers left.

`python -m colora.benchmarks.precision` prints the table and writes it as JSON and markdown. Beside what `colora export`
makes stand the conversion that converters make (everything float16), and both on the same network with a residual
stream 256 times as large (benchmarks/amplified.py), where squares in its norms are beyond float16.
"""

from __future__ import annotations

import tempfile
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

import click
from colora.benchmarks.amplified import amplified
from colora.benchmarks.quality import named
from colora.benchmarks.record import RESULTS, environment, record_path, warn_if_dirty, write_record
from colora.benchmarks.script import run
from colora.runtime.atomic import write_text
from colora.runtime.weights import Array

if TYPE_CHECKING:
    from colora.export.compile import Compiled
    from colora.export.precision import Loss
    from colora.train.photos import Pair
    from torch import nn

PACKAGES = ("numpy", "onnxruntime", "onnx", "torch")
FACTOR = 256.0
EVALUATORS = {
    "PyTorch": "the trained network, fp32",
    "rounding": "export/rounding.py: every float16 value rounded to float16, sums in float32",
    "upcasting": "ONNX Runtime's CPU, which computes float16 in float32: hides overflow, judges nothing",
    "integer": "the integer kernels of ONNX Runtime's CPU",
}
MEASURED = {
    "PSNR": "against the trained network in PyTorch fp32, results clipped to [0, 1], mean over the pictures",
    "clean": "the same against the clean picture; change: less that of fp32; lost/allowed: what is lost as a part of "
    "0.02 dB (fp16) and 0.2 dB (int8), above 1 is too much",
    "infinite": "values of the graph that are infinite or NaN somewhere in the first picture (rounding evaluator)",
    "int8": "calibrated on the two shipped photographs, degraded as the task says; scored on the pictures named above",
    "amplified": f"the same function with a residual stream {FACTOR:g} times as large",
}


@dataclass(frozen=True)
class Row:
    """One form of one task's network."""

    task: str
    form: str
    bytes: int
    """graph and numbers as files"""
    psnr_db: float | None
    """against fp32; None where a result is not finite"""
    clean_db: float
    change_db: float
    lost_of_allowed: float
    infinite: int | None
    """None where values between can't be seen"""
    left: tuple[str, ...]
    evaluator: str
    """of EVALUATORS"""


def rows_of(
    task: str,
    module: nn.Module,
    weights: Mapping[str, Array],
    compiled: Compiled,
    calibration: Sequence[Pair],
    scored: Sequence[Pair],
) -> Iterator[Row]:
    """Every form of one task. weights: source parameters under the task. compiled: in fp32, by the passes of fp16."""
    from colora.export import precision as lower
    from colora.export.graph import close
    from colora.export.parity import graph_tensors, run_module
    from colora.export.precision_fp16 import type_float16
    from colora.export.precision_int8 import quantise
    from colora.export.rounding import RoundingEvaluator
    from colora.runtime.backend_ort import OrtBackend
    from colora.runtime.bundle import GRAPH
    from colora.runtime.manifest import ImageConvention

    first = lower.tensor_of(scored[0])
    large = amplified(weights, FACTOR)

    def row(form: str, loss: Loss, size: int, infinite: int | None = None) -> Row:
        allowed = lower.LIMITS[loss.precision].change_db if loss.precision in lower.LIMITS else 1.0
        finite = loss.psnr_db > -1e9
        return Row(
            task, form, size, loss.psnr_db if finite else None, loss.clean_db, loss.change_db,
            max(0.0, -loss.change_db) / allowed, infinite, loss.left, loss.evaluator,
        )  # fmt: skip

    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary)
        plain = graph_tensors(compiled.program, weights)
        close(compiled.graph, compiled.shapes, plain.__getitem__, folder)
        reference = partial(run_module, module, weights)
        loss = lower.measure(task, "fp32", "PyTorch", reference, reference, scored)
        yield row("fp32", loss, _bytes(folder))
        for name, symmetric in (("int8", False), ("int8, symmetric for TensorRT", True)):
            made = folder / "int8.onnx"
            left = quantise(folder / GRAPH, made, task, reference, calibration, symmetric).left
            backend = OrtBackend(made, ImageConvention(), {}, False, 0)
            loss = lower.measure(task, "int8", "integer", reference, backend.run, scored)
            backend.close()
            yield row(name, replace(loss, left=left), made.stat().st_size)
            made.unlink()
        for name, statistics, source in (
            ("fp16", True, weights),
            ("fp16, all operators", False, weights),
            ("fp16, amplified", True, large),
            ("fp16, all operators, amplified", False, large),
        ):
            graph, program = type_float16(compiled.graph, compiled.program, statistics)
            tensors = graph_tensors(program, source)
            close(graph, compiled.shapes, tensors.__getitem__, folder)
            evaluator = RoundingEvaluator(graph)
            loss = lower.measure(
                task, "fp16", "rounding", reference, partial(evaluator.run, weights=tensors), scored
            )
            yield row(name, loss, _bytes(folder), len(evaluator.infinite(first, tensors)))
            if source is large:
                backend = OrtBackend(folder / GRAPH, ImageConvention(), {}, False, 0)
                loss = lower.measure(task, "fp16", "upcasting", reference, backend.run, scored)
                backend.close()
                yield row(f"{name}, upcasting", loss, _bytes(folder))


def print_table(rows: Sequence[Row]) -> None:
    """All rows, aligned."""
    from rich.console import Console
    from rich.table import Table

    console = Console()
    if not console.is_terminal:
        console.width = 140
    table = Table(*HEADER)
    for i, column in enumerate(table.columns):
        column.no_wrap = HEADER[i] != "left in fp32"
        column.justify = "right" if 1 < i < 8 else "left"
    for row in rows:
        table.add_row(*cells(row))
    console.print(table)
    for name, told in (EVALUATORS | MEASURED).items():
        console.print(f"{name}: {told}", highlight=False)


HEADER = (
    "task", "form", "MB", "PSNR dB", "clean dB", "change dB", "lost/allowed", "infinite", "left in fp32", "by",
)  # fmt: skip


def cells(row: Row) -> tuple[str, ...]:
    """A row as text."""
    fp32 = row.form == "fp32"
    return (
        row.task,
        row.form,
        f"{row.bytes / 1e6:.2f}",
        "–" if fp32 else "not finite" if row.psnr_db is None else f"{row.psnr_db:.2f}",
        f"{row.clean_db:.2f}",
        "–" if fp32 else f"{row.change_db:+.4f}",
        "–" if fp32 else f"{row.lost_of_allowed:.3f}",
        "–" if row.infinite is None else str(row.infinite),
        ", ".join(row.left) or "none",
        row.evaluator,
    )


def markdown(rows: Sequence[Row], scored: Mapping[str, str]) -> str:
    """The table, and how it was measured."""
    lines = ["| " + " | ".join(HEADER) + " |", "| --- | --- |" + " ---: |" * 6 + " --- | --- |"]
    lines += ["| " + " | ".join(cells(row)) + " |" for row in rows]
    lines += ["", *(f"- pictures of {task}: {told}" for task, told in scored.items())]
    return (
        "\n".join([*lines, *(f"- {name}: {told}" for name, told in (EVALUATORS | MEASURED).items())]) + "\n"
    )


def _bytes(folder: Path) -> int:
    return sum((folder / name).stat().st_size for name in ("graph.onnx", "graph.data"))


@click.command()
@click.option("--backbone", default="nafnet-small", show_default=True, help="Of the zoo.")
@click.option("--task", "tasks", multiple=True, help="Of the zoo; may be repeated.  [default: all that fit]")
@click.option(
    "--pairs",
    multiple=True,
    metavar="TASK=DIR",
    callback=named,
    help="Score the task on these pairs.  [default: the shipped photographs, degraded]",
)
@click.option("--count", default=8, show_default=True, type=click.IntRange(1), help="Pictures of each task.")
@click.option("-o", "--output", default=RESULTS, show_default=True, type=click.Path(path_type=Path))
def command(backbone: str, tasks: tuple[str, ...], pairs: dict[str, str], count: int, output: Path) -> None:
    """Bytes and PSNR of each shipped task in each precision; written to the folder OUTPUT."""
    from colora.export.calibration import task_pictures
    from colora.export.compile import compile_graph
    from colora.export.plan import make_plan
    from colora.export.tensors import MergedWeights
    from colora.runtime.adapter import read_adapter
    from colora.train.backbones import BACKBONES
    from colora.train.checkpoint import arrays, load_backbone, zoo

    where = environment(PACKAGES)
    warn_if_dirty(where)
    checkpoint = load_backbone(backbone)
    adapters = {name: read_adapter(file) for name, file in sorted(zoo().items()) if name not in BACKBONES}
    fitting = [name for name, adapter in adapters.items() if adapter.backbone_sha256 == checkpoint.sha256]
    chosen = tasks or tuple(fitting)
    multiple = checkpoint.backbone.pad.multiple_of
    rows: list[Row] = []
    told = {}
    with tempfile.TemporaryDirectory() as temporary:
        plan = make_plan(chosen, backbone, output=Path(temporary) / "b", precision="fp16")
        compiled = compile_graph(plan)
        for task in chosen:
            click.echo(f"{task} …", err=True)
            calibration = task_pictures(task, None, count, multiple)
            scored = task_pictures(task, Path(pairs[task]), count, multiple) if task in pairs else calibration
            source = Path(pairs[task]).name if task in pairs else "shipped photographs, degraded"
            told[task] = f"{source}, {len(scored)}, centres of at most 256×256"
            weights = MergedWeights(arrays(checkpoint.module), adapters[task])
            for row in rows_of(task, checkpoint.module, weights, compiled, calibration, scored):
                click.echo("  ".join(cells(row)[1:6]), err=True)
                rows.append(row)
    print_table(rows)
    path = record_path(output, where, "onnxruntime")
    path = path.with_name(f"precision-{path.name}")
    settings = {"backbone": backbone, "count": count, "factor": FACTOR, "passes": list(plan.passes)}
    content = {"settings": settings, "scored": told, "measured": MEASURED, "rows": [asdict(r) for r in rows]}
    write_record(path, "precision", where, content)
    write_text(path.with_suffix(".md"), markdown(rows, told))
    click.echo(f"{path} and {path.with_suffix('.md')}")


if __name__ == "__main__":
    run(command)
