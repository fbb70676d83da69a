"""What an export takes: seconds for each stage, and memory beyond the network, for networks of 6, 29 and 26 million.

`python -m colora.benchmarks.export_cost` prints the tables and writes the record. Linux only.
"""

import math
import tempfile
import time
from itertools import pairwise
from pathlib import Path
from typing import Any

import click
from colora.benchmarks.record import environment, path_of, warn_if_dirty, write_record
from colora.benchmarks.resident import in_fresh_process, memory_now
from colora.benchmarks.script import output_option, run
from colora.benchmarks.tables import show
from colora.benchmarks.tiny import make_tiny

PACKAGES = ("numpy", "onnx", "onnxruntime", "onnxsim", "torch")
BACKBONES = ("nafnet-small", "nafnet-sidd-w32", "restormer")
SECONDS, MEMORY = 60.0, 4.0
"""What the 29 M network is held to: seconds, and extra memory in units of the bytes of its weights."""
ASKED = "nafnet-sidd-w32"
TOLERANCE = 1e-2
"""of the parity check: random weights amplify more than trained ones, which are held to 1e-4"""

MEASURED = {
    "network": "Random weights of the named layout, and one adapter of rank 1 on every convolution that takes one.",
    "export": "`export(...)` to a shared bundle for the target cpu, in a fresh process, with its default passes; "
    "seconds from one stage to the next, by the wall clock, after every package has been imported; in brackets those "
    "of CPU of all its threads, which on two cores and no other load may be up to twice as many.",
    "memory": "Largest resident memory of that process (VmHWM) so far, less what it had with every package imported "
    "and nothing loaded, less the bytes of the weights, which have to be somewhere: `extra`. In units of those bytes.",
}
"""How the numbers came about; part of the record."""


def cost_of(backbone: str, adapter: str, folder: str) -> dict[str, Any]:
    """Export once. Returns parameters, weight_bytes and for each stage its seconds and the extra bytes at its end."""
    import onnx  # noqa: F401  (imported before anything is counted, as are the next)
    import onnxruntime  # noqa: F401
    import onnxscript  # noqa: F401
    import onnxsim  # type: ignore[import-untyped]  # noqa: F401
    import torch.onnx  # noqa: F401
    from colora.export.pipeline import run_plan
    from colora.export.plan import make_plan
    from colora.runtime.weights import read_header

    size = sum(4 * math.prod(shape) for shape in read_header(backbone).shapes.values())
    before = memory_now().rss_bytes
    marks = [("checkpoint", time.perf_counter(), time.process_time(), 0)]

    def progress(stage: str) -> None:
        peak = memory_now().peak_rss_bytes - before - size
        marks.append((stage, time.perf_counter(), time.process_time(), peak))

    plan = make_plan(backbone=backbone, output=folder, adapters=[adapter])
    report = run_plan(plan, TOLERANCE, progress)
    progress("end")
    stages = {
        name: {"seconds": later - since, "cpu_seconds": busy - idle, "extra_bytes": peak}
        for (name, since, idle, _), (_, later, busy, peak) in pairwise(marks)
    }
    return {
        "parameters": size // 4,
        "weight_bytes": size,
        "tensors": report.switchable,
        "seconds": marks[-1][1] - marks[0][1],
        "cpu_seconds": marks[-1][2] - marks[0][2],
        "extra_bytes": max(marks[-1][3], 0),
        "stages": stages,
        "max_abs_error": report.parity.worst.max_abs_error,
    }


def print_tables(rows: dict[str, dict[str, Any]]) -> None:
    stages, total = [], []
    for stage in dict.fromkeys(stage for row in rows.values() for stage in row["stages"]):
        cells = []
        for row in rows.values():
            told = row["stages"].get(stage)
            extra = f"{told['extra_bytes'] / row['weight_bytes']:5.2f}×" if told else ""
            cells.append(f"{told['seconds']:.1f} s ({told['cpu_seconds']:.1f}) {extra}" if told else "")
        stages.append((stage, *cells))
    for name, row in rows.items():
        extra = row["extra_bytes"] / row["weight_bytes"]
        total.append(
            (
                name,
                f"{row['parameters'] / 1e6:.1f}",
                str(row["tensors"]),
                f"{row['cpu_seconds']:.1f}",
                f"{row['seconds']:.1f}",
                f"{row['seconds'] / SECONDS:.2f}",
                f"{extra:.2f}×",
                f"{extra / MEMORY:.2f}",
            )
        )
    show(("stage", *rows), stages, title="seconds (of CPU), and largest extra memory so far ÷ weights")
    asked = (f"÷ {SECONDS:.0f} s", "extra", f"÷ {MEMORY:.0f}×")
    show(("network", "million", "tensors", "of CPU", "seconds", *asked), total)
    click.echo(f"asked of {ASKED}: at most {SECONDS:.0f} s, and {MEMORY:.0f}× its weights of extra memory")


@click.command()
@click.option(
    "--backbone",
    "backbones",
    multiple=True,
    default=BACKBONES,
    show_default=True,
    help="Layout; may be repeated.",
)
@output_option
def command(backbones: tuple[str, ...], output: Path) -> None:
    """Seconds and memory of an export, by stage."""
    where = environment(PACKAGES)
    warn_if_dirty(where)
    rows = {}
    for name in backbones:
        with tempfile.TemporaryDirectory() as temporary:
            click.echo(f"{name} …", err=True)
            files = make_tiny(Path(temporary), backbone=name)
            bundle = Path(temporary) / "bundle"
            rows[name] = in_fresh_process(
                "colora.benchmarks.export_cost:cost_of", files.backbone, files.rain, bundle
            )
    print_tables(rows)
    path = path_of(output, where, "export-cost")
    content = {
        "settings": {"tolerance": TOLERANCE, "asked": {ASKED: {"seconds": SECONDS, "extra": MEMORY}}},
        "measured": MEASURED,
        "exports": rows,
    }
    write_record(path, "export-cost", where, content)
    click.echo(str(path))


if __name__ == "__main__":
    run(command)
