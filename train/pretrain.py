"""Pre-training on randomly ordered degradations: `colora pretrain`, and the same as a function."""

from collections.abc import Callable, Sequence
from dataclasses import asdict
from pathlib import Path
from shlex import quote
from typing import cast

import click
import numpy as np
import torch
from colora.runtime.weights import weights_sha256
from colora.train.augment import augmented_crop
from colora.train.backbones import DEFAULT_BACKBONE, Backbone, find_backbone
from colora.train.checkpoint import arrays, run_folder, save_backbone
from colora.train.degradations import (
    DECAY,
    DEGRADATIONS,
    MAX_COUNT,
    MODES,
    PROD,
    Degradation,
    Image,
    Mode,
    count_sequences,
    count_shares,
    prod,
)
from colora.train.distributed import rank_and_world
from colora.train.evaluate import held_out_psnr
from colora.train.fit import FitConfig, Progress, fit
from colora.train.options import TrainOptions, train_options
from colora.train.pairs import middle
from colora.train.patches import Stage
from colora.train.photos import (
    Batches,
    Pixels,
    clean_crop,
    picture_files,
    pictures_sha256,
    read_rgb,
    require_usable,
    split_files,
    to_float,
    to_tensor,
)
from colora.train.progress import reporting
from numpy.random import Generator
from torch import Tensor


def held_out_centres(
    photos: Sequence[Pixels], degrade: Degradation, side: int, multiple_of: int, seed: int
) -> list[tuple[Tensor, Tensor]]:
    """(degraded, clean) of each photo's `middle`, (1, 3, h, w) each, degraded once and for all from `seed`."""
    centres = []
    for i, photo in enumerate(photos):
        clean = to_float(photo[middle(photo.shape, side, multiple_of)])
        degraded, _ = degrade(clean, np.random.default_rng([seed, i]))
        centres.append((to_tensor([degraded]), to_tensor([clean])))
    return centres


def pretrain(
    photos: Sequence[Path],
    output: Path,
    config: FitConfig,
    *,
    backbone: str | Backbone = DEFAULT_BACKBONE,
    names: Sequence[str] = PROD,
    max_count: int = MAX_COUNT,
    mode: Mode = "random",
    decay: float = DECAY,
    spoil: Degradation | None = None,
    augment: bool = True,
    batch: int = 4,
    patch: int = 128,
    patches: Sequence[Stage] = (),
    held_out: int | None = None,
    seed: int = 0,
    report: Callable[[Progress], None] = lambda progress: None,
) -> str:
    """Trains `backbone`, a name or a layout, from random weights on `photos` (clean pictures, and folders of such) and
    writes it to `output`.

    Each patch gets up to `max_count` of the degradations `names`, as `mode` and `decay` say: see `prod`; or what
    `spoil` makes of it, another way to degrade in place of all these. `augment` varies the clean patches first, by
    `augmented_crop`. `output` names a .safetensors file; the folder
    beside it, of the same stem, holds the resumable state and the curve. `patches` are progressive ones, in place of
    `batch` and `patch`. held_out: see `keep_out`. Returns the weights' sha256. In a process group the first process
    writes.
    Raises ImageError as `require_usable` does, and what `fit` raises: the state in that folder belongs to one recipe.
    """
    spec = find_backbone(backbone) if isinstance(backbone, str) else backbone
    files = [f for folder in photos for f in picture_files(folder)]
    train_files, kept_files = split_files(files, held_out)
    clean = [read_rgb(f) for f in train_files]
    kept = [read_rgb(f) for f in kept_files]
    told = f"{len(clean)} photographs to train on, {len(kept)} held out"
    stages = tuple(patches) or (Stage(patch, batch),)
    require_usable(clean, zip(map(str, kept_files), kept, strict=True), told, stages, spec.pad.multiple_of)
    folder = run_folder(output)

    def degrade(image: Image, rng: Generator) -> tuple[Image, str]:
        return spoil(image, rng) if spoil else prod(image, rng, names, max_count, mode, decay)

    crop = augmented_crop if augment else clean_crop

    def draw(rng: Generator, patch: int) -> tuple[Image, Image]:
        image = crop(clean, patch, rng)
        return degrade(image, rng)[0], image

    torch.manual_seed(seed)
    model = spec.build()
    validate = None
    if kept:
        validate = held_out_psnr(held_out_centres(kept, degrade, 256, spec.pad.multiple_of, seed))
    recipe = {
        "method": getattr(spoil, "__name__", "PROD"),
        "degradations": list(names),
        "max_count": max_count,
        "mode": mode,
        "decay": decay,
        "augment": augment,
        "sequences": count_sequences(len(names), max_count, mode),
        "photos": len(clean),
        "pictures_sha256": pictures_sha256([*clean, *kept]),
        "folders": [folder.resolve().name for folder in photos],
        "patches": ",".join(map(str, stages)),
        "seed": seed,
    }
    batches = Batches(draw, stages, config.made, seed)
    kept_step = fit(model, batches, config, folder, validate, report, recipe)
    if rank_and_world()[0]:
        return weights_sha256(arrays(model))
    return save_backbone(output, model, spec, recipe | {"fit": asdict(config), "kept_step": kept_step})


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
@click.option("--degradations", default=",".join(PROD), show_default=True, help="Functions to draw from.")
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
@click.option("--steps", type=click.IntRange(min=1), default=6000, show_default=True)
@click.option("--lr", default=1e-3, show_default=True, help="Peak learning rate.")
@train_options
def command(
    photos: tuple[Path, ...],
    output: Path,
    backbone: str,
    degradations: str,
    max_count: int,
    mode: str,
    decay: float,
    steps: int,
    lr: float,
    options: TrainOptions,
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
    with options.joined() as options:
        first = rank_and_world()[0] == 0
        if first:
            click.echo(told_diversity(names, max_count, chosen, decay))
        with reporting(f"pretrain {backbone}", options.tensorboard) as report:
            sha256 = pretrain(
                photos,
                output,
                options.fit_config(steps, lr),
                backbone=backbone,
                names=names,
                max_count=max_count,
                mode=chosen,
                decay=decay,
                augment=options.augment,
                batch=options.batch,
                patch=options.patch,
                patches=options.patches,
                held_out=options.held_out,
                seed=options.seed,
                report=report,
            )
        if first:
            click.echo(f"{output}  sha256 {sha256[:16]}")
            files = f"--backbone {quote(str(output))} --photos {quote(str(photos[0]))}"
            click.echo(f"next: colora adapt --task rain {files}")
