"""`make demo`: exports the rain task for jetson, restores a rainy photograph on this CPU, shows before and after.

The photograph is real and its rain is synthetic, so the clean picture is known; its licence is printed.
"""

import statistics
import time
from collections.abc import Sequence
from dataclasses import dataclass
from importlib.resources import files
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click
import numpy as np
from colora.benchmarks.resident import in_fresh_process, memory_now
from colora.benchmarks.script import run
from colora.runtime.default import default_session, restore
from colora.runtime.image import read_image, to_dtype, write_image
from colora.runtime.quality import psnr, ssim
from colora.runtime.weights import Array

if TYPE_CHECKING:
    from PIL.Image import Image

RUNS = 5
GAP, LABEL = 8, 34
"""px between and above the pictures of the sheet"""


@dataclass(frozen=True)
class Photo:
    """A photograph of benchmarks/photos, and the rain that falls on it."""

    file: str
    seed: int
    zoom: tuple[int, int, int]
    """Top, left and side in px of the part that is enlarged."""
    attribution: str


PHOTOS = {
    "motorcycle": Photo(
        "motorcycle.jpg", 9, (230, 190, 144), "Motorcycle, Middlebury Stereo 2014, CC0 1.0; cut"
    ),
    "gates": Photo("gates.jpg", 9, (130, 150, 144), "Orange Hallway, Budgie Backgrounds, CC0 1.0; cut"),
}


def rainy(photo: Photo) -> tuple[Array, Array, str]:
    """(clean, rainy, the rain in words); both H×W×3 RGB uint8."""
    from colora.train.weather import rain

    clean = read_image(str(files("colora.benchmarks.photos") / photo.file))
    degraded, told = rain(to_dtype(clean, np.float32), np.random.default_rng(photo.seed))
    return clean, to_dtype(degraded, np.uint8), told


def on_device(bundle: str, source: str, target: str) -> dict[str, Any]:
    """What a device does, in a process of its own that never loads torch: restore a file, and say what it took."""
    begin = time.perf_counter()
    picture = read_image(source)
    write_image(target, restore(picture, task="rain", bundle=bundle))
    first_ms = (time.perf_counter() - begin) * 1e3
    session = default_session(bundle)
    runs = []
    for _ in range(RUNS):
        restore(picture, task="rain", bundle=bundle)
        runs.append(session.timings.run_ms if session.timings else 0.0)
    facts = session.describe()
    return {
        "first_ms": first_ms,
        "run_ms": statistics.median(runs),
        "peak_rss_bytes": memory_now().peak_rss_bytes,
        "backend": f"{facts.backend.name} {facts.backend.version} on {facts.backend.device}, policy {facts.policy}",
    }


def sheet(pictures: Sequence[tuple[str, Array]], zoom: tuple[int, int, int]) -> "Image":
    """Labelled pictures of one size side by side, and below each the zoomed part, as wide as the picture."""
    from PIL import Image, ImageDraw, ImageFont

    height, width = pictures[0][1].shape[:2]
    top, left, side = zoom
    drawn = Image.new("RGB", (len(pictures) * (width + GAP) - GAP, LABEL + height + GAP + width), "white")
    pen, font = ImageDraw.Draw(drawn), ImageFont.load_default(20)
    for i, (label, picture) in enumerate(pictures):
        x = i * (width + GAP)
        whole = Image.fromarray(picture)
        part = whole.crop((left, top, left + side, top + side)).resize(
            (width, width), Image.Resampling.NEAREST
        )
        pen.text((x + 4, 4), label, fill="black", font=font)
        drawn.paste(whole, (x, LABEL))
        drawn.paste(part, (x, LABEL + height + GAP))
        pen.rectangle((x + left, LABEL + top, x + left + side, LABEL + top + side), outline="white")
    return drawn


def export_rain(bundle: Path, backbone: str | None, adapter: Path | None) -> None:
    """Runs the `colora-export` command, having printed it. Raises: what it raises."""
    from colora.export.cli import command as export_command

    args = ["--adapter", str(adapter)] if adapter else ["--task", "rain"]
    args += ["--backbone", backbone] if backbone else []
    args += ["--target", "jetson", "--replace", "-o", str(bundle)]
    click.echo(f"$ colora-export {' '.join(args)}")
    export_command.main(args, prog_name="colora-export", standalone_mode=False)


def demo(
    output: Path, photo: Photo, backbone: str | None = None, adapter: Path | None = None
) -> dict[str, Any]:
    """Writes bundle, rainy.png, restored.png and before_after.png below `output`; returns the figures printed.

    backbone, adapter: files instead of the shipped weights. Raises: what the export and the session raise.
    """
    output.mkdir(parents=True, exist_ok=True)
    export_rain(output / "bundle", backbone, adapter)
    clean, degraded, told = rainy(photo)
    before, after, both = (output / name for name in ("rainy.png", "restored.png", "before_after.png"))
    write_image(before, degraded)
    call = f'restore("{before}", task="rain", bundle="{output / "bundle"}")'
    click.echo(f">>> from colora.runtime import restore\n>>> {call}")
    figures: dict[str, Any] = in_fresh_process(
        "colora.benchmarks.demo:on_device", output / "bundle", before, after
    )
    restored = read_image(after)
    figures |= {
        "rain": f"synthetic: {told}, seed {photo.seed}",
        "psnr_before_db": psnr(degraded, clean),
        "psnr_after_db": psnr(restored, clean),
        "ssim_before": ssim(degraded, clean),
        "ssim_after": ssim(restored, clean),
        "size_px": f"{clean.shape[1]}×{clean.shape[0]}",
    }
    labelled = (
        (f"synthetic rain, {figures['psnr_before_db']:.2f} dB", degraded),
        (f"restored, {figures['psnr_after_db']:.2f} dB", restored),
        ("clean photograph", clean),
    )
    write_image(both, np.asarray(sheet(labelled, photo.zoom)))
    return figures


def print_figures(figures: dict[str, Any], photo: Photo, picture: Path) -> None:
    """The figures, aligned, and where the picture lies."""
    from rich.console import Console
    from rich.table import Table

    table = Table("", "before", "after", box=None, pad_edge=False)
    for column in table.columns[1:]:
        column.justify = "right"
    table.add_row("PSNR, dB", f"{figures['psnr_before_db']:.2f}", f"{figures['psnr_after_db']:.2f}")
    table.add_row("SSIM", f"{figures['ssim_before']:.3f}", f"{figures['ssim_after']:.3f}")
    costs = Table(box=None, show_header=False, pad_edge=False)
    costs.add_column()
    costs.add_column(justify="right")
    costs.add_row(f"latency at {figures['size_px']}, ms (median of {RUNS})", f"{figures['run_ms']:.1f}")
    costs.add_row("first picture, with opening and checking the bundle, ms", f"{figures['first_ms']:.0f}")
    costs.add_row("memory, peak RSS of the process, MB", f"{figures['peak_rss_bytes'] / 1e6:.0f}")
    console = Console(highlight=False, soft_wrap=True)
    for part in ("", table, "", costs, ""):
        console.print(part)
    console.print(f"ran on    {figures['backend']}: this CPU, not a Jetson")
    console.print(f"rain      {figures['rain']}")
    console.print(f"photo     {photo.attribution}")
    console.print(f"pictures  {picture}")


@click.command()
@click.option(
    "-o", "--output", default="demo", show_default=True, type=click.Path(path_type=Path), help="Folder."
)
@click.option("--photo", default="motorcycle", show_default=True, type=click.Choice(list(PHOTOS)))
@click.option("--backbone", help="File instead of the shipped backbone.")
@click.option("--adapter", type=click.Path(path_type=Path), help="File instead of the shipped rain adapter.")
def command(output: Path, photo: str, backbone: str | None, adapter: Path | None) -> None:
    """Export the rain task, restore a rainy photograph, show before and after."""
    figures = demo(output, PHOTOS[photo], backbone, adapter)
    print_figures(figures, PHOTOS[photo], output / "before_after.png")


if __name__ == "__main__":
    run(command)
