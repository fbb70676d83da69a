"""Quality against compute, with other systems' figures: `python -m colora.benchmarks.quality_compute`.

Reads the record of `benchmarks.quality`, counts what the backbone multiplies, and draws one panel for each set. Peers
were run once on the first n pictures of the same sets, by name, 8-bit RGB; ours are averaged over the same n.
"""

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import click
from colora.benchmarks.record import RESULTS
from colora.benchmarks.script import run
from colora.benchmarks.tables import markdown
from colora.devices.errors import ColoraError, missing_extra
from colora.runtime.atomic import write_text
from colora.train.backbones import DEFAULT_BACKBONE, find_backbone


@dataclass(frozen=True)
class Peer:
    """A published network on the first `n` pictures of a set."""

    set: str
    name: str
    n: int
    psnr_db: float
    tmac: float | None
    """multiply-adds per megapixel of input, in 10^12; None: not counted"""


PEERS = (
    Peer("denoise_awgn25", "FFDNet", 20, 30.17, 0.21),
    Peer("denoise_real_polyu", "FFDNet", 6, 36.54, 0.21),
    Peer("denoise_real_polyu", "waifu2x photo", 6, 37.77, None),
    Peer("denoise_real_polyu", "MAXIM", 6, 38.09, 2.75),
    Peer("derain_rain100h", "MAXIM", 6, 31.66, 1.76),
    Peer("lowlight_lol", "Zero-DCE", 6, 12.46, None),
    Peer("lowlight_lol", "MAXIM (trained on these)", 6, 36.63, None),
    Peer("dehaze_sots_indoor", "MAXIM", 6, 23.08, None),
    Peer("dehaze_real_ohaze", "MAXIM", 4, 21.01, None),
    Peer("jpeg", "waifu2x cunet", 20, 30.38, None),
    Peer("jpeg", "waifu2x photo", 20, 30.02, None),
    Peer("deblur_camerashake", "MAXIM", 5, 21.36, 2.75),
)
"""MAXIM (Tu et al., CVPR 2022) as @upscalerjs/maxim-*, denoising on SIDD, deraining on Rain13k, LOL, RESIDE outdoor and
GoPro; FFDNet (Zhang et al., TIP 2018), its noise level estimated; waifu2x (nagadomi, nunif); Zero-DCE (Guo et al.,
CVPR 2020). All in ONNX Runtime on a CPU."""


@dataclass(frozen=True)
class Row:
    """One entry of the table: one system on one set."""

    set: str
    name: str
    n: int
    psnr_db: float
    tmac: float | None


def tera_macs(backbone: str) -> float:
    """10^12 multiply-adds of a backbone's convolutions and matrix products per megapixel, as PyTorch counts them; a
    merged adapter changes nothing."""
    import torch
    from torch.utils.flop_counter import FlopCounterMode

    model, side = find_backbone(backbone).build().eval(), 256
    with torch.no_grad(), FlopCounterMode(display=False) as counter:
        model(torch.zeros(1, 3, side, side))
    return float(counter.get_total_flops() / 2 / side**2 * 1e6 / 1e12)


def rows(scores: Sequence[dict[str, Any]], tmac: float, peers: Sequence[Peer] = PEERS) -> list[Row]:
    """Of every set that the record holds: what it scores, over as many pictures as the set's peers were run on.

    scores: of a quality record. Raises ColoraError for a record without the score of each picture.
    """
    found = []
    for name in dict.fromkeys(score["set"] for score in scores):
        here = [peer for peer in peers if peer.set == name]
        n = min((peer.n for peer in here), default=None)
        for score in (score for score in scores if score["set"] == name):
            if not score.get("each"):
                raise ColoraError(
                    f"the record of {name} has means alone; expected the score of each picture: "
                    "run benchmarks.quality again"
                )
            first = score["each"][:n]
            ours = score["column"] in ("backbone", "adapter", "full tuning")
            label = f"colora, {score['column']}" if ours else score["column"]
            found.append(Row(name, label, len(first), sum(first) / len(first), tmac if ours else None))
        found += [Row(name, peer.name, peer.n, peer.psnr_db, peer.tmac) for peer in here]
    return found


def page(table: Sequence[Row]) -> str:
    """By set, best first."""
    rows = []
    for name in dict.fromkeys(row.set for row in table):
        for row in sorted((r for r in table if r.set == name), key=lambda r: -r.psnr_db):
            compute = "–" if row.tmac is None else f"{row.tmac:.3g}"
            rows.append((name, row.name, str(row.n), f"{row.psnr_db:.2f}", compute))
    return markdown(("set", "system", "pictures", "PSNR dB", "TMAC per megapixel"), rows, left=2)


def plot(table: Sequence[Row], path: Path) -> None:
    """One panel a set: PSNR over compute; what has no count is a line at its height."""
    try:
        import matplotlib.figure
    except ImportError as error:
        raise missing_extra("matplotlib", "bench", "drawing quality against compute") from error
    names = list(dict.fromkeys(row.set for row in table))
    columns = min(3, len(names))
    lines = -(-len(names) // columns)
    figure = matplotlib.figure.Figure(figsize=(4.2 * columns, 3.1 * lines), layout="constrained")
    for i, name in enumerate(names):
        axes = figure.add_subplot(lines, columns, i + 1)
        here = [row for row in table if row.set == name]
        for j, row in enumerate(r for r in here if r.tmac is None):
            axes.axhline(row.psnr_db, color=f"C{j + 3}", linewidth=1, linestyle="--", label=row.name)
        for row in (r for r in here if r.tmac is not None):
            ours, x = row.name.startswith("colora"), row.tmac or 0.0
            axes.scatter(x, row.psnr_db, marker="o" if ours else "s", color="C0" if ours else "C1", zorder=3)
            at = (6, -10 if ours else 3)  # ours stands to the left of what is level with it
            axes.annotate(row.name, (x, row.psnr_db), xytext=at, textcoords="offset points", size=8)
        axes.set(xscale="log", xlim=(0.03, 10), title=f"{name} (first {here[0].n})", ylabel="PSNR (dB)")
        axes.margins(y=0.15)
        axes.set_xlabel("TMAC per megapixel")
        axes.grid(alpha=0.3)
        axes.legend(fontsize=7, loc="best")
    figure.savefig(path, dpi=110)


@click.command()
@click.argument(
    "record", default=RESULTS / "quality.json", type=click.Path(exists=True, dir_okay=False, path_type=Path)
)
@click.option("-o", "--output", type=click.Path(path_type=Path), help="[default: RECORD-compute.png and .md]")
def command(record: Path, output: Path | None) -> None:
    """Draw the quality RECORD against compute, beside other systems' figures."""
    told = json.loads(record.read_text())
    table = rows(told["scores"], tera_macs(told["backbone"] or DEFAULT_BACKBONE))
    picture = output or record.with_name(f"{record.stem}-compute.png")
    plot(table, picture)
    write_text(picture.with_suffix(".md"), page(table))
    click.echo(page(table) + f"{picture} and {picture.with_suffix('.md')}")


if __name__ == "__main__":
    run(command)
