"""What each precision costs each shipped task: bytes, PSNR against fp32 and against clean pictures, layers left.

`python -m colora.benchmarks.precision` prints the table and writes it as JSON and markdown: fp16 and int8 as `colora
export` makes them, scored on pictures that int8 was not calibrated on. Once, beside what we make, stand the conversion
that converters make (everything float16), and both on the same network with a residual stream 256 times as large
(benchmarks/amplified.py), where squares in its norms are beyond float16.
"""

from __future__ import annotations

import tempfile
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

import click
from colora.benchmarks.amplified import amplified
from colora.benchmarks.precision_table import FACTOR, NOTES, Row, cells, page, print_table, worst
from colora.benchmarks.quality import named
from colora.benchmarks.record import environment, path_of, warn_if_dirty, write_record
from colora.benchmarks.script import output_option, run
from colora.runtime.atomic import write_text
from colora.runtime.weights import Array

if TYPE_CHECKING:
    from colora.export.compile import Compiled
    from colora.train.photos import Pair
    from torch import nn

PACKAGES = ("numpy", "onnxruntime", "onnx", "torch")


def rows_of(
    task: str,
    module: nn.Module,
    weights: Mapping[str, Array],
    compiled: Compiled,
    calibration: Sequence[Pair],
    scored: Mapping[str, Sequence[Pair]],
    symmetric: bool,
    conversions: bool,
) -> Iterator[Row]:
    """Every form of one task. weights: source parameters under the task. compiled: in fp32, by the passes of fp16.

    scored: name → pictures. symmetric: int8 as TensorRT takes it, too. conversions: fp16 as converters make it, too.
    """
    from colora.export import precision as lower
    from colora.export.graph import close
    from colora.export.parity import graph_tensors, run_module
    from colora.export.precision_fp16 import type_float16
    from colora.export.precision_int8 import quantise
    from colora.export.rounding import RoundingEvaluator
    from colora.runtime.backend_ort import OrtBackend
    from colora.runtime.bundle import GRAPH
    from colora.runtime.manifest import ImageConvention

    first, large = lower.tensor_of(next(iter(scored.values()))[0]), amplified(weights, FACTOR)
    known: dict[bytes, Array] = {}

    def reference(tensor: Array) -> Array:
        key = tensor.tobytes()
        if key not in known:
            known[key] = run_module(module, weights, tensor)
        return known[key]

    def rows(
        form: str,
        evaluator: str,
        run: lower.Run,
        size: int,
        left: tuple[str, ...] = (),
        infinite: int | None = None,
    ) -> Iterator[Row]:
        precision = form[:4]
        allowed = lower.LIMITS[precision].change_db if precision in lower.LIMITS else 1.0
        for name, pictures in scored.items():
            loss = lower.measure(task, precision, evaluator, reference, run, pictures)
            psnr = loss.psnr_db if loss.psnr_db > -1e9 else None
            lost = max(0.0, -loss.change_db) / allowed
            told = f"{name}, {len(pictures)}"
            yield Row(
                task, form, told, size, psnr, loss.clean_db, loss.change_db, lost, infinite, left, evaluator
            )  # fmt: skip

    def integers(form: str, folder: Path) -> Iterator[Row]:
        made = folder / "int8.onnx"
        loss = quantise(folder / GRAPH, made, task, reference, calibration, symmetric="symmetric" in form)
        backend = OrtBackend(made, ImageConvention(), {}, False, 0)
        yield from rows(form, "integer", backend.run, made.stat().st_size, loss.left)
        backend.close()

    def halves(form: str, folder: Path, source: Mapping[str, Array]) -> Iterator[Row]:
        graph, program = type_float16(compiled.graph, compiled.program, "all operators" not in form)
        tensors = graph_tensors(program, source)
        close(graph, compiled.shapes, tensors.__getitem__, folder)
        evaluator = RoundingEvaluator(graph)
        infinite = len(evaluator.infinite(first, tensors))
        run = partial(evaluator.run, weights=tensors)
        yield from rows(form, "rounding", run, _bytes(folder), infinite=infinite)
        if source is large:
            backend = OrtBackend(folder / GRAPH, ImageConvention(), {}, False, 0)
            yield from rows(f"{form}, upcasting", "upcasting", backend.run, _bytes(folder))
            backend.close()

    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary)
        plain = graph_tensors(compiled.program, weights)
        close(compiled.graph, compiled.shapes, plain.__getitem__, folder)
        yield from rows("fp32", "PyTorch", reference, _bytes(folder))
        yield from integers("int8", folder)
        if symmetric:
            yield from integers("int8, symmetric for TensorRT", folder)
        yield from halves("fp16", folder, weights)
        if conversions:
            yield from halves("fp16, all operators", folder, weights)
            yield from halves("fp16, amplified", folder, large)
            yield from halves("fp16, all operators, amplified", folder, large)


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
    help="Score the task on these pairs, too.",
)
@click.option(
    "--photos",
    type=click.Path(exists=True, path_type=Path),
    help="Score every task on these clean photographs, degraded.  [default: the shipped ones, degraded by other draws]",
)
@click.option("--count", default=8, show_default=True, type=click.IntRange(1), help="Pictures of each kind.")
@click.option("--symmetric", is_flag=True, help="int8 as TensorRT takes it, too.")
@output_option
def command(
    backbone: str,
    tasks: tuple[str, ...],
    pairs: dict[str, str],
    photos: Path | None,
    count: int,
    symmetric: bool,
    output: Path,
) -> None:
    """Bytes and PSNR of each shipped task in each precision; written to the folder OUTPUT."""
    from colora.export.calibration import PICTURES, task_pictures
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
    with tempfile.TemporaryDirectory() as temporary:
        plan = make_plan(chosen, backbone, output=Path(temporary) / "b", precision="fp16")
        compiled = compile_graph(plan)
        for task in chosen:
            click.echo(f"{task} …", err=True)
            calibration = task_pictures(task, None, PICTURES["int8"], multiple)
            scored = {
                photos.name if photos else "shipped": task_pictures(task, photos, count, multiple, seed=1)
            }
            if task in pairs:
                scored[Path(pairs[task]).name] = task_pictures(task, Path(pairs[task]), count, multiple)
            weights = MergedWeights(arrays(checkpoint.module), adapters[task])
            for row in rows_of(
                task, checkpoint.module, weights, compiled, calibration, scored, symmetric, task == chosen[0]
            ):
                click.echo("  ".join(cells(row)[1:-1]), err=True)
                rows.append(row)
    print_table(rows)
    path = path_of(output, where, "precision")
    settings = {"backbone": backbone, "count": count, "factor": FACTOR, "passes": list(plan.passes)}
    content = {
        "settings": settings,
        "measured": NOTES,
        "worst": worst(rows),
        "rows": [asdict(r) for r in rows],
    }
    write_record(path, "precision", where, content)
    write_text(path.with_suffix(".md"), page(rows, f"precision, {backbone}", where))
    click.echo(f"{path} and {path.with_suffix('.md')}")


if __name__ == "__main__":
    run(command)
