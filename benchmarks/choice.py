"""How right `task="auto"` is: what it chooses for the public pairs, degraded inputs and clean targets, and its cost.

`python -m colora.benchmarks.choice --pairs DIR` prints the confusion matrix over all tasks, that of the tasks that are
shipped, and how often a stated confidence is right; it writes them as JSON, markdown and a picture. The network never
saw these pictures or others of their kinds: it learnt from photographs degraded by train/degradations.py. Its makers
did once: an earlier network's matrix on these pairs showed that faint degradations and grain behind the lens were
missing from its training, and both were added. The matrix is not wholly blind therefore.
"""

import hashlib
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from itertools import pairwise
from pathlib import Path

import click
import numpy as np
from colora.benchmarks.choice_view import page, plot, print_tables
from colora.benchmarks.quality import FOLDER, TASK_OF, bar
from colora.benchmarks.record import RESULTS, environment, warn_if_dirty, write_record
from colora.benchmarks.scenarios import picture
from colora.benchmarks.script import run
from colora.benchmarks.tables import heading
from colora.benchmarks.timing import interleave, paired_ratio, summary
from colora.benchmarks.zoo_bundle import zoo_bundle
from colora.devices.errors import ImageError
from colora.runtime.atomic import write_text
from colora.runtime.choice import CLEAN, NOTHING, choose, decide, network
from colora.runtime.session import load
from colora.runtime.weights import Array
from colora.train.backbones import DEFAULT_BACKBONE

PACKAGES = ("numpy", "onnxruntime", "torch", "opencv-python-headless")
FEW = ("noise", "rain")
"""A bundle with few tasks: most of what is wrong with pictures it has no answer to, and should leave alone."""
EDGES = (0.0, 0.5, 0.7, 0.9, 1.0)
"""Of the confidences that are put together."""


@dataclass(frozen=True)
class Seen:
    """One picture and what the network says of it."""

    set: str
    truth: str
    """Task, or CLEAN."""
    name: str
    probabilities: tuple[float, ...]
    """Of `network().labels`."""


@dataclass(frozen=True)
class Row:
    """Pictures of one set, degraded or clean, by what was chosen for them."""

    set: str
    truth: str
    n: int
    chosen: Mapping[str, int]
    right: int
    mean_confidence: float


@dataclass(frozen=True)
class Bin:
    """Pictures whose confidence lies between two edges."""

    above: float
    n: int
    mean_confidence: float
    right: float
    """Share; as high as the confidence if that is honest."""


def look(folder: Path) -> list[Seen]:
    """Every input and every different target of a folder of pairs.

    Raises: ImageError for a set that TASK_OF does not know, and what read_pairs raises.
    """
    from colora.train.pairs import read_pairs

    if folder.name not in TASK_OF:
        raise ImageError(f"{folder.name}: what is wrong with its inputs is not known: add it to TASK_OF")
    seen, known = [], set()
    for pair in read_pairs(folder):
        for truth, image in ((TASK_OF[folder.name], pair.degraded), (CLEAN, pair.clean)):
            digest = hashlib.sha256(image.tobytes()).digest()
            if digest not in known:
                known.add(digest)
                told = choose([image], ()).probabilities
                seen.append(Seen(folder.name, truth, pair.name, tuple(told.values())))
    return seen


def look_at_clean(folder: Path) -> list[Seen]:
    """Clean photographs as they are, and as JPEG of quality 75 as the web keeps them. Raises: ImageError."""
    from colora.train.camera import compress
    from colora.train.photos import picture_files, read_rgb, to_float

    seen = []
    for file in picture_files(folder):
        image = read_rgb(file)
        jpeg = np.rint(compress(to_float(image), 75) * 255).astype(np.uint8)
        for name, shown in ((folder.name, image), (f"{folder.name} q75", jpeg)):
            told = choose([shown], ()).probabilities
            seen.append(Seen(name, CLEAN, file.stem, tuple(told.values())))
    return seen


def answers(seen: Sequence[Seen], tasks: Sequence[str]) -> list[tuple[str, str, float]]:
    """(right answer, chosen, confidence) of each picture for a bundle with these tasks."""
    found = []
    for one in seen:
        choice = decide(np.array(one.probabilities), tasks)
        found.append((one.truth if one.truth in tasks else NOTHING, choice.task, choice.confidence))
    return found


def confusion(seen: Sequence[Seen], tasks: Sequence[str]) -> list[Row]:
    """A row for the inputs of each set, then one for the targets of each."""
    told = list(zip(seen, answers(seen, tasks), strict=True))
    keys = dict.fromkeys((one.set, one.truth) for one in seen)
    rows = []
    for name, truth in sorted(keys, key=lambda key: key[1] == CLEAN):
        mine = [answer for one, answer in told if (one.set, one.truth) == (name, truth)]
        chosen = {task: sum(a[1] == task for a in mine) for task in (*tasks, NOTHING)}
        right, sure = sum(a[0] == a[1] for a in mine), float(np.mean([a[2] for a in mine]))
        rows.append(Row(name, truth, len(mine), chosen, right, sure))
    return rows


def reliability(seen: Sequence[Seen], tasks: Sequence[str]) -> list[Bin]:
    """Confidence against how often it was right, by EDGES; empty bins are left out."""
    told = answers(seen, tasks)
    bins = []
    for low, high in pairwise(EDGES):
        mine = [a for a in told if low <= a[2] < high or a[2] == high == 1]
        if mine:
            right = float(np.mean([a[0] == a[1] for a in mine]))
            bins.append(Bin(low, len(mine), float(np.mean([a[2] for a in mine])), right))
    return bins


def calibration_error(bins: Sequence[Bin]) -> float:
    """Mean distance of confidence and share of right answers, weighted by pictures (ECE, over these bins)."""
    return sum(b.n * abs(b.mean_confidence - b.right) for b in bins) / sum(b.n for b in bins)


def cost(bundle: Path, rounds: int, threads: int) -> dict[str, dict[str, float]]:
    """Of choosing at 512² and 3840×2160, against restoring 512², in one process, by turns."""
    small: Array = picture(512)
    large = np.tile(picture(1080), (2, 4, 1))[:2160, :3840]
    with load(bundle, threads=threads) as session:
        calls = {
            "restore 512²": lambda: session.restore(small, FEW[0]),
            "choose 512²": lambda: session.choose(small),
            "choose 3840×2160": lambda: session.choose(large),
        }
        times = interleave(calls, rounds)
    base = times["restore 512²"]
    return {
        name: asdict(summary(ms)) | {"ratio_to_restore": paired_ratio(ms, base).p50}
        for name, ms in times.items()
    }


@click.command()
@click.option("--pairs", required=True, type=FOLDER, help="Folder of the sets, each with input/ and target/.")
@click.option(
    "--clean", multiple=True, type=FOLDER, help="More clean photographs, never trained on; several."
)
@click.option("--bundle", type=FOLDER, help="Timed. [default: exported from the zoo]")
@click.option("--rounds", default=15, show_default=True, type=click.IntRange(2), help="Of the timing.")
@click.option("--threads", default=0, show_default=True, help="Of ONNX Runtime; 0: its choice.")
@click.option(
    "-o", "--output", default=RESULTS / "choice.json", show_default=True, type=click.Path(path_type=Path)
)
def command(
    pairs: Path, clean: tuple[Path, ...], bundle: Path | None, rounds: int, threads: int, output: Path
) -> None:
    """Confusion matrices, reliability and cost; written to OUTPUT and, as .md and .png, beside it."""
    where = environment(PACKAGES)
    warn_if_dirty(where)
    folders = sorted(folder for folder in pairs.iterdir() if folder.name in TASK_OF)
    seen: list[Seen] = []
    with bar() as progress:
        line = progress.add_task("looking", total=len(folders) + len(clean))
        for folder in folders:
            seen += look(folder)
            progress.advance(line)
        more = []
        for folder in clean:
            more += look_at_clean(folder)
            progress.advance(line)
    if not seen:
        raise ImageError(f"{pairs} holds no set of pairs that is known; expected {', '.join(TASK_OF)}")
    everything = tuple(label for label in network().labels if label != CLEAN)
    matrices = {"all tasks": everything, "rain and noise alone": FEW}
    rows = {name: confusion(seen + more, tasks) for name, tasks in matrices.items()}
    bins = {name: reliability(seen, tasks) for name, tasks in matrices.items()}
    with tempfile.TemporaryDirectory() as scratch:
        timed = cost(bundle or zoo_bundle(Path(scratch) / "bundle", DEFAULT_BACKBONE), rounds, threads)
    print_tables(rows, bins, timed)
    content = {
        "labels": network().labels,
        "confusion": {name: [asdict(row) for row in table] for name, table in rows.items()},
        "reliability": {name: [asdict(b) for b in table] for name, table in bins.items()},
        "calibration_error": {name: calibration_error(table) for name, table in bins.items()},
        "cost": timed,
        "seen": [asdict(one) for one in seen + more],
    }
    write_record(output, "choice", where, content)
    write_text(output.with_suffix(".md"), f"{heading('choice', where)}\n{page(rows, bins, timed)}")
    plot(rows, bins, output.with_suffix(".png"))
    click.echo(f"{output}, {output.with_suffix('.md')} and {output.with_suffix('.png')}")


if __name__ == "__main__":
    run(command)
