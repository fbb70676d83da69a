"""`colora-export --task rain --target jetson`, also `colora export`: compile a bundle, or say what would be."""

from __future__ import annotations

import shlex
import sys
from pathlib import Path
from typing import Any

import click
from colora.devices.errors import ColoraError, missing_extra
from colora.runtime.manifest import PRECISIONS


class Size(click.ParamType):  # type: ignore[type-arg]  # generic in newer versions of click
    """`512x768` → (512, 768)."""

    name = "HxW"

    def convert(
        self, value: Any, param: click.Parameter | None, ctx: click.Context | None
    ) -> tuple[int, int]:
        height, _, width = str(value).partition("x")
        if not (height.isdigit() and width.isdigit()):
            self.fail(f"{value!r} is no size; expected height and width in pixels, as 512x512", param, ctx)
        return int(height), int(width)


@click.command("export")
@click.option("--task", "tasks", multiple=True, help="Shipped adapter to put in, by name; may be repeated.")
@click.option(
    "--adapter", "adapters", multiple=True, type=Path, help="Adapter file to put in; may be repeated."
)
@click.option("--backbone", default=None, help="Shipped backbone by name, or a .safetensors or .pth file.")
@click.option("--target", default="cpu", show_default=True, help="Device; `colora devices` lists them.")
@click.option(
    "-o", "--output", default="colora-bundle", show_default=True, type=Path, help="The bundle's folder."
)
@click.option(
    "--merged", is_flag=True, help="Fold the one task into the graph: fastest, but it can't switch."
)
@click.option("--replace", is_flag=True, help="Make the bundle anew where there is one already.")
@click.option(
    "--tolerance", default=1e-4, show_default=True, help="Largest difference from PyTorch, range [0, 1]."
)
@click.option(
    "--passes",
    default=None,
    help="Passes to run, comma-separated, or `none`, or the set for cpu or gpu; `--explain` lists them.  "
    "[default: the target's]",
)
@click.option(
    "--precision",
    type=click.Choice(PRECISIONS),
    help="Type of weights and activations.  [default: fp32, or the bundle's]",
)
@click.option(
    "--calibrate",
    type=Path,
    help="Photographs, or pairs in input/ and target/: what precision is measured on and int8 calibrated.  "
    "[default: two shipped photographs]",
)
@click.option(
    "--size",
    type=Size(),
    help="Only this height and width, as 512x512: smaller pictures are padded, larger ones cut.  [default: any]",
)
@click.option(
    "--capability",
    "capabilities",
    multiple=True,
    help="With --target rtx: compute capability to build for, as 8.6; may be repeated.  [default: RTX 20 to 50]",
)
@click.option("--explain", "explained", is_flag=True, help="Print what each pass did, and the graph's cost.")
@click.option("--dry-run", is_flag=True, help="Check everything and print the plan; write nothing.")
def command(
    tasks: tuple[str, ...],
    adapters: tuple[Path, ...],
    backbone: str | None,
    target: str,
    output: Path,
    merged: bool,
    replace: bool,
    tolerance: float,
    passes: str | None,
    precision: str | None,
    calibrate: Path | None,
    size: tuple[int, int] | None,
    capabilities: tuple[str, ...],
    explained: bool,
    dry_run: bool,
) -> None:
    """Compile a backbone and adapters into a bundle.

    Where the output is a shared bundle of the same backbone already, only the tasks are added to it. With --target rtx
    an engine of each task is built too, with --target triton the output is a model repository around the bundle.
    """
    if capabilities and target != "rtx":
        raise click.UsageError(f"--capability is for --target rtx; got --target {target}")
    try:
        from colora.export import printed, target_rtx, target_triton
        from colora.export.compile import compile_graph
        from colora.export.pipeline import run_plan
        from colora.export.plan import make_plan
        from colora.train.backbones import DEFAULT_BACKBONE
        from rich.console import Console
    except ModuleNotFoundError as e:
        if e.name is None or e.name.startswith("colora"):
            raise
        raise missing_extra(e.name, "export", "colora export") from e

    console = Console(highlight=False, markup=False, soft_wrap=True)
    if target == "rtx":
        capabilities = target_rtx.find_capabilities(capabilities)
    repository = output
    if target == "triton":
        output = target_triton.bundle_path(repository, replace)
    plan = make_plan(
        tasks,
        backbone or DEFAULT_BACKBONE,
        target,
        output,
        adapters=adapters,
        merged=merged,
        replace=replace,
        passes=target_triton.PASSES if target == "triton" and passes is None else _names(passes),
        precision=precision,
        calibrate=calibrate,
        size=size,
    )
    printed.print_plan(console, plan, target)
    if target == "rtx":
        console.print(f"engines of TensorRT for RTX, for compute capability {', '.join(capabilities)}")
    if dry_run:
        if explained and not plan.extends:
            with console.status("graph …"):
                compiled = compile_graph(plan)
            printed.print_explained(console, compiled)
        printed.print_files(console, plan)
        return
    with console.status("") as status:

        def begin(stage: str) -> None:
            status.update(f"{stage} …")

        report = run_plan(plan, tolerance, begin)
        engines = target_rtx.write_engines(output, capabilities, begin) if target == "rtx" else ()
        served = target_triton.write_repository(repository, begin) if target == "triton" else ()
    if explained and report.compiled:
        printed.print_explained(console, report.compiled)
    elif explained:
        console.print("the graph was there already: --explain has nothing to say without --replace")
    printed.print_report(console, plan, report)
    if engines:
        printed.print_engines(console, engines)
    if served:
        rows = [(s.name, str(s.version), "yes" if s.written else "as it was", str(s.file)) for s in served]
        console.print(printed.table(("Triton model", "version", "written", "file"), rows))
        console.print(f"next: tritonserver --model-repository={shlex.quote(str(repository.resolve()))}")


def main() -> None:
    """Entry point of `colora-export`. Leaves with exit code 2 where an input is refused."""
    try:
        command(prog_name="colora-export")
    except ColoraError as e:
        click.echo(f"colora-export: {e}", err=True)
        sys.exit(2)


def _names(passes: str | None) -> list[str] | None:
    """Of a comma-separated list; `none` is the empty one."""
    if passes is None:
        return None
    return [] if passes.strip() == "none" else [name.strip() for name in passes.split(",")]
