"""Pre-training on randomly ordered degradations: `colora pretrain`, and the same as a function."""

from collections.abc import Callable, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import cast

import click
import numpy as np
import torch
from colora.train.backbones import DEFAULT_BACKBONE, find_backbone
from colora.train.checkpoint import save_backbone
from colora.train.degradations import (
    DECAY,
    DEGRADATIONS,
    MAX_COUNT,
    MODES,
    Degradation,
    Image,
    Mode,
    count_sequences,
    count_shares,
    prod,
)
from colora.train.fit import FitConfig, Progress, fit
from colora.train.photos import (
    Batches,
    Pixels,
    clean_crop,
    picture_files,
    read_rgb,
    split,
    to_float,
    to_tensor,
)
from colora.train.progress import progress_bar
from numpy.random import Generator
from torch import nn


def held_out_psnr(
    photos: Sequence[Pixels], degrade: Degradation, size: int, seed: int
) -> Callable[[nn.Module], float]:
    """Function model → mean PSNR in dB over the photos' centres, size×size, degraded once and for all from `seed`."""
    clean, degraded = [], []
    for i, photo in enumerate(photos):
        y, x = (photo.shape[0] - size) // 2, (photo.shape[1] - size) // 2
        clean.append(to_float(photo[y : y + size, x : x + size]))
        degraded.append(degrade(clean[-1], np.random.default_rng([seed, i]))[0])
    inputs, targets = to_tensor(degraded), to_tensor(clean)

    @torch.no_grad()
    def validate(model: nn.Module) -> float:
        model.eval()
        errors = [
            (model(x[None]).clamp(0, 1) - y).square().mean() for x, y in zip(inputs, targets, strict=True)
        ]
        return float(-10 * torch.log10(torch.stack(errors)).mean())

    return validate


def pretrain(
    photos: Sequence[Path],
    output: Path,
    config: FitConfig,
    *,
    backbone: str = DEFAULT_BACKBONE,
    names: Sequence[str] = tuple(DEGRADATIONS),
    max_count: int = MAX_COUNT,
    mode: Mode = "random",
    decay: float = DECAY,
    batch: int = 4,
    patch: int = 128,
    held_out: int = 12,
    seed: int = 0,
    report: Callable[[Progress], None] = lambda progress: None,
) -> str:
    """Trains `backbone` from random weights on `photos` (folders of clean pictures) and writes it to `output`.

    Each patch gets up to `max_count` of the degradations `names`, as `mode` and `decay` say: see `prod`. `output` names
    a .safetensors file; the folder beside it, of the same stem, holds the resumable state and the curve. Returns the
    weights' sha256.
    """
    spec = find_backbone(backbone)
    files = [f for folder in photos for f in picture_files(folder)]
    train_files, kept_files = split(files, held_out)
    clean = [read_rgb(f) for f in train_files]
    kept = [read_rgb(f) for f in kept_files]

    def degrade(image: Image, rng: Generator) -> tuple[Image, str]:
        return prod(image, rng, names, max_count, mode, decay)

    def draw(rng: Generator) -> tuple[Image, Image]:
        image = clean_crop(clean, patch, rng)
        return degrade(image, rng)[0], image

    torch.manual_seed(seed)
    model = spec.build()
    validate = held_out_psnr(kept, degrade, 256, seed) if kept else None
    fit(model, Batches(draw, batch, seed), config, output.with_suffix(""), validate, report)
    training = {
        "method": "PROD",
        "degradations": list(names),
        "max_count": max_count,
        "mode": mode,
        "decay": decay,
        "sequences": count_sequences(len(names), max_count, mode),
        "photos": len(clean),
        "folders": [folder.name for folder in photos],
        "batch": batch,
        "patch": patch,
        "seed": seed,
        "fit": asdict(config),
    }
    return save_backbone(output, model, spec, training)


def told_diversity(names: Sequence[str], max_count: int, mode: Mode, decay: float) -> str:
    """What a configuration of PROD can draw, in a sentence."""
    shares = count_shares(len(names), max_count, mode, decay)
    how = {
        "single": "one function an image",
        "fixed": f"up to {len(shares)} functions an image, always in the order given",
        "random": f"up to {len(shares)} functions an image, in random order",
    }[mode]
    told = ", ".join(f"{share:.1%} get {count}" for count, share in enumerate(shares, 1))
    return (
        f"{len(names)} degradations, {how}: {count_sequences(len(names), max_count, mode):,} different sequences of "
        f"functions can be drawn, parameters not counted; of the images {told}"
    )


@click.command("pretrain")
@click.option(
    "--photos",
    multiple=True,
    required=True,
    type=click.Path(exists=True, file_okay=False, path_type=Path),
    help="Folder of clean photographs; may be given several times.",
)
@click.option(
    "-o", "--output", default="runs/backbone.safetensors", show_default=True, type=click.Path(path_type=Path)
)
@click.option("--backbone", default=DEFAULT_BACKBONE, show_default=True)
@click.option(
    "--degradations", default=",".join(DEGRADATIONS), show_default=True, help="Functions to draw from."
)
@click.option(
    "--max-count",
    type=click.IntRange(min=1),
    default=MAX_COUNT,
    show_default=True,
    help="Most degradations per image.",
)
@click.option(
    "--mode",
    type=click.Choice(MODES),
    default="random",
    show_default=True,
    help="One degradation per image, several in the order given, or several in random order (PROD).",
)
@click.option(
    "--decay",
    type=click.FloatRange(0, 1, min_open=True),
    default=DECAY,
    show_default=True,
    help="Each further degradation is this much rarer; 1 draws all counts alike.",
)
@click.option("--steps", default=6000, show_default=True)
@click.option("--batch", default=4, show_default=True)
@click.option("--patch", default=128, show_default=True, help="Side of a training patch in pixels.")
@click.option("--lr", default=1e-3, show_default=True)
@click.option("--held-out", default=12, show_default=True, help="Photographs kept out for validation.")
@click.option("--seed", default=0, show_default=True)
@click.option("--bf16", is_flag=True, help="Autocast the forward pass to bfloat16.")
@click.option(
    "--compile", "compile_", is_flag=True, help="torch.compile the model (first step takes minutes)."
)
@click.option("--threads", type=int, help="Torch threads.")
def command(
    photos: tuple[Path, ...],
    output: Path,
    backbone: str,
    degradations: str,
    max_count: int,
    mode: str,
    decay: float,
    steps: int,
    batch: int,
    patch: int,
    lr: float,
    held_out: int,
    seed: int,
    bf16: bool,
    compile_: bool,
    threads: int | None,
) -> None:
    """Pre-train a backbone on randomly ordered degradations (PROD). Run again to go on after a stop."""
    from colora.devices.errors import unknown

    names = tuple(degradations.split(","))
    for name in names:
        if name not in DEGRADATIONS:
            raise unknown("degradation", name, DEGRADATIONS)
    if len(set(names)) < len(names):
        raise click.UsageError(f"--degradations {degradations}: expected each name once")
    chosen = cast(Mode, mode)  # click checked it
    click.echo(told_diversity(names, max_count, chosen, decay))
    config = FitConfig(steps=steps, lr=lr, bf16=bf16, compile=compile_, threads=threads)
    with progress_bar(f"pretrain {backbone}") as report:
        sha256 = pretrain(
            photos,
            output,
            config,
            backbone=backbone,
            names=names,
            max_count=max_count,
            mode=chosen,
            decay=decay,
            batch=batch,
            patch=patch,
            held_out=held_out,
            seed=seed,
            report=report,
        )
    click.echo(f"{output}  sha256 {sha256[:16]}")
    click.echo(f"next: colora adapt --task rain --backbone {output} --photos {photos[0]}")
