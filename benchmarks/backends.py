"""Ways of running one network on this CPU: ONNX Runtime, OpenVINO and PyTorch, as they come and with our graphs.

`python -m colora.benchmarks.backends` prints the tables and writes the record, as JSON and as Markdown.
"""

import tempfile
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import click
from colora.benchmarks.backends_bound import Bound, told
from colora.benchmarks.backends_run import BACKBONE, COMPILED, EAGER, FLOOR, GEMM, NAMES, OPENVINO, ORT, OURS
from colora.benchmarks.compiled_models import FORMS, write_forms, write_plain
from colora.benchmarks.networks import BACKBONES, source_of
from colora.benchmarks.record import environment, path_of, warn_if_dirty, write_record
from colora.benchmarks.resident import in_fresh_process
from colora.benchmarks.script import output_option, run
from colora.benchmarks.tables import heading, markdown, show
from colora.benchmarks.zoo_bundle import zoo_bundle
from colora.devices.errors import BackendError
from colora.export.passes import TARGET_PASSES
from colora.runtime.atomic import write_text

PACKAGES = ("numpy", "onnxruntime", "openvino", "onnx", "onnxsim", "torch")
LIMITS = {
    "ort: ours, merged": (ORT, 0.65),
    "ort: ours, refit": (ORT, 0.75),
    OURS: (OPENVINO, 0.9),
    "openvino bf16: ours, merged": (OURS, 0.5),
}
"""What is aimed at: name → reference, largest ratio to it."""
SHARE = 0.7
"""Of the rate of the fastest product that the network's convolutions are to reach in fp32."""

MEASURED = {
    ORT: "torch.onnx.export (dynamo) at this size, onnxsim, ONNX Runtime, ORT_ENABLE_ALL.",
    "ort: ours": "The graph that `colora export` writes for target cpu, symbolic in size; policies merged and refit.",
    OPENVINO: "The same plain graph in OpenVINO, f32 hinted, latency hint.",
    "openvino: ours": "The same graph as ort: ours, whose norms become NormalizeL2 at load.",
    "bf16": "OpenVINO with the bf16 hint. Not fp32: see the PSNR table.",
    "torch": "The module in channels_last under inference_mode; torch.compile with its defaults for this size.",
    "times": "All calls by turns in one process, in rounds, the order rotating, 50 ms apart; three of each before. "
    "Ratios are medians of those within each round.",
    "gflops": "Operations of the plain graph's Conv operators (a product with its sum is two) / median time.",
    "share": "That rate over the rate of the fastest fp32 product of two 2048×2048 matrices, paired by round.",
    "convolutions alone": "Those of the plain graph and nothing between, on numbers at hand: what the kernels reach.",
    "at least": "Each convolution by itself: its arithmetic at the rate of the fastest product, or a copy (torch, the "
    "fastest of seven) of as many bytes as it reads and writes, whichever is longer. Nothing between.",
    "dB to fp32": "PSNR of the result from that of plain ONNX Runtime, on the picture that is timed.",
    "psnr": "Float results of OpenVINO in bf16 against its own in fp32, and both against the clean picture.",
}
"""How the numbers came about; part of the record."""


def write_models(backbone: str, sizes: tuple[int, ...], every_form: bool, folder: Path) -> None:
    """Files for backends_run. Raises: what `load_backbone` raises."""
    source = source_of(backbone, folder)
    forms = {"ours": TARGET_PASSES["cpu"]} | (FORMS if every_form else {})
    write_forms(source, folder, forms)
    write_text(folder / NAMES, "\n".join(forms))
    write_text(folder / BACKBONE, source)
    for size in sizes:
        write_plain(source, size, folder / str(size))


def table(rows: Mapping[str, Any]) -> list[tuple[str, ...]]:
    """Heading and lines, numbers as text."""
    lines: list[tuple[str, ...]] = [
        (
            "run",
            "ms p50",
            "ms p95",
            "× plain ort",
            "× plain openvino",
            "GFLOP/s",
            "% of product",
            "dB to fp32",
        )
    ]
    for name, x in rows.items():
        ratios = [f"{x['ratio_to'][r]['p50']:.3f}" if "ratio_to" in x else "" for r in (ORT, OPENVINO)]
        told = (f"{x['ms_p50']:.1f}", f"{x['ms_p95']:.1f}", *ratios, f"{x['gflops']:.0f}")
        near = "" if x.get("psnr_db") is None else f"{x['psnr_db']:.1f}"
        lines.append((name, *told, f"{100 * x['share_of_gemm']:.0f}", near))
    return lines


def verdicts(rows: Mapping[str, Any]) -> list[str]:
    """What is aimed at, and what was found."""
    found = [
        f"{name} / {reference}: {rows[name]['ratio_to'][reference]['p50']:.3f} (aim: at most {limit})"
        for name, (reference, limit) in LIMITS.items()
        if name in rows
    ]
    fp32 = [
        name for name in rows if not name.startswith(GEMM) and not name.endswith(FLOOR) and "bf16" not in name
    ]
    best = max(fp32, key=lambda name: rows[name]["share_of_gemm"])
    product = max((name for name in rows if name.startswith(GEMM)), key=lambda name: rows[name]["gflops"])
    found.append(
        f"{best}: {100 * rows[best]['share_of_gemm']:.0f} % of the {rows[product]['gflops']:.0f} GFLOP/s of "
        f"{product} (aim: at least {100 * SHARE:.0f} %)"
    )
    for reference in (EAGER, COMPILED):
        if reference in rows:
            found.append(f"{best} / {reference}: {rows[best]['ratio_to'][reference]['p50']:.3f}")
    return found


def psnr_table(found: Mapping[str, Any]) -> list[tuple[str, ...]]:
    lines: list[tuple[str, ...]] = [
        ("set (task)", "n", "bf16 to fp32, dB", "lowest", "fp32 to clean", "bf16 to clean", "worst change")
    ]
    for name, x in found.items():
        near, clean = x["to_fp32_db"], x["to_target_db"]
        numbers = (near["mean"], near["lowest"], clean["fp32"], clean["bf16"])
        lines.append((name, str(x["n"]), *(f"{v:.2f}" for v in numbers), f"{x['worst_change_db']:+.3f}"))
    return lines


def quality(pairs: tuple[str, ...], backbone: str, count: int, threads: int) -> dict[str, Any]:
    """Set → bf16_quality, in a bundle of what is shipped for the backbone. pairs: TASK=FOLDER."""
    found = {}
    with tempfile.TemporaryDirectory() as temporary:
        bundle = zoo_bundle(Path(temporary) / "bundle", backbone)
        for pair in pairs:
            task, _, folder = pair.partition("=")
            if not folder:
                raise BackendError(f"--pairs {pair}: expected TASK=FOLDER")
            arguments = (bundle, task, folder, str(count), str(threads))
            name = f"{Path(folder).resolve().name} ({task})"
            found[name] = in_fresh_process("colora.benchmarks.backends_bf16:bf16_quality", *arguments)
    return found


@click.command()
@click.option(
    "--backbone",
    default="nafnet-small",
    show_default=True,
    help=BACKBONES,
)
@click.option(
    "--size",
    "sizes",
    multiple=True,
    type=click.IntRange(16),
    default=(256, 512),
    show_default=True,
    help="Side in px.",
)
@click.option("--threads", default=0, show_default=True, help="Of one run; 0: each package's choice.")
@click.option("--rounds", default=10, show_default=True, type=click.IntRange(2))
@click.option(
    "--minutes",
    type=click.FloatRange(0, min_open=True),
    help="All sizes together, about; rounds are left out for it, down to three.  [default: as long as it takes]",
)
@click.option("--compile/--no-compile", "compiled", default=True, help="torch.compile, which takes minutes.")
@click.option(
    "--forms", "every_form", is_flag=True, help="OpenVINO on every form of benchmarks.compiled too."
)
@click.option(
    "--pairs", multiple=True, help="TASK=FOLDER with input/ and target/: PSNR of bf16; may be repeated."
)
@click.option(
    "--count", default=10, show_default=True, type=click.IntRange(1), help="Pictures of each folder."
)
@output_option
def command(
    backbone: str,
    sizes: tuple[int, ...],
    threads: int,
    rounds: int,
    minutes: float | None,
    compiled: bool,
    every_form: bool,
    pairs: tuple[str, ...],
    count: int,
    output: Path,
) -> None:
    """ONNX Runtime, OpenVINO and PyTorch, plain and ours, against one another and against a matrix product."""
    where = environment(PACKAGES)
    warn_if_dirty(where)
    end = time.monotonic() + 60 * (minutes or float("inf"))
    results, least, texts = {}, {}, []
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary)
        write_models(backbone, sizes, every_form, folder)
        for i, size in enumerate(sizes):
            click.echo(f"{size}×{size} …", err=True)
            share = (end - time.monotonic()) * size / sum(sizes[i:])  # what one leaves, the next have
            arguments = (folder, str(size), str(threads), str(rounds), str(int(compiled)), str(share))
            found = in_fresh_process("colora.benchmarks.backends_run:measure", *arguments)
            results[size], least[size] = found["rows"], found["bounds"]
            title, (header, *lines) = f"{Path(backbone).stem}, {size}×{size}", table(results[size])
            show(header, lines, title=title)
            aims = verdicts(results[size])
            click.echo("\n".join(aims))
            texts += [f"## {title}\n", markdown(header, lines), *(f"- {line}" for line in aims), ""]
            header, *lines = told({kind: Bound(**x) for kind, x in least[size].items()})
            show(header, lines, title="at least")
            texts += [markdown(header, lines), ""]
    lost = quality(pairs, backbone, count, threads) if pairs else {}
    if lost:
        header, *lines = psnr_table(lost)
        show(header, lines, title="bf16")
        texts += ["## bf16\n", markdown(header, lines)]
    path = path_of(output, where, f"backends-{Path(backbone).stem}", "openvino")
    content = {
        "settings": {"backbone": Path(backbone).name, "threads": threads, "rounds": rounds},
        "measured": MEASURED,
        "latency": {str(size): rows for size, rows in results.items()},
        "aims": {str(size): verdicts(rows) for size, rows in results.items()},
        "bounds": {str(size): rows for size, rows in least.items()},
        "bf16": lost,
    }
    write_record(path, "backends", where, content)
    notes = "\n".join(f"- {name}: {told}" for name, told in MEASURED.items())
    page = [heading(f"backends, {Path(backbone).stem}", where), *texts, notes]
    write_text(path.with_suffix(".md"), "\n".join(page) + "\n")
    click.echo(f"{path} and {path.with_suffix('.md')}")


if __name__ == "__main__":
    run(command)
