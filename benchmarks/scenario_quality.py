"""Quality of each task against the size of its adapter: what less rank would cost, and the Pareto front.

Smaller adapters are those of the bundle with the rank of every low-rank change cut by its singular values, which is the
best change of that rank (Eckart and Young 1936) though not the best adapter: training at that rank may find a better
one. Scored is what a session of the bundle computes.
"""

import shutil
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from colora.benchmarks.report_pairs import Case, cases
from colora.benchmarks.section import Cell, Column, Plot, Section, Series
from colora.benchmarks.settings import Settings
from colora.runtime.adapter import Adapter, ParamDelta, to_float16, write_adapter
from colora.runtime.bundle import TASKS, WEIGHTS, Bundle, open_bundle
from colora.runtime.quality import psnr, ssim
from colora.runtime.session import Session, load

CUTS = {"whole rank, 16 bits": 1, "1/2 of the rank": 2, "1/4 of the rank": 4, "1/8 of the rank": 8}
"""What the rank is divided by."""
DIGITS = 2
"""Of dB: what differs by less is as good."""
ALONE, SHIPPED, MERGED, QUARTER = (
    "backbone alone",
    "as in the bundle",
    "merged into the graph",
    "1/4 of the rank",
)


@dataclass(frozen=True)
class Variant:
    """A way to restore a task's pictures."""

    name: str
    task: str
    """Of the bundle that is scored; empty for the backbone alone."""
    size_bytes: int
    """Of the adapter's file."""


@dataclass(frozen=True)
class Score:
    """Of one variant on one set; means over its pictures."""

    case: Case
    variant: Variant
    psnr_db: float
    ssim: float
    input_db: float

    @property
    def gain_db(self) -> float:
        """Over the pictures as given."""
        return self.psnr_db - self.input_db


def section(bundle: Path, settings: Settings, report: Callable[[str], None]) -> Section:
    """Raises: BundleError; ImageError for a bad folder of pairs; MissingExtra without what makes synthetic pictures."""
    opened = open_bundle(bundle)
    found = cases(settings.tasks or opened.tasks, settings)
    copied = settings.scratch / "bundle"
    shutil.copytree(bundle, copied)
    known = {case.task: variants(opened, case.task, copied) for case in found}
    begin, scores, left_out = time.monotonic(), list[Score](), list[str]()
    # adapters that were cut do not give the picture that training recorded
    with load(copied, "ort", threads=settings.threads, golden_tolerance=float("inf")) as session:
        for number in range(max((len(v) for v in known.values()), default=0)):
            for case in found:
                if number >= len(known[case.task]):
                    continue
                variant = known[case.task][number]
                if number > 1 and time.monotonic() - begin > settings.seconds:
                    left_out.append(f"{case.task}, {variant.name}")
                    continue
                report(f"{case.task}, {variant.name}")
                scores.append(score(session, case, variant))
    backbone = opened.path / WEIGHTS
    return told(scores, left_out, backbone.stat().st_size if backbone.exists() else 0)


def variants(bundle: Bundle, task: str, copied: Path) -> list[Variant]:
    """The adapter and the backbone alone, and cut adapters, which are written to the tasks of `copied`."""
    if bundle.manifest.kind == "merged":
        return [Variant(MERGED, task, 0)]
    found = [
        Variant(SHIPPED, task, bundle.task_file(task).stat().st_size),
        Variant(ALONE, "", 0),
    ]
    adapter = bundle.read_task(task)
    for name, divisor in CUTS.items():
        file = copied / TASKS / f"{task}-{divisor}.safetensors"
        write_adapter(file, replace(cut(adapter, divisor), task=file.stem, signature=""))
        found.append(Variant(name, file.stem, file.stat().st_size))
    return found


def cut(adapter: Adapter, divisor: int) -> Adapter:
    """The same with each rank divided, at least 1, in numbers of 16 bits."""
    return replace(adapter, params=to_float16({name: _cut(p, divisor) for name, p in adapter.params.items()}))


def _cut(param: ParamDelta, divisor: int) -> ParamDelta:
    """Nearest change of a lower rank, in the sum of squares; of a change that is not low-rank the same."""
    if param.kind != "low-rank" or param.rank < 2:
        return param
    rank = max(1, param.rank // divisor)
    q, r = np.linalg.qr(param.tensors["lora_B"])
    p, s = np.linalg.qr(param.tensors["lora_A"].T)
    u, values, v = np.linalg.svd(r @ s.T)
    root = np.sqrt(values[:rank])
    tensors = {"lora_A": (root[:, None] * v[:rank]) @ p.T, "lora_B": (q @ u[:, :rank]) * root}
    return replace(
        param, tensors={n: np.ascontiguousarray(t, np.float32) for n, t in tensors.items()}, rank=rank
    )


def score(session: Session, case: Case, variant: Variant) -> Score:
    """Raises: what `Session.restore` raises."""
    figures = []
    for pair in case.pairs:
        restored = session.restore(pair.degraded, variant.task)
        figures.append(
            (psnr(restored, pair.clean), ssim(restored, pair.clean), psnr(pair.degraded, pair.clean))
        )
    return Score(case, variant, *(float(mean) for mean in np.mean(figures, axis=0)))


def front(scores: Sequence[Score]) -> set[str]:
    """Names of the variants of one task that no other one beats in size without losing quality, or the reverse."""

    known = {s.variant.name: (s.variant.size_bytes, -round(s.psnr_db, DIGITS)) for s in scores}

    def beaten(size: int, loss: float) -> bool:
        return any(
            other != (size, loss) and other[0] <= size and other[1] <= loss for other in known.values()
        )

    return {name for name, figures in known.items() if not beaten(*figures)}


def told(scores: Sequence[Score], left_out: Sequence[str], backbone_bytes: int) -> Section:
    """What was found, as a section. backbone_bytes: of the weights that tasks share; 0 where one is merged."""
    rows: list[tuple[Cell, ...]] = []
    series = []
    for name in dict.fromkeys((s.case.task, s.case.told) for s in scores):
        of = [s for s in scores if (s.case.task, s.case.told) == name]
        of.sort(key=lambda s: s.variant.size_bytes)
        best = front(of)
        for s in of:
            size = s.variant.size_bytes
            share = 100 * size / backbone_bytes if backbone_bytes else None
            figures = (s.input_db, s.psnr_db, s.gain_db, s.ssim)
            on = "yes" if s.variant.name in best else "no"
            rows.append((*name, len(s.case.pairs), s.variant.name, size / 1e3, share, *figures, on))
        shown = [s for s in of if s.variant.name in best]
        sizes = tuple(s.variant.size_bytes / 1e3 for s in shown)
        series.append(Series(", ".join(name), sizes, tuple(s.gain_db for s in shown)))
    return Section(
        name="quality",
        title="Quality against the size of the adapter",
        said=_said(scores, backbone_bytes),
        columns=(
            Column("task"),
            Column("pictures", "", "name of the folder of pairs; synthetic: shipped photographs, degraded"),
            Column("n"),
            Column("adapter", "", "ranks are cut by singular values, without training; numbers of 16 bits"),
            Column("file", "kB", "of the adapter, its golden picture of 49 kB included"),
            Column("of the backbone", "%", "of the bytes of the shared weights"),
            Column("as given", "dB", "PSNR of the degraded pictures, 8-bit RGB, no border cut, mean over n"),
            Column("restored", "dB", "the same of what a session of this bundle gives"),
            Column("gain", "dB"),
            Column("SSIM", "", "of what was restored; window 11×11, σ 1.5, mean over n"),
            Column("on the front", "", "no other one is as small and better, or as good and smaller"),
        ),
        rows=tuple(rows),
        plots=(
            Plot("Pareto front: gain against size", "size of the adapter, kB", "gain, dB", tuple(series)),
        ),
        notes=(
            *([f"No time was left for {'; '.join(left_out)}: raise --minutes."] if left_out else []),
            "Pictures are cut to their middle; synthetic ones are two photographs, and no measure of a task in the "
            "world: give --pairs.",
        ),
    )


def _said(scores: Sequence[Score], backbone_bytes: int) -> str:
    shipped = [s for s in scores if s.variant.name in (SHIPPED, MERGED)]
    if not shipped:
        return ""
    gains = sorted(s.gain_db for s in shipped)
    span = f"{gains[0]:+.1f}" if len(gains) == 1 else f"{gains[0]:+.1f} to {gains[-1]:+.1f}"
    said = f"Pictures gain {span} dB".replace("-", "−")
    if backbone_bytes:
        largest = max(s.variant.size_bytes for s in shipped)
        said += (
            f" with adapters of at most {largest / 1e6:.1f} MB a task, {100 * largest / backbone_bytes:.0f} % "
            f"of the backbone that all share"
        )
    quarter = {id(s.case): s for s in scores if s.variant.name == QUARTER}
    lost = [s.psnr_db - quarter[id(s.case)].psnr_db for s in shipped if id(s.case) in quarter]
    if lost:
        said += f"; a quarter of the rank would cost {max(lost):.2f} dB at most".replace("-", "−")
    return said + "."
