"""Which cases the scaling scenario measures, and how far it goes: in ascending order, until time or memory is short."""

from __future__ import annotations

import hashlib
import json
import shutil
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

from colora.benchmarks.memory_measure import available_bytes
from colora.benchmarks.resident import in_fresh_process
from colora.benchmarks.scenario_scaling_run import Found
from colora.benchmarks.settings import Settings
from colora.devices.errors import BackendError
from colora.runtime.adapter import write_adapter
from colora.runtime.atomic import write_text
from colora.runtime.bundle import open_bundle

MODULE = "colora.benchmarks.scenario_scaling_run"
PIXELS, TASKS, PARAMETERS, THREADS = "pixels", "tasks", "parameters", "threads"
ADAPTERS, WHOLE, COMPILED = "adapters", "whole models", "compiled graph"
PEER = "no arena, no prepacking"
"""Settings under which whole models take the least memory."""
FREE_SHARE = 0.8
"""Of the memory available, what a case may take."""


@dataclass(frozen=True)
class Grid:
    """How far each axis goes. Blocks and widths are those of NAFNets with random weights."""

    sides: tuple[tuple[int, int], ...] = ((64, 64), (96, 96), (144, 144), (224, 224), (336, 336), (512, 512))
    """height, width in px"""
    policies: tuple[str, ...] = ("refit",)
    tasks: tuple[int, ...] = (1, 2, 4, 8, 16, 32, 64)
    models: tuple[int, ...] = (1, 2, 4, 8, 16, 32)
    blocks: tuple[str, str, str] = ("1,1,1,4", "1", "1,1,1,1")
    """of the encoder, in the middle, of the decoder: nafnet-small"""
    widths: tuple[int, ...] = (8, 16, 32)
    seconds: float = 0.3
    """of runs of one case"""


SMALL = Grid()
FULL = Grid(
    sides=(*SMALL.sides, (768, 768), (1024, 1024), (1536, 1536), (2048, 2048), (3072, 3072), (4320, 7680)),
    policies=("refit", "merged"),
    tasks=(1, 2, 3, 4, 6, 8, 12, 16, 24, 32, 48, 64),
    models=(1, 2, 3, 4, 6, 8, 12, 16, 24, 32, 48, 64),
    blocks=("2,2,4,8", "12", "2,2,2,2"),  # nafnet-sidd, which is published at widths 32 and 64
    widths=(6, 8, 12, 16, 24, 32, 48, 64),
    seconds=4.0,
)


@dataclass(frozen=True)
class Case:
    """One point of an axis."""

    x: float
    label: str
    call: tuple[str, ...]
    """function of MODULE and its arguments"""


@dataclass(frozen=True)
class Walk:
    """What was found along one axis by one way, and why it ended before its last case."""

    axis: str
    way: str
    cases: tuple[Case, ...] = ()
    found: tuple[Found, ...] = ()
    """of the first of `cases`"""
    why: str = ""

    @property
    def measured(self) -> Sequence[tuple[Case, Found]]:
        """Cases and what they gave."""
        return list(zip(self.cases, self.found, strict=False))


@dataclass
class Store:
    """What is known already, in a file, so that a walk that was stopped goes on. Without a path nothing is kept."""

    path: Path | None = None
    known: dict[str, Found] = field(default_factory=dict)

    @classmethod
    def open(cls, folder: Path, told: str) -> Store:
        """Of measurements made under the conditions `told`: the file is named after them."""
        path = folder / f"points-{hashlib.sha256(told.encode()).hexdigest()[:12]}.json"
        return cls(path, json.loads(path.read_text("utf-8")) if path.exists() else {})

    def add(self, key: str, found: Found) -> None:
        """Keep it, now."""
        self.known[key] = found
        if self.path is not None:
            write_text(self.path, json.dumps(self.known, indent=1) + "\n")


def walk(
    axis: str, way: str, cases: Sequence[Case], store: Store, seconds: float, report: Callable[[str], None]
) -> Walk:
    """Measure cases, smallest first, while time and memory are likely to be enough for the next one.

    Both are foreseen from the cases before: time in proportion to x, beyond that of the first case; memory on the line
    through the last two. A case that fails all the same ends the walk. Raises: BackendError if the first one does.
    """
    found: list[Found] = []
    took: list[float] = []
    begin = time.perf_counter()

    def ended(why: str) -> Walk:
        return Walk(axis, way, tuple(cases), tuple(found), why)

    for i, case in enumerate(cases):
        key = "|".join((axis, way, case.label, *case.call))
        if key not in store.known:
            if i:
                grown = case.x / cases[i - 1].x
                need_s = took[0] + (took[-1] - min(took)) * grown
                left = seconds - (time.perf_counter() - begin)
                if need_s > left:
                    return ended(f"{case.label} would take about {need_s:.0f} s of {max(left, 0):.0f} s left")
            need, free = foreseen_bytes(cases[: i + 1], found), FREE_SHARE * available_bytes()
            if need > free:
                return ended(f"{case.label} would take about {need / 1e9:.1f} GB of {free / 1e9:.1f} GB")
            report(f"{axis}, {way}: {case.label}")
            started = time.perf_counter()
            try:
                result: Found = in_fresh_process(f"{MODULE}:{case.call[0]}", *case.call[1:])
            except BackendError as e:  # killed for its memory, as a rule: the smaller ones still have a law
                if not found:
                    raise
                return ended(f"{case.label} failed: {e}")
            store.add(key, result | {"wall_s": time.perf_counter() - started})
        found.append(store.known[key])
        took.append(store.known[key]["wall_s"])
    return ended("")


def foreseen_bytes(cases: Sequence[Case], found: Sequence[Found]) -> float:
    """Of the process of the last case, whose predecessors took what was found; 0 where there are fewer than two."""
    if len(found) < 2:
        return 0.0
    (x0, y0), (x1, y1) = ((c.x, f["process_bytes"]) for c, f in list(zip(cases, found, strict=False))[-2:])
    return y1 + max(y1 - y0, 0) / (x1 - x0) * (cases[-1].x - x1)


def session_case(x: float, label: str, bundle: Path, tasks: Sequence[str], policy: str, settings: Settings,
                 grid: Grid, size: tuple[int, int]) -> Case:  # fmt: skip
    """One session of colora that holds `tasks` and restores one picture."""
    told = (str(settings.threads), *map(str, size), str(grid.seconds))
    return Case(x, label, ("session", str(bundle), ",".join(tasks), policy, *told))


def model_case(x: float, label: str, source: Path, copies: Path, count: int, peer: str, settings: Settings,
               grid: Grid, size: int) -> Case:  # fmt: skip
    """Whole models of ONNX Runtime, one picture by the last."""
    told = (str(settings.threads), str(size), str(grid.seconds))
    return Case(x, label, ("models", str(source), str(copies), str(count), peer, *told))


def many_tasks(bundle: Path, folder: Path, count: int) -> tuple[Path, list[str]]:
    """A copy of the bundle with `count` tasks, and their names: its own, then copies of them under other names."""
    work = folder / "many"
    if not work.exists():
        part = work.with_suffix(".part")  # a copy that was stopped is made anew
        shutil.rmtree(part, ignore_errors=True)
        shutil.copytree(bundle, part)
        part.rename(work)
    opened = open_bundle(work)
    own = open_bundle(bundle).tasks
    names = [own[i] if i < len(own) else f"{own[i % len(own)]}-copy-{i}" for i in range(count)]
    for i, name in enumerate(names):
        if name not in opened.tasks:
            adapter = opened.read_task(names[i % len(own)])
            write_adapter(opened.task_file(name), replace(adapter, task=name))
    return work, names


def compiled_graphs(folder: Path, grid: Grid, widths: Sequence[int]) -> dict[int, Path]:
    """Parameters → folder of the compiled graph of each width; those that `folder` has are not made again."""
    missing = [str(w) for w in widths if not (folder / str(w)).exists()]
    if missing:
        in_fresh_process(f"{MODULE}:graphs", folder, *grid.blocks, ",".join(missing))
    return {int((folder / str(w) / "parameters").read_text()): folder / str(w) for w in widths}
