"""What the compiler is worth: our graphs against torch.onnx.export → onnxsim → ONNX Runtime, by turns in one process.

`python -m colora.benchmarks.compiled` prints the table and writes the record. The process that measures loads no torch.
"""

import tempfile
from collections.abc import Callable, Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any

import click
import numpy as np
from colora.benchmarks.compiled_models import (
    CONVOLUTIONS,
    FORMS,
    PLAIN,
    form_folder,
    write_forms,
    write_plain,
)
from colora.benchmarks.networks import BACKBONES, source_of
from colora.benchmarks.record import environment, path_of, warn_if_dirty, write_record
from colora.benchmarks.resident import in_fresh_process
from colora.benchmarks.scenarios import INPUT, OUTPUT, picture, tensor_of
from colora.benchmarks.script import output_option, run, threads_option
from colora.benchmarks.tables import show
from colora.benchmarks.timing import interleave, paired_ratio, summary
from colora.devices.errors import ParityError
from colora.runtime.atomic import write_text
from colora.train.backbones import DEFAULT_BACKBONE

PACKAGES = ("numpy", "onnxruntime", "onnx", "onnxsim", "torch")
REFERENCE = "plain"
NAMES = "forms.txt"
"""beside the forms: their names"""
TOLERANCE = 1e-4
"""as every export is held to, in units of the image range; a graph that is off by more is not timed"""

MEASURED = {
    REFERENCE: "torch.onnx.export (dynamo) of the trained network at this size, onnxsim, ORT_ENABLE_ALL.",
    "merged": "Our graph, symbolic in height and width, optimised fully and rewritten on its channel blocks "
    "(runtime/ort_blocks.py), weights that stay: policy `merged`.",
    "refit": "The same, every weight in a buffer that may be edited: policy `refit`.",
    "convolutions": "The Conv operators of the plain graph and nothing between: a floor. At ORT_ENABLE_ALL, and at "
    "EXTENDED without prepacking.",
    "times": "All calls by turns in one process, in rounds, the order rotating, 50 ms apart; 3 rounds of warm-up. "
    "Ratios to plain are taken within each round; their quartiles are given.",
    "network": "Trained weights. A layout that none are shipped for has random ones: the same operations, and an error "
    "of float32 as small (benchmarks/tiny.py).",
    "bytes_moved_256": "Estimate at 256×256: each operator reads its inputs and writes its outputs once.",
}
"""How the numbers came about; part of the record."""


def latency(folder: str, size: str, threads: str, rounds: str) -> dict[str, Any]:
    """One image, size×size, through every graph in `folder`.

    Returns name → {n, ms_p50, ms_p95, n and quartiles of the ratio to plain}. Raises: ParityError.
    """
    image = tensor_of(picture(int(size)))
    calls = open_all(Path(folder), int(size), image, int(threads))
    times = interleave(calls, int(rounds))
    return {
        name: asdict(summary(ms))
        | {f"ratio_to_plain_{k}": v for k, v in asdict(paired_ratio(ms, times[REFERENCE])).items()}
        for name, ms in times.items()
    }


def open_all(folder: Path, size: int, image: Any, threads: int) -> dict[str, Callable[[], Any]]:
    """Name → a run of it; every network is first compared with the plain one. Raises: ParityError."""
    import onnx
    from colora.runtime.backend_ort import OrtBackend
    from colora.runtime.manifest import ImageConvention

    sized = folder / str(size)
    plain = _session(sized / PLAIN, threads, True)
    expected = plain.run([OUTPUT], {INPUT: image})[0]
    calls: dict[str, Callable[[], Any]] = {REFERENCE: lambda: plain.run([OUTPUT], {INPUT: image})[0]}
    for number, name in enumerate((folder / NAMES).read_text().splitlines()):
        graph = folder / form_folder(number) / "graph.onnx"
        wanted = set((graph.parent / "weights.txt").read_text().splitlines())
        tensors = {
            t.name: onnx.numpy_helper.to_array(t)
            for t in onnx.load(graph).graph.initializer
            if t.name in wanted
        }
        for policy in ("merged", "refit"):
            backend = OrtBackend(graph, ImageConvention(), tensors, policy == "refit", threads)
            error = float(np.abs(backend.run(image) - expected).max())
            if not error <= TOLERANCE:
                raise ParityError(
                    f"{name} ({policy}): differs from the plain export by {error:.3g}, more than {TOLERANCE:g}"
                )
            calls[f"{policy}: {name}"] = lambda backend=backend: backend.run(image)  # type: ignore[misc]
    for level, full in (("ENABLE_ALL", True), ("EXTENDED", False)):
        floor = _session(sized / CONVOLUTIONS, threads, full)
        rng = np.random.default_rng(0)
        feed = {x.name: rng.random(x.shape, dtype=np.float32) for x in floor.get_inputs()}
        calls[f"convolutions: {level}"] = lambda floor=floor, feed=feed: floor.run(None, feed)  # type: ignore[misc]
    return calls


def _session(model: Path, threads: int, full: bool) -> Any:
    """full: ORT_ENABLE_ALL; else what policy `refit` opens with."""
    import onnxruntime as ort

    options = ort.SessionOptions()
    options.intra_op_num_threads = threads
    if not full:
        options.graph_optimization_level = ort.GraphOptimizationLevel.ORT_ENABLE_EXTENDED
        options.add_session_config_entry("session.disable_prepacking", "1")
    return ort.InferenceSession(str(model), options, providers=["CPUExecutionProvider"])


def print_table(title: str, size: int, rows: Mapping[str, Any], moved: Mapping[str, int]) -> None:
    lines = []
    for name, x in rows.items():
        form = moved.get(name.partition(": ")[2])
        lines.append(
            (
                name,
                f"{x['ms_p50']:.1f}",
                f"{x['ms_p95']:.1f}",
                f"{x['ratio_to_plain_p50']:.3f}",
                f"{x['ratio_to_plain_p25']:.2f} – {x['ratio_to_plain_p75']:.2f}",
                f"{form * (size / 256) ** 2 / 1e6:.0f}" if form else "",
            )
        )
    show(("graph", "ms p50", "ms p95", "× plain", "quartiles", "MB moved"), lines, title=title)


@click.command()
@click.option("--backbone", default=DEFAULT_BACKBONE, show_default=True, help=BACKBONES)
@click.option(
    "--size",
    "sizes",
    multiple=True,
    type=click.IntRange(16),
    default=(256, 512),
    show_default=True,
    help="Side in px, a multiple of the backbone's; may be repeated.",
)
@threads_option
@click.option("--rounds", default=30, show_default=True, type=click.IntRange(2))
@click.option(
    "--last-form",
    is_flag=True,
    help="Of our graphs only the last, which target cpu has: less time and memory.",
)
@output_option
def command(
    backbone: str, sizes: tuple[int, ...], threads: int, rounds: int, last_form: bool, output: Path
) -> None:
    """Our graphs, form by form, against the plain export and the convolutions alone."""
    where = environment(PACKAGES)
    warn_if_dirty(where)
    forms = dict(list(FORMS.items())[-1:]) if last_form else FORMS
    results = {}
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary)
        source = source_of(backbone, folder)
        write_forms(source, folder, forms)
        write_text(folder / NAMES, "\n".join(forms))
        moved = {
            name: int((folder / form_folder(number) / "cost.txt").read_text())
            for number, name in enumerate(forms)
        }
        for size in sizes:
            click.echo(f"{size}×{size} …", err=True)
            write_plain(source, size, folder / str(size))
            results[size] = in_fresh_process(
                "colora.benchmarks.compiled:latency", folder, str(size), str(threads), str(rounds)
            )
            print_table(f"{Path(backbone).stem}, {size}×{size}", size, results[size], moved)
    network = "" if backbone == DEFAULT_BACKBONE else f"-{Path(backbone).stem}"
    path = path_of(output, where, f"compiled{network}")
    content = {
        "settings": {"backbone": Path(backbone).name, "threads": threads, "rounds": rounds},
        "forms": {name: list(passes) for name, passes in forms.items()},
        "measured": MEASURED,
        "bytes_moved_256": moved,
        "latency": {str(size): rows for size, rows in results.items()},
    }
    write_record(path, "compiled", where, content)
    click.echo(str(path))


if __name__ == "__main__":
    run(command)
