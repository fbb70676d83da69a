"""One run of an experiment: a small real training by `train.pretrain` and `train.adapt`, measured, and cached.

A run is a function of what it says and of its scale: its result lies in the work folder under the hash of both, so that
an experiment goes on after a stop, and experiments share their runs. Trainings go on from their own states, too.
"""

import hashlib
import json
import shutil
import time
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from colora.benchmarks.experiment_data import Sources, few_pairs
from colora.benchmarks.experiment_rivals import degae, real_esrgan
from colora.runtime.atomic import write_text

if TYPE_CHECKING:
    from colora.train.backbones import Backbone
    from colora.train.checkpoint import Checkpoint
    from colora.train.ranks import Allocation

PAPER = ("blur", "noise", "rain", "jpeg", "motion")
"""what CoLoRA's figure pre-trains on; haze, raindrop, low light and ×2 are new to such a backbone"""

RECIPES: dict[str, dict[str, Any]] = {
    "prod": {"names": PAPER, "max_count": len(PAPER)},
    "single": {"names": PAPER, "mode": "single"},
    "fixed": {"names": PAPER, "max_count": len(PAPER), "mode": "fixed"},
    "degae": {"spoil": degae},
    "real-esrgan": {"spoil": real_esrgan},
    "none": {},
}
"""Name → arguments of `pretrain`; "none" is a random initialisation."""

METHODS = ("colora", "uniform", "decoder", "full")
"""Ranks by FAIG; the same share of every kernel; that of the decoder's kernels alone; all weights."""


@dataclass(frozen=True)
class Scale:
    """How large everything is."""

    steps: int = 200
    """of each adaptation, the fully tuned copies' too"""
    pretrain_steps: int = 2000
    pretrain_echo: int = 1
    """steps that each batch of pre-training serves"""
    patch: int = 64
    batch: int = 4
    backbone_width: int = 16
    """channels at full resolution"""
    faig_steps: int = 20
    faig_images: int = 4
    lr: float = 2e-3
    """of adapters"""
    tune_lr: float = 5e-4
    """of full tuning"""
    scratch_lr: float = 1e-3
    """of pre-training, and of full tuning from random weights"""

    def __str__(self) -> str:
        return ", ".join(f"{name.replace('_', ' ')} {value:g}" for name, value in asdict(self).items())


@dataclass(frozen=True)
class Where:
    """What trains; results don't depend on it but for rounding."""

    device: str = "cpu"
    """of torch"""
    workers: int = 1
    """processes that degrade pictures for pre-training"""
    compile: bool = False
    """torch.compile the networks that are trained"""
    threads: int | None = None
    """of torch; None leaves torch's own choice"""


@dataclass(frozen=True)
class Run:
    """One adaptation, and the pre-training that it starts from."""

    task: str
    method: str = "colora"
    pairs: int = 32
    seed: int = 0
    budget: float = 0.07
    recipe: str = "prod"
    architecture: str = "nafnet"


def cell_of(run: Run) -> tuple[Any, ...]:
    """What runs have in common that share a fully tuned copy, and so a folder: no two of them at the same time."""
    return run.task, run.pairs, run.seed, run.recipe, run.architecture


def layout(architecture: str, width: int) -> "Backbone":
    """A small NAFNet, 1.3 million numbers at width 16, or a small Restormer, 1.1 million."""
    from colora.runtime.manifest import Tile
    from colora.train.backbones import Backbone
    from colora.train.nafnet import NAFNetConfig
    from colora.train.restormer import RestormerConfig

    config = (
        NAFNetConfig(width, (1, 1, 1, 2), 1, (1, 1, 1, 1))
        if architecture == "nafnet"
        else RestormerConfig(dim=width, blocks=(1, 2, 2, 2), refinement_blocks=1)
    )
    return Backbone(f"{architecture}-w{width}", config, Tile(size=512, overlap=32, when_above=1024))


def key_of(*told: object) -> str:
    """Short hash that names what is told."""
    return hashlib.sha256(json.dumps(told, default=asdict).encode()).hexdigest()[:16]


def _pretrain_steps(run: Run, scale: Scale) -> int:
    return 0 if run.recipe == "none" else scale.pretrain_steps


def backbone_path(run: Run, scale: Scale, sources: Sources, work: Path) -> Path:
    """Where the backbone of a run is, or will be. All runs of a recipe share it."""
    steps = _pretrain_steps(run, scale)
    files = [file.name for file in sources.pretrain] if steps else []
    spec = layout(run.architecture, scale.backbone_width)
    key = key_of(steps, scale.pretrain_echo, scale.patch, scale.batch, asdict(spec), scale.scratch_lr, files)
    return work / "backbones" / f"{run.architecture}-{run.recipe}-{key}.safetensors"


def pretrained(run: Run, scale: Scale, sources: Sources, work: Path, where: Where) -> "Checkpoint":
    """The backbone of a run, pre-trained where the work folder has none."""
    from colora.train.checkpoint import load_backbone
    from colora.train.fit import FitConfig
    from colora.train.pretrain import pretrain
    from colora.train.progress import progress_bar

    path, steps = backbone_path(run, scale, sources, work), _pretrain_steps(run, scale)
    if not path.exists():
        warmup = min(100, steps // 5)
        echo = scale.pretrain_echo
        config = FitConfig(steps, lr=scale.scratch_lr, warmup=warmup, echo=echo, **asdict(where))
        with progress_bar(f"pre-training {path.stem}") as report:
            pretrain(
                sources.pretrain,
                path,
                config,
                backbone=layout(run.architecture, scale.backbone_width),
                batch=scale.batch,
                patch=scale.patch,
                held_out=0,
                augment=False,  # recipes differ in what they degrade by alone
                report=report,
                **RECIPES[run.recipe],
            )
    return load_backbone(str(path))


def spread(method: str, backbone: "Checkpoint", budget: int) -> "Allocation | None":
    """Ranks that need no attribution; None: FAIG's."""
    from colora.train.allocations import uniform

    if method == "colora":
        return None
    shapes = backbone.shapes
    if method == "decoder":
        ends = ("decoder", "ups.", "up", "reduce_chan", "refinement", "ending", "output")
        shapes = {name: shape for name, shape in shapes.items() if name.startswith(ends)}
    return uniform(shapes, {}, budget)


def _done(run: Run, scale: Scale, work: Path) -> Path:
    return work / "runs" / f"{key_of(run, scale)}.json"


def known(run: Run, scale: Scale, work: Path) -> dict[str, Any] | None:
    """Figures of a run, as `perform` gives them, if the work folder has them: needs nothing else of what made them."""
    done = _done(run, scale, work)
    result: dict[str, Any] | None = json.loads(done.read_text()) if done.exists() else None
    return result


def perform(run: Run, scale: Scale, sources: Sources, work: Path, where: Where = Where()) -> dict[str, Any]:
    """Figures of a run, from the work folder where it was made before.

    `psnr_db`, `input_db`: means over the test pairs. `stored`: numbers per number of the backbone. Raises ColoraError's
    kinds, for a budget below what β takes for one, and FloatingPointError where a training diverges.
    """
    if result := known(run, scale, work):
        return result
    begin, done = time.monotonic(), _done(run, scale, work)
    result = _measure(run, scale, sources, work, done.stem, where)
    result = {"run": asdict(run), "scale": asdict(scale), **result, "seconds": time.monotonic() - begin}
    done.parent.mkdir(parents=True, exist_ok=True)
    write_text(done, json.dumps(result, indent=1))
    return result


def _measure(run: Run, scale: Scale, sources: Sources, work: Path, name: str, where: Where) -> dict[str, Any]:
    from colora.runtime.adapter import read_adapter
    from colora.train.adapt import adapt, full_tuning
    from colora.train.adapt_config import AdaptConfig, budget_numbers, check, stored_share
    from colora.train.evaluate import compare
    from colora.train.fit import FitConfig
    from colora.train.progress import progress_bar
    from colora.train.ranks import allocation_of

    backbone = pretrained(run, scale, sources, work, where)
    examples, test = few_pairs(sources, run.task, run.pairs, run.seed)
    warmup = min(100, scale.steps // 5)
    fit = FitConfig(
        scale.steps,
        lr=scale.lr,
        warmup=warmup,
        validate_every=scale.steps,
        **asdict(replace(where, workers=1)),
    )
    rate = scale.scratch_lr if run.recipe == "none" else scale.tune_lr
    target = replace(fit, lr=rate)
    config = AdaptConfig(
        fit,
        target,
        run.budget,
        faig_steps=scale.faig_steps,
        faig_images=scale.faig_images,
        batch=scale.batch,
        patch=scale.patch,
        seed=run.seed,
    )
    output = work / "cells" / f"{key_of(cell_of(run), scale)}.safetensors"
    told = f"{run.recipe}, {run.task.replace('+', '-')}, {run.pairs} pairs, seed {run.seed}"
    if run.method == "full":
        check("full", backbone, examples, config, ranks_given=True)
        with progress_bar(f"full tuning: {told}") as report:
            tuned = full_tuning(backbone, examples, config, output.with_suffix(""), report)
        row = compare({"full": tuned.to(where.device)}, backbone.backbone, {"test": test})["test"]
        return {"psnr_db": row["full"], "input_db": row["input"], "stored": 1.0, "warnings": []}
    ranks = spread(run.method, backbone, budget_numbers(backbone, config))
    outcome = adapt(run.task, backbone, examples, output, config, ranks=ranks, sets={"test": test})
    kept = work / "adapters" / f"{name}.safetensors"
    kept.parent.mkdir(exist_ok=True)
    shutil.move(output, kept)
    row = outcome.table["test"]
    return {
        "psnr_db": row["adapted"],
        "input_db": row["input"],
        "backbone_db": row["backbone"],
        "stored": stored_share(backbone, allocation_of(read_adapter(kept).params)),
        "warnings": outcome.warnings,
        "adapter": str(kept.relative_to(work)),
    }


def passes(runs: "list[Run]", scale: Scale) -> int:
    """Patches that go forward and backward in these runs, what is shared counted once; FAIG's too. For estimates."""
    one = scale.steps * scale.batch
    cells = {cell_of(r) for r in runs if r.method in ("full", "colora")}
    recipes = {(r.recipe, r.architecture) for r in runs if r.recipe != "none"}
    adapters = [r for r in runs if r.method != "full"]
    faig = scale.faig_steps * scale.faig_images
    probes = len({(r.task, r.pairs, r.seed) for r in adapters if r.method == "colora"}) * one // 4
    colora = sum(r.method == "colora" for r in adapters)
    total = len(recipes) * scale.pretrain_steps * scale.batch + (len(cells) + len(adapters)) * one
    return total + probes + colora * faig
