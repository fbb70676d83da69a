"""What `colora export` prints: the plan, what passes did, files with their sizes, parity, losses, engines."""

from __future__ import annotations

import math
import shlex
from collections.abc import Sequence
from typing import TYPE_CHECKING

from colora.devices.catalogue import ALIASES

if TYPE_CHECKING:
    from colora.export.compile import Compiled
    from colora.export.pipeline import Report
    from colora.export.plan import Plan
    from colora.export.target_rtx import EngineSet
    from rich.console import Console
    from rich.table import Table


def print_explained(console: Console, compiled: Compiled) -> None:
    from colora.export.compile import EXPLAINED
    from colora.export.explain import explain

    explain(console, compiled.outcomes, compiled.before, compiled.after, EXPLAINED)


def print_plan(console: Console, plan: Plan, target: str) -> None:
    backbone = plan.checkpoint.backbone.name
    names = ", ".join(task.adapter.task for task in plan.tasks)
    if plan.extends:
        console.print(f"adding {names} to {plan.output} (backbone {backbone}, already there)")
    else:
        kind = "merged" if plan.merged else "shared backbone"
        kind += f", {plan.precision}" if plan.precision != "fp32" else ""
        console.print(f"{backbone} with {names} → {plan.output} ({kind})")
    if target in ALIASES:
        console.print(f"target {target} means {plan.device.name}: {plan.device.title}")
    if plan.device.jetpacks:
        console.print("TensorRT engines are built on the device; here ONNX is made, and checked on this CPU")


def print_files(console: Console, plan: Plan) -> None:
    from colora.export.plan import planned_files

    files = planned_files(plan)
    console.print(table(("would write", "bytes"), [(f.name, _bytes(f.size_bytes)) for f in files]))
    known = sum(file.size_bytes or 0 for file in files)
    console.print(
        f"dry run: nothing was written; {known:,} bytes and the files whose size only the run can tell (?)"
    )


def print_report(console: Console, plan: Plan, report: Report) -> None:
    console.print(table(("wrote", "bytes"), [(name, _bytes(size)) for name, size in report.files.items()]))
    worst: dict[tuple[str, str], tuple[float, float]] = {}
    for case in report.parity.cases:
        error, decibel = worst.get((case.network, case.policy), (0.0, math.inf))
        psnr = math.inf if case.psnr_db is None else case.psnr_db
        worst[case.network, case.policy] = (max(error, case.max_abs_error), min(decibel, psnr))
    rows = [(*key, f"{error:.1e}", f"{decibel:.1f}") for key, (error, decibel) in worst.items()]
    if rows:
        console.print(table(("against PyTorch", "weights", "max error", "PSNR dB"), rows))
    if report.losses:
        _print_losses(console, report)
    if report.switchable:
        console.print(f"{report.switchable} switchable tensors, each seen to follow an edit in place")
    outcomes = report.compiled.outcomes if report.compiled else {}
    if "onnxsim" in outcomes and outcomes["onnxsim"].refused:
        console.print(f"onnxsim was left out: {outcomes['onnxsim'].refused[0].reason}")
    bundle, task = shlex.quote(str(plan.output)), plan.tasks[0].adapter.task
    console.print(f"next: colora restore photo.jpg --task {task} --bundle {bundle} -o restored.png")


def print_engines(console: Console, engines: Sequence[EngineSet]) -> None:
    rows = [
        (
            f"{s.device} ({s.compute_capability})",
            e.task,
            *map(_bytes, (e.bytes, e.weight_bytes, e.activation_bytes)),
        )
        for s in engines
        for e in s.engines
    ]
    console.print(table(("engine for", "task", "file bytes", "weights", "activations"), rows))
    first = engines[0]
    console.print(
        f"built by {first.builder} without a GPU, not run; weights and activations are the builder's own figures, "
        f"at {first.max[0]}×{first.max[1]}"
    )


def _print_losses(console: Console, report: Report) -> None:
    from colora.export.precision import LIMITS

    rows = [
        (
            loss.network,
            f"{loss.psnr_db:.1f}",
            f"{loss.fp32_db:.2f}",
            f"{loss.change_db:+.3f}",
            str(loss.pictures),
        )
        for loss in report.losses
    ]
    first = report.losses[0]
    limit = LIMITS[first.precision]
    header = (f"{first.precision} against fp32", "PSNR dB", "fp32 against clean", "change dB", "pictures")
    console.print(table(header, rows))
    console.print(
        f"computed with {first.evaluator}; refused below {limit.psnr_db:g} dB or {-limit.change_db:g} dB"
    )
    if first.left:
        console.print(f"left in fp32, the most sensitive first: {', '.join(first.left)}")


def table(header: tuple[str, ...], rows: Sequence[tuple[str, ...]]) -> Table:
    """Names to the left, numbers to the right."""
    from rich.table import Table

    made = Table(box=None, pad_edge=False, header_style="bold")
    for i, title in enumerate(header):
        number = i > 0 and title != "weights"
        made.add_column(title, justify="right" if number else "left", no_wrap=True)
    for row in rows:
        made.add_row(*row)
    return made


def _bytes(size: int | None) -> str:
    return "?" if size is None else f"{size:,}"
