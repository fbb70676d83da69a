"""How good the adapters are: PSNR and SSIM over sets of pairs, beside the backbone, full tuning and classical peers.

`python -m colora.benchmarks.quality --pairs DIR …` prints the table and writes it as markdown and JSON. Backbone and
adapters run through a runtime session: what is scored is what a device computes.
"""

import tempfile
from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

import click
import numpy as np
from colora.benchmarks.classical import CLASSICAL, Restore
from colora.benchmarks.record import RESULTS, environment, warn_if_dirty, write_record
from colora.benchmarks.script import run
from colora.benchmarks.tables import markdown, show
from colora.benchmarks.zoo_bundle import zoo_bundle
from colora.devices.errors import UnknownName
from colora.runtime.atomic import write_text
from colora.runtime.quality import psnr, ssim
from colora.runtime.session import load
from colora.train.backbones import DEFAULT_BACKBONE

if TYPE_CHECKING:
    from colora.train.photos import Pair
    from rich.progress import Progress

PACKAGES = ("numpy", "onnxruntime", "torch", "opencv-python-headless", "bm3d")
COLUMNS = ("input", "opencv", "bm3d", "backbone", "adapter", "full tuning")

TASK_OF = {
    "denoise_awgn25": "noise",
    "denoise_real_polyu": "noise",
    "derain_rain100h": "rain",
    "raindrop_real": "raindrop",
    "jpeg": "jpeg",
    "deblur_camerashake": "blur",
    "deblur_real_levin": "blur",
    "dehaze_sots_indoor": "haze",
    "dehaze_real_ohaze": "haze",
    "lowlight_lol": "lowlight",
}
"""Set of pairs (name of its folder) → the task whose adapter is scored on it."""


@dataclass(frozen=True)
class Method:
    """One column for one set."""

    column: str
    told: str
    restore: Restore


@dataclass(frozen=True)
class Score:
    """Means over the pictures of a set, 8-bit RGB, no border cut."""

    set: str
    column: str
    n: int
    psnr_db: float
    ssim: float
    told: str
    """What made the pictures that were scored."""
    each: tuple[float, ...] = ()
    """PSNR in dB of each picture, in the order of their names"""


def score(
    set_name: str, pairs: Sequence["Pair"], method: Method, done: Callable[[], None] = lambda: None
) -> Score:
    """Mean PSNR and SSIM of a method over pairs; `done` is called after each."""
    scores = []
    for pair in pairs:
        restored = method.restore(pair.degraded)
        scores.append((psnr(restored, pair.clean), ssim(restored, pair.clean)))
        done()
    db, likeness = np.mean(scores, axis=0)
    each = tuple(float(value) for value, _ in scores)
    return Score(set_name, method.column, len(scores), float(db), float(likeness), method.told, each)


def table(scores: Sequence[Score]) -> tuple[list[str], list[list[str]]]:
    """Header and rows: sets by columns as `PSNR dB / SSIM`."""
    columns = [c for c in COLUMNS if any(s.column == c for s in scores)]
    rows = []
    for name in dict.fromkeys(s.set for s in scores):
        row = {s.column: s for s in scores if s.set == name}
        cells = (f"{row[c].psnr_db:.2f} / {row[c].ssim:.3f}" if c in row else "–" for c in columns)
        rows.append([name, str(next(iter(row.values())).n), *cells])
    return ["set", "n", *columns], rows


def page(scores: Sequence[Score]) -> str:
    """The table, and below what each entry is."""
    notes = [f"- {s.set}, {s.column}: {s.told}" for s in scores if s.column != "input"]
    how = "PSNR in dB / SSIM, means over the n pictures of a set, 8-bit RGB, no border cut."
    return "\n".join([markdown(*table(scores)), how, "", *notes]) + "\n"


def tuned_restore(file: Path) -> Restore:
    """A fully tuned model, run by PyTorch in fp32 with the padding and tiles of a device."""
    from colora.train.checkpoint import load_backbone
    from colora.train.evaluate import restorer

    checkpoint = load_backbone(str(file))
    return restorer(checkpoint.module, checkpoint.backbone)


def quality(
    bundle: Path,
    folders: Sequence[Path],
    tasks: Mapping[str, str],
    *,
    tuned: Mapping[str, Path],
    skip: Sequence[str] = (),
    limit: int | None = None,
    threads: int = 0,
) -> list[Score]:
    """Scores of every method on every set.

    folders: each with input/ and target/. tasks: set → task. tuned: task → weights of a fully tuned model.
    skip: columns left out. limit: pictures of a set, the first by name.
    Raises: UnknownName for a set without a task; what sessions and read_pairs raise.
    """
    from colora.train.pairs import read_pairs

    sets = {folder.resolve().name: read_pairs(folder)[:limit] for folder in folders}
    if strange := [name for name in sets if name not in tasks]:
        raise UnknownName(
            f"no task is known for the set {strange[0]!r}: give it with --task {strange[0]}=TASK"
        )
    scores = []
    with load(bundle, "ort", threads=threads) as session, bar() as progress:
        for name, pairs in sets.items():
            task = tasks[name]
            methods = [
                Method("input", "as given", np.asarray),
                *(Method(peer.column, peer.told, peer.restore) for peer in CLASSICAL.get(name, ())),
                Method("backbone", "no adapter, in ONNX Runtime", session.restore),
                Method(
                    "adapter",
                    f"task {task}, in ONNX Runtime",
                    partial(session.restore, task=task),
                ),
            ]
            if task in tuned:
                methods.append(
                    Method("full tuning", f"{tuned[task].name}, in PyTorch", tuned_restore(tuned[task]))
                )
            for method in methods:
                if method.column not in skip:
                    line = progress.add_task(f"{name}, {method.column}", total=len(pairs))
                    scores.append(score(name, pairs, method, partial(progress.advance, line)))
    return scores


def bar() -> AbstractContextManager["Progress"]:
    """Progress on stderr."""
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    return Progress(*columns, console=Console(stderr=True))


def named(context: click.Context, option: click.Parameter, values: tuple[str, ...]) -> dict[str, str]:
    """NAME=VALUE options as a dictionary."""
    for value in values:
        if not all(value.partition("=")):
            raise click.BadParameter(f"got {value!r}, expected {option.metavar}")
    return {value.partition("=")[0]: value.partition("=")[2] for value in values}


FOLDER = click.Path(exists=True, file_okay=False, path_type=Path)


@click.command()
@click.option(
    "--pairs", multiple=True, required=True, type=FOLDER, help="Folder with input/ and target/; several."
)
@click.option("--bundle", type=FOLDER, help="Scored bundle. [default: exported from the zoo]")
@click.option("--backbone", default=DEFAULT_BACKBONE, show_default=True, help="Of the zoo, without --bundle.")
@click.option(
    "--task", multiple=True, metavar="SET=TASK", callback=named, help="Score this task on that set."
)
@click.option(
    "--full-tuned",
    multiple=True,
    metavar="TASK=FILE",
    callback=named,
    help="Add a fully tuned model's column.",
)
@click.option(
    "--skip", multiple=True, type=click.Choice(COLUMNS), help="BM3D takes about a minute a megapixel."
)
@click.option("--limit", type=click.IntRange(1), help="Pictures of each set.")
@click.option("--threads", default=0, show_default=True, help="Of ONNX Runtime; 0: its choice.")
@click.option(
    "-o", "--output", default=RESULTS / "quality.json", show_default=True, type=click.Path(path_type=Path)
)
def command(
    pairs: tuple[Path, ...],
    bundle: Path | None,
    backbone: str,
    task: dict[str, str],
    full_tuned: dict[str, str],
    skip: tuple[str, ...],
    limit: int | None,
    threads: int,
    output: Path,
) -> None:
    """Table of PSNR and SSIM over sets of pairs; written to OUTPUT and, as markdown, beside it."""
    where = environment(PACKAGES)
    warn_if_dirty(where)
    tuned = {name: Path(file) for name, file in full_tuned.items()}
    with tempfile.TemporaryDirectory() as folder:
        scored = bundle or zoo_bundle(Path(folder) / "bundle", backbone)
        scores = quality(scored, pairs, TASK_OF | task, tuned=tuned, skip=skip, limit=limit, threads=threads)
    show(*table(scores), title="PSNR in dB / SSIM")
    content = {
        "limit": limit,
        "backbone": backbone if bundle is None else "",
        "scores": [asdict(s) for s in scores],
    }
    write_record(output, "quality", where, content)
    write_text(output.with_suffix(".md"), page(scores))
    click.echo(f"{output} and {output.with_suffix('.md')}")


if __name__ == "__main__":
    run(command)
