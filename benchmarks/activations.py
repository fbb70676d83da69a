"""What a run takes of memory beside weights, against the manifest's figure that budgets and plans are made with.

`python -m colora.benchmarks.activations` prints the table and writes the record. Linux only.
"""

import tempfile
from pathlib import Path

import click
import numpy as np
from colora.benchmarks.demand import Demand, write_demands
from colora.benchmarks.large_run import CLEAR_REFS
from colora.benchmarks.networks import BACKBONES
from colora.benchmarks.record import environment, path_of, warn_if_dirty
from colora.benchmarks.resident import in_fresh_process, memory_now
from colora.benchmarks.script import output_option, run, threads_option
from colora.runtime.bundle import open_bundle
from colora.runtime.policy import SPARE
from colora.runtime.session import load

PACKAGES = ("numpy", "onnxruntime", "onnx", "torch")
MB = 1e6

MEASURED = {
    "measured": "Growth of a process's peak (VmHWM, set back before) over what it held at rest, in one run of the net "
    "on a square tensor, less the result: ONNX Runtime's arena, its index, and what convolutions work in. A fresh "
    "process for each.",
    "counted": "activation_bytes_per_pixel of the manifest times the pixels: the most that is alive at one time, each "
    "tensor freed after its last use (runtime/workload.py).",
    "asked": "The budget's rule (runtime/policy.py) allows SPARE times what is counted: no more may be taken.",
}
"""How the numbers came about; part of the record."""


def taken(bundle: str, size: str, policy: str, threads: str) -> dict[str, float]:
    """Bytes that one run at size×size px takes, and what the manifest says."""
    with load(bundle, backend="ort", policy=policy, threads=int(threads)) as session:
        side, shapes = int(size), session.bundle.manifest.shapes
        tensor = np.random.default_rng(0).random((1, 3, side, side), np.float32)
        network = session.network()
        network(tensor[:, :, : shapes.min[0], : shapes.min[1]].copy())  # what a first use imports and caches
        session.trim()
        before = memory_now().rss_bytes
        CLEAR_REFS.write_text("5")
        result = network(tensor)
        grown = memory_now().peak_rss_bytes - before - result.nbytes
        return {
            "measured": grown,
            "counted": session.bundle.manifest.activation_bytes_per_pixel * side * side,
        }


@click.command()
@click.option(
    "--backbone", "backbones", multiple=True, default=("nafnet-small", "nafnet-sidd-w32", "restormer-tiny"),
    show_default=True, help=BACKBONES,
)  # fmt: skip
@click.option("--bundle", type=click.Path(exists=True, file_okay=False, path_type=Path), help="Instead.")
@click.option(
    "--size", "sizes", multiple=True, default=(256, 512, 1024), show_default=True, help="Side in px."
)
@click.option("--policy", default="refit", show_default=True, type=click.Choice(["refit", "merged"]))
@threads_option
@output_option
def command(
    backbones: tuple[str, ...],
    bundle: Path | None,
    sizes: tuple[int, ...],
    policy: str,
    threads: int,
    output: Path,
) -> None:
    """Memory that runs take, against the figure in the manifest."""
    where = environment(PACKAGES)
    warn_if_dirty(where)
    demands: list[Demand] = []
    figures: dict[str, dict[str, float]] = {}
    for backbone in ("bundle",) if bundle else backbones:
        with tempfile.TemporaryDirectory() as folder:
            made = bundle or Path(in_fresh_process("colora.benchmarks.networks:export", backbone, folder))
            largest = min(open_bundle(made).manifest.shapes.max)
            for size in dict.fromkeys(min(size, largest) for size in sizes):
                click.echo(f"{backbone}, {size} px …", err=True)
                args = (made, str(size), policy, str(threads))
                x = in_fresh_process("colora.benchmarks.activations:taken", *args)
                what = f"{backbone}, {size}×{size} px"
                figures[what] = x
                demands.append(Demand(f"{what}: measured", x["measured"] / MB, "MB"))
                ratio = x["measured"] / x["counted"]
                demands.append(Demand(f"{what}: measured", ratio, most=SPARE, against="counted"))
    path = path_of(output, where, f"activations-{policy}")
    content = {"settings": {"policy": policy, "threads": threads}, "figures": figures}
    click.echo(write_demands(path, "activations", where, demands, MEASURED, content))
    click.echo(f"{path} and .md")


if __name__ == "__main__":
    run(command)
