"""How fast degradations are made, on one core: beside albumentations, and beside the trainer that waits for them.

`python -m colora.benchmarks.degradation_speed`, where albumentations is installed (pip install albumentations==2.0.8,
the last version under the MIT licence; NO_ALBUMENTATIONS_UPDATE=1 keeps it from the network), without it only what
needs none of it. Its transforms get the ranges of ours as far as they take them.
"""

import functools
import itertools
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click
import numpy as np
from colora.benchmarks.record import RESULTS, environment, warn_if_dirty, write_record
from colora.benchmarks.scenarios import picture
from colora.benchmarks.script import run
from colora.benchmarks.steps import Training
from colora.benchmarks.tables import show
from colora.benchmarks.timing import Ratio, interleave, paired_ratio, summary
from colora.runtime.image import to_dtype
from colora.train.backbones import DEFAULT_BACKBONE

if TYPE_CHECKING:
    from colora.train.camera import Image

PACKAGES = ("numpy", "opencv-python-headless", "albumentations", "torch")
DRAWS = 20

MEASURED = {
    "speed": f"{DRAWS} draws of random strength on one 256×256×3 float32 picture are one call; calls of ours and of "
    "albumentations take turns; ratio of times in each round, median and quartiles. One thread.",
    "jpeg": "Both 4:2:0, as albumentations has it; ours in training draws 4:4:4 as well.",
    "rain, haze": "Other models: albumentations draws straight lines and discs, ours convolves drops and has depth.",
    "rain": "Its layers of streaks are kept once made, and had been, as after some thousand pictures of a training; "
    "`stock_s`: seconds to make all of them, which each process that degrades pictures takes once.",
    "loading": "Batches of PROD as pre-training draws them, made by one core, beside the steps of the trainer on one "
    "core: above 1, one worker process keeps the trainer of one core busy.",
}
"""How the numbers came about; part of the record."""


@dataclass(frozen=True)
class Row:
    """One operation."""

    name: str
    images_per_s: float
    ratio: Ratio | None
    """images per second of ours / of the other; None: nothing to compare with"""


def ours() -> "dict[str, Callable[[Image, np.random.Generator], object]]":
    """Degradations by name, those inside `noise` apart."""
    from colora.train.camera import compress
    from colora.train.degradations import DEGRADATIONS
    from colora.train.noise import gaussian_noise, poisson_noise

    def jpeg(image: "Image", rng: np.random.Generator) -> "Image":
        return compress(image, int(rng.integers(10, 96)))

    apart = {"white noise": gaussian_noise, "shot noise": poisson_noise, "jpeg": jpeg}
    return {**DEGRADATIONS, **apart}


def rivals(a: Any) -> dict[str, Any]:
    """Name in `ours` → the transform of albumentations, `a`, that does the same."""
    import cv2

    gaussian = a.AdvancedBlur(
        # 7×7 is the median of our kernels; its own choice would be 3 to 7 for any σ
        blur_limit=(7, 7),
        sigma_x_limit=(0.3, 3.0),
        sigma_y_limit=(0.3, 3.0),
        beta_limit=(0.9, 1.1),
        noise_limit=(1.0, 1.0),
        p=0.7,
    )
    both = {"downscale": cv2.INTER_AREA, "upscale": cv2.INTER_CUBIC}
    return {
        "blur": a.OneOf([gaussian, a.Defocus(radius=(1, 4), p=0.3)], p=1),
        "motion": a.MotionBlur(blur_limit=(3, 25), p=1),
        "white noise": a.GaussNoise(std_range=(1 / 255, 50 / 255), p=1),
        "shot noise": a.ShotNoise(scale_range=(1 / 2000, 1 / 20), p=1),  # in linear light
        "jpeg": a.ImageCompression(quality_range=(10, 95), compression_type="jpeg", p=1),
        "resample": a.Downscale(scale_range=(0.25, 0.83), interpolation_pair=both, p=1),
        "rain": a.RandomRain(p=1),
        "haze": a.RandomFog(p=1),
    }


def measure(rounds: int, albumentations: Any) -> list[Row]:
    """A row for each degradation; the module albumentations, or None."""
    import cv2

    image = np.ascontiguousarray(to_dtype(picture(256), np.float32))
    others = rivals(albumentations) if albumentations else {}
    before = cv2.getNumThreads()
    cv2.setNumThreads(1)

    def draw(function: "Callable[[Image, np.random.Generator], object]") -> None:
        rng = np.random.default_rng(0)
        for _ in range(DRAWS):
            function(image, rng)

    def transform(other: Any) -> None:
        for _ in range(DRAWS):
            other(image=image)

    rows = []
    for name, function in ours().items():
        calls: dict[str, Callable[[], object]] = {"ours": functools.partial(draw, function)}
        if name in others:
            calls["other"] = functools.partial(transform, albumentations.Compose([others[name]], seed=0))
        times = interleave(calls, rounds, warmups=1, pause_s=0)
        ratio = paired_ratio(times["other"], times["ours"]) if name in others else None
        rows.append(Row(name, DRAWS / summary(times["ours"]).ms_p50 * 1e3, ratio))
    cv2.setNumThreads(before)
    return rows


def stock_s() -> float:
    """Seconds to make all layers of streaks that `rain` keeps."""
    from colora.train.weather import DIRECTIONS, SIDE, VARIANTS, streak_layer

    begin = time.perf_counter()
    for of in itertools.product(range(DIRECTIONS), (False, True), range(VARIANTS)):
        streak_layer((SIDE, SIDE), *of)
    return time.perf_counter() - begin


def loading(backbone: str, patch: int, batch: int, rounds: int) -> Row:
    """PROD's batches beside the trainer's steps, in fp32, both on one thread."""
    import torch
    from colora.train.augment import augmented_crop
    from colora.train.checkpoint import load_backbone
    from colora.train.degradations import prod
    from colora.train.patches import Stage
    from colora.train.photos import Batches

    photo = picture(512)
    torch.set_num_threads(1)

    def one(rng: np.random.Generator, side: int) -> "tuple[Image, Image]":
        clean = augmented_crop([photo], side, rng)
        return prod(clean, rng)[0], clean

    batches = Batches(one, [Stage(patch, batch)], 1, 0)
    training = Training(load_backbone(backbone).module, (batch, 3, patch, patch), False)
    per_call = 8  # few are enough to meet the slow functions

    def load() -> None:
        for step in range(per_call):
            batches[step]

    times = interleave({"load": load, "train": training.step}, rounds, warmups=1)
    ratio = paired_ratio([per_call * t for t in times["train"]], times["load"])
    return Row(f"PROD, {patch} px", per_call * batch / summary(times["load"]).ms_p50 * 1e3, ratio)


def print_table(rows: list[Row], title: str) -> None:
    """Aligned; what is asked is at least 1."""
    lines = []
    for row in rows:
        told = ("–", "", "")
        if row.ratio:
            told = (f"{row.ratio.p50:.2f}×", f"{row.ratio.p25:.2f}–{row.ratio.p75:.2f}", "≥ 1")
        lines.append((row.name, f"{row.images_per_s:.0f}", *told))
    show(("function", "images/s per core", "ratio", "quartiles", "asked"), lines, title=title)


@click.command()
@click.option("--rounds", default=15, show_default=True, type=click.IntRange(2))
@click.option("--backbone", default=DEFAULT_BACKBONE, show_default=True, help="The trainer's.")
@click.option("--patch", default=128, show_default=True, help="The trainer's, in pixels.")
@click.option("--batch", default=4, show_default=True, help="The trainer's.")
@click.option("-o", "--output", default=RESULTS / "degradation-speed.json", show_default=True, type=Path)
def command(rounds: int, backbone: str, patch: int, batch: int, output: Path) -> None:
    """Images per second and core of each degradation beside albumentations; written to OUTPUT."""
    where = environment(PACKAGES)
    warn_if_dirty(where)
    try:
        import albumentations
    except ImportError:
        albumentations = None
        click.echo(
            "albumentations is not installed: nothing to compare with (pip install albumentations==2.0.8)"
        )
    rows = measure(rounds, albumentations)
    print_table(rows, "256×256×3 float32, ours / albumentations")
    stock = stock_s()
    click.echo(f"rain's layers, made once: {stock:.1f} s")
    loaded = loading(backbone, patch, batch, max(2, rounds // 3))
    print_table([loaded], f"loading / training steps of {backbone}")
    content = {
        "settings": {"rounds": rounds, "backbone": backbone, "patch_px": patch, "batch": batch},
        "measured": MEASURED,
        "rows": [asdict(row) for row in rows],
        "stock_s": stock,
        "loading": asdict(loaded),
    }
    write_record(output, "degradation-speed", where, content)
    click.echo(str(output))


if __name__ == "__main__":
    run(command)
