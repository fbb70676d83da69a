"""How few steps and images give FAIG the ranks that N = 100 gives: Spearman's correlation, recorded and plotted.

`python -m colora.benchmarks.faig_study --target runs/rain/target.safetensors --pairs DIR` takes the fully tuned copy
that `colora adapt` leaves behind. One pass of the finest N over all images serves every coarser N that divides it,
since its points are among those of the finest; sets of fewer images are drawn from the same images.
"""

import tempfile
import time
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from importlib.resources import files
from pathlib import Path
from typing import TYPE_CHECKING

import click
import numpy as np
from colora.benchmarks.faig_study_view import plot, print_table
from colora.benchmarks.record import RESULTS, environment, warn_if_dirty, write_record
from colora.benchmarks.script import run
from colora.benchmarks.tiny import make_tiny
from colora.devices.errors import CheckpointError
from colora.runtime.weights import Array
from colora.train.backbones import DEFAULT_BACKBONE

if TYPE_CHECKING:
    from colora.train.checkpoint import Checkpoint
    from colora.train.photos import Pair
    from torch import Tensor, nn

PACKAGES = ("numpy", "torch")
ENOUGH = 0.95

MEASURED = {
    "reference": "The largest N on all images.",
    "scores": "Spearman's rank correlation with the reference of the mean |FAIG| per number, over all parameters.",
    "ranks": "The same of the share of each kernel that its adapter stores, for the budget and β given.",
    "worst": "Of `draws` random sets of so many images. All of them are among those of the reference, so the figures "
    "for nearly all of its images say little.",
    "seconds_per_step": "One forward and backward pass at one image, mean over all.",
}
"""How the numbers came about; part of the record."""


@dataclass(frozen=True)
class Row:
    """One setting of FAIG against the reference."""

    steps: int
    images: int
    scores_mean: float
    scores_worst: float
    ranks_mean: float
    ranks_worst: float

    @property
    def passes(self) -> int:
        """Forward and backward passes that it costs."""
        return self.steps * self.images

    @property
    def enough(self) -> bool:
        """Whether even its worst set of images orders parameters as the reference does."""
        return min(self.scores_worst, self.ranks_worst) >= ENOUGH


def scores_by_steps(
    model: "nn.Module",
    baseline: "Mapping[str, Tensor]",
    target: "Mapping[str, Tensor]",
    pair: "tuple[Tensor, Tensor]",
    counts: Sequence[int],
) -> Array:
    """(N, parameter): mean |FAIG| per number on one image, for each N of `counts`, which divide the largest of them."""
    import torch
    from colora.train.attribution import along_path

    finest = max(counts)
    names = [name for name, _ in model.named_parameters()]
    sums = {n: {name: torch.zeros_like(baseline[name]) for name in names} for n in counts}
    for t, gradients in enumerate(along_path(model, baseline, target, pair, finest)):
        for n in counts:
            if t % (finest // n) == 0:
                for name, gradient in gradients.items():
                    sums[n][name] += gradient
    change = {name: target[name] - baseline[name] for name in names}
    return np.array(
        [[float((sums[n][name] * change[name] / n).abs().mean()) for name in names] for n in counts]
    )


def compare(
    scores: Array,
    counts: Sequence[int],
    shapes: Mapping[str, tuple[int, ...]],
    budget: int,
    *,
    beta: float,
    draws: int,
    seed: int,
) -> list[Row]:
    """Rows by N and number of images: 1, 2, 4 … and all. scores: (image, N, parameter), in the order of `shapes`."""
    from colora.train.allocations import agreement, spearman
    from colora.train.ranks import allocate

    rng = np.random.default_rng(seed)
    images = len(scores)
    sizes = sorted({images, *(2**i for i in range(images.bit_length()) if 2**i < images)})
    told = dict(zip(shapes, scores[:, int(np.argmax(counts))].mean(0).tolist(), strict=True))
    reference = allocate(shapes, told, budget, beta)
    rows = []
    for size in sizes:
        every = [rng.choice(images, size, replace=False) for _ in range(draws if size < images else 1)]
        for i, steps in enumerate(counts):
            found = []
            for chosen in every:
                some = dict(zip(shapes, scores[chosen, i].mean(0).tolist(), strict=True))
                ranks = allocate(shapes, some, budget, beta)
                found.append((spearman(some, told), agreement(shapes, ranks, reference)))
            (scores_mean, ranks_mean), (scores_worst, ranks_worst) = np.mean(found, 0), np.min(found, 0)
            rows.append(Row(steps, size, *map(float, (scores_mean, scores_worst, ranks_mean, ranks_worst))))
    return rows


def cheapest(rows: Sequence[Row]) -> Row:
    """The row of fewest passes that is enough; the reference itself always is."""
    return min((row for row in rows if row.enough), key=lambda row: row.passes)


def tiny_files(folder: Path) -> tuple[Path, Path]:
    """Backbone and a changed copy of it, of no use but their size."""
    from colora.runtime.adapter import read_adapter
    from colora.train.checkpoint import load_backbone, save_backbone
    from colora.train.methods import merged

    tiny, target = make_tiny(folder), folder / "target.safetensors"
    backbone = load_backbone(str(tiny.backbone))
    model = merged(backbone, read_adapter(tiny.rain, backbone.sha256).params)
    save_backbone(target, model, backbone.backbone, {})
    return tiny.backbone, target


def study(
    backbone: "Checkpoint",
    target: "Checkpoint",
    pairs: "Sequence[Pair]",
    counts: Sequence[int],
    patch: int,
    device: str = "cpu",
) -> tuple[Array, float]:
    """Scores (image, N, parameter), and seconds for one step at one image. Raises CheckpointError for other layouts.

    `device` is torch's; the two networks are moved there.
    """
    from colora.train.pairs import centres

    if backbone.backbone.config != target.backbone.config:
        raise CheckpointError(
            f"the tuned copy is a {target.backbone.name}, the backbone a {backbone.backbone.name}: expected the same"
        )
    weights = backbone.module.to(device).state_dict(), target.module.to(device).state_dict()
    begin = time.perf_counter()
    found = []
    for degraded, clean in centres(pairs, patch, backbone.backbone.pad.multiple_of):
        pair = degraded.to(device), clean.to(device)
        found.append(scores_by_steps(backbone.module, *weights, pair, counts))
        click.echo(f"{len(found)} of {len(pairs)} images", err=True)
    return np.stack(found), (time.perf_counter() - begin) / len(found) / max(counts)


FOLDER = click.Path(exists=True, file_okay=False, path_type=Path)


@click.command()
@click.option("--backbone", default=DEFAULT_BACKBONE, show_default=True, help="Zoo name or file.")
@click.option("--target", help="Fully tuned copy: the target.safetensors that colora adapt keeps.")
@click.option("--tiny", is_flag=True, help="A random network instead of both, to try the command.")
@click.option("--pairs", type=FOLDER, help="Folder with input/ and target/: real pairs instead of --photos.")
@click.option("--photos", type=FOLDER, help="Clean photographs. [default: the two of the demo]")
@click.option("--task", default="rain", show_default=True, help="What degrades --photos.")
@click.option("--images", default=16, show_default=True, type=click.IntRange(1), help="Of the reference.")
@click.option("--steps", default=100, show_default=True, type=click.IntRange(1), help="N of the reference.")
@click.option("--patch", default=128, show_default=True, help="Side of the centre crop in pixels.")
@click.option("--budget", default=0.07, show_default=True, help="Numbers of the deltas per number.")
@click.option("--beta", default=0.01, show_default=True)
@click.option("--draws", default=20, show_default=True, type=click.IntRange(1), help="Sets of each size.")
@click.option("--seed", default=0, show_default=True)
@click.option("--threads", type=click.IntRange(1), help="Torch threads.")
@click.option("--device", default="cpu", show_default=True, help="Of torch, e.g. cuda.")
@click.option(
    "-o",
    "--output",
    default=RESULTS / "faig-study.json",
    show_default=True,
    type=click.Path(dir_okay=False, path_type=Path),
)
def command(
    backbone: str,
    target: str | None,
    tiny: bool,
    pairs: Path | None,
    photos: Path | None,
    task: str,
    images: int,
    steps: int,
    patch: int,
    budget: float,
    beta: float,
    draws: int,
    seed: int,
    threads: int | None,
    device: str,
    output: Path,
) -> None:
    """How few steps and images give FAIG the ranks that many give; written to OUTPUT and, as PNG, beside it."""
    import torch
    from colora.train.checkpoint import load_backbone
    from colora.train.examples import from_photos
    from colora.train.pairs import read_pairs
    from colora.train.tasks import find_task

    if tiny == (target is not None):
        raise click.UsageError("give either --target (a fully tuned copy of --backbone) or --tiny")
    if threads:
        torch.set_num_threads(threads)
    where = environment(PACKAGES)
    warn_if_dirty(where)
    folder = photos or Path(str(files("colora.benchmarks.photos")))
    chosen = read_pairs(pairs) if pairs else from_photos(find_task(task), [folder], images, seed).held_out
    with tempfile.TemporaryDirectory() as work:
        named = tiny_files(Path(work)) if tiny else (backbone, target)
        base, tuned = (load_backbone(str(name)) for name in named)
    counts = [n for n in range(1, steps + 1) if steps % n == 0]
    scores, seconds = study(base, tuned, chosen[:images], counts, patch, device)
    numbers = int(budget * sum(p.numel() for p in base.module.parameters()))
    rows = compare(scores, counts, base.shapes, numbers, beta=beta, draws=draws, seed=seed)
    print_table(rows)
    best = cheapest(rows)
    settings = {
        "backbone": base.backbone.name,
        "backbone_sha256": base.sha256,
        "target_sha256": tuned.sha256,
        "examples": pairs.name if pairs else f"{folder.name}, degraded as {task}",
        "steps": steps,
        "images": len(scores),
        "patch_px": patch,
        "budget": budget,
        "beta": beta,
        "draws": draws,
        "seed": seed,
        "torch_threads": torch.get_num_threads(),
        "device": device,
    }
    content = {
        "settings": settings,
        "measured": MEASURED,
        "enough": ENOUGH,
        "cheapest": asdict(best),
        "seconds_per_step": seconds,
        "rows": [asdict(row) for row in rows],
    }
    write_record(output, "faig-study", where, content)
    plot(rows, output.with_suffix(".png"), ENOUGH)
    click.echo(f"enough: N = {best.steps}, images {best.images}: passes {best.passes}, each {seconds:.3f} s")
    click.echo(f"{output} and {output.with_suffix('.png')}")


if __name__ == "__main__":
    run(command)
