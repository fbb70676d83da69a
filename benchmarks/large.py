"""Large pictures: memory that does not grow, throughput that does not fall, and what tiles change.

`python -m colora.benchmarks.large` prints the table and writes the record. Linux only. 100 megapixels take the shipped
network about 8 minutes each way on two cores: `--large 25` is quicker, and says so in the table.
"""

import math
import shutil
import tempfile
from pathlib import Path

import click
from colora.benchmarks.demand import Demand, write_demands
from colora.benchmarks.networks import BACKBONES
from colora.benchmarks.record import environment, path_of, warn_if_dirty
from colora.benchmarks.resident import in_fresh_process
from colora.benchmarks.script import output_option, run, threads_option
from colora.runtime.bundle import open_bundle

PACKAGES = ("numpy", "onnxruntime", "tifffile")
GROWTH_MOST, PACE, SEAMS_LEAST = 1.1, 0.05, 50.0
MB = 1e6

MEASURED = {
    "array": "VmHWM of a fresh process, set back before the call, less the bytes of picture and result: a session by "
    "policy refit restores a square uint8 array of noise. `beside`: also less what the process held before, so the "
    "memory of the call alone.",
    "file": "VmHWM of a fresh process that restores a tiled TIFF (256×256, Deflate) of noise to another, in row bands: "
    "the whole process. Other formats are decoded whole.",
    "throughput": "Megapixels of the picture by seconds of the call. Tiles overlap and are rounded up to what the "
    "network takes, so more pixels are computed than there are: how many depends on the sides.",
    "seams": "PSNR of float32 results, tiled against whole, of a smooth picture with noise, no larger than the graph "
    "takes whole. Without pools: the same network, the weights behind each mean over the picture set to 0, so that "
    "nothing depends on more than the surroundings: what remains is the seams. With pools, tiles see means of their "
    "own: that is the network's dependence on what it is shown, not a fault of the blending.",
}
"""How the numbers came about; part of the record."""


@click.command()
@click.option(
    "--bundle",
    type=click.Path(exists=True, file_okay=False, path_type=Path),
    help="A copy of it is used, instead of exporting --backbone.",
)
@click.option("--backbone", default="nafnet-small", show_default=True, help=BACKBONES)
@click.option("--small", default=4.0, show_default=True, help="Megapixels of the picture compared with.")
@click.option("--large", default=100.0, show_default=True, help="Megapixels.")
@threads_option
@click.option("--files/--no-files", default=True, show_default=True, help="Also from file to file.")
@output_option
def command(
    bundle: Path | None,
    backbone: str,
    small: float,
    large: float,
    threads: int,
    files: bool,
    output: Path,
) -> None:
    """Memory and throughput of a large picture against a small one, and tiles against the whole."""
    where = environment(PACKAGES)
    warn_if_dirty(where)
    sides = {megapixels: math.isqrt(round(megapixels * 1e6)) for megapixels in (small, large)}
    found: dict[str, dict[float, dict[str, float]]] = {"array": {}, "file": {}}
    with tempfile.TemporaryDirectory() as text:
        folder = Path(text)
        work = folder / "bundle"
        if bundle:
            shutil.copytree(bundle, work)
        else:
            in_fresh_process("colora.benchmarks.networks:export", backbone, text)
        opened = open_bundle(work)
        task, name = opened.tasks[0], opened.manifest.backbone
        if sides[small] <= opened.manifest.tile.when_above:
            raise click.BadParameter(
                f"{small} megapixels run whole; expected more than {opened.manifest.tile.when_above}² px",
                param_hint="--small",
            )
        for megapixels, side in sides.items():
            click.echo(f"{megapixels:g} megapixels …", err=True)
            args = (str(work), task, str(side), str(threads))
            found["array"][megapixels] = in_fresh_process("colora.benchmarks.large_run:array", *args)
            if files:
                source = folder / f"{side}.tif"
                in_fresh_process("colora.benchmarks.large_run:write_noise", source, str(side))
                found["file"][megapixels] = in_fresh_process(
                    "colora.benchmarks.large_run:bands", *args, str(source)
                )
        click.echo("seams …", err=True)
        side = min(opened.manifest.tile.when_above, *opened.manifest.shapes.max)
        seams = in_fresh_process(
            "colora.benchmarks.large_run:seams", str(work), task, str(side), str(threads)
        )
    demands = [*judge(name, found, small, large), *judge_seams(f"{name}, {side}×{side} px", seams)]
    path = path_of(output, where, f"large-{bundle.name if bundle else backbone}")
    settings = {"backbone": name, "small_mp": small, "large_mp": large, "threads": threads}
    figures = {kind: {f"{mp:g}": x for mp, x in of.items()} for kind, of in found.items()}
    click.echo(
        write_demands(path, "large", where, demands, MEASURED, {"settings": settings, "figures": figures})
    )
    click.echo(f"{path} and .md")


def judge(
    name: str, found: dict[str, dict[float, dict[str, float]]], small: float, large: float
) -> list[Demand]:
    """Memory and throughput of each picture, and the ratios that are asked for."""
    demands = []
    for kind, of in found.items():
        if not of:
            continue
        for megapixels, x in of.items():
            where = f"{name}, {kind}, {megapixels:g} MP"
            demands += [Demand(f"{where}: peak", x["peak_bytes"] / MB, "MB")]
            demands += (
                [Demand(f"{where}: beside", x["beside_bytes"] / MB, "MB")] if "beside_bytes" in x else []
            )
            demands += [Demand(f"{where}: throughput", megapixels / x["seconds"], "MP/s")]
        a, b, against = of[small], of[large], f"{small:g} MP"
        where = f"{name}, {kind}, {large:g} MP"
        demands.append(
            Demand(f"{where}: peak", b["peak_bytes"] / a["peak_bytes"], most=GROWTH_MOST, against=against)
        )
        if "beside_bytes" in b:
            demands.append(Demand(f"{where}: beside", b["beside_bytes"] / a["beside_bytes"], against=against))
        pace = large / b["seconds"] / (small / a["seconds"])
        demands.append(Demand(f"{where}: throughput", pace, most=1 + PACE, least=1 - PACE, against=against))
    return demands


def judge_seams(where: str, seams: dict[str, float]) -> list[Demand]:
    """What tiles change; asked for only where nothing depends on the whole picture."""
    asked = SEAMS_LEAST if not seams["pools"] else None
    return [
        Demand(
            f"{where}: tiles as they are, {seams['pools']:g} pools",
            seams["as_it_is_db"],
            "dB",
            least=asked,
            against="whole",
        ),
        Demand(
            f"{where}: tiles, pools constant",
            seams["without_pools_db"],
            "dB",
            least=SEAMS_LEAST,
            against="whole",
        ),
    ]


if __name__ == "__main__":
    run(command)
