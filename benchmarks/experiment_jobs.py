"""The runs of experiments one after the other, or several at a time, each in a process of its own.

On a GPU a small network waits for its launches: processes that train beside each other keep it busy. Backbones come
first, a run starts when its own is there, and runs that share a fully tuned copy follow each other in one process.
"""

import multiprocessing
import os
import sys
from collections.abc import Iterator, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ProcessPoolExecutor, wait
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from colora.benchmarks.experiment_data import Sources
from colora.benchmarks.experiment_runs import (
    Run,
    Scale,
    Where,
    backbone_path,
    cell_of,
    perform,
    pretrained,
)
from colora.devices.errors import ColoraError

Outcome = tuple[Run, "dict[str, Any] | str"]
"""A run with its figures, or with why it has none."""


@dataclass(frozen=True)
class Shop:
    """What all runs have in common."""

    scale: Scale
    sources: Sources
    work: Path
    where: Where

    def backbone(self, run: Run) -> Path:
        return backbone_path(run, self.scale, self.sources, self.work)


def groups(experiments: Sequence[Sequence[Run]]) -> list[tuple[Run, ...]]:
    """Runs of each experiment that share a fully tuned copy, in the order of the experiments; each run once."""
    seen: set[Run] = set()
    found = []
    for runs in experiments:
        cells: dict[tuple[Any, ...], list[Run]] = {}
        for run in runs:
            if run not in seen:
                cells.setdefault(cell_of(run), []).append(run)
        seen.update(runs)
        found += [tuple(cell) for cell in cells.values()]
    return found


def perform_each(runs: Sequence[Run], shop: Shop) -> list[Outcome]:
    """One after the other; one that can't be made, or diverges, keeps no other from being made."""
    outcomes: list[Outcome] = []
    for run in runs:
        try:
            outcomes.append((run, perform(run, shop.scale, shop.sources, shop.work, shop.where)))
        except (ColoraError, FloatingPointError) as error:  # a budget below what β takes; too few pictures
            outcomes.append((run, f"left out: {error}"))
    return outcomes


def perform_all(experiments: Sequence[Sequence[Run]], shop: Shop, jobs: int) -> Iterator[list[Outcome]]:
    """Outcomes of the runs when they are done; each run once, those of the first experiment first.

    In processes, their progress goes to files in the folder `logs` of the work folder; an error that is no ColoraError
    leaves the runs out that it hits, and is told as their outcome.
    """
    waiting = groups(experiments)
    if jobs == 1:
        for run in (run for group in waiting for run in group):
            yield perform_each([run], shop)
        return
    spawned = multiprocessing.get_context("spawn")  # a fork would inherit a GPU that it can't use
    logs = shop.work / "logs"
    logs.mkdir(parents=True, exist_ok=True)
    busy: dict[Future[list[Outcome]], tuple[Any, tuple[Run, ...]]] = {}
    with ProcessPoolExecutor(jobs, spawned, initializer=_log_to, initargs=(logs,)) as pool:
        while waiting or busy:
            for group in list(waiting):
                if len(busy) == jobs:
                    break
                backbone = shop.backbone(group[0])
                ready = backbone.exists()
                what = cell_of(group[0]) if ready else backbone
                if what in [other for other, _ in busy.values()]:
                    continue
                if ready:
                    waiting.remove(group)
                    busy[pool.submit(perform_each, group, shop)] = what, group
                else:
                    busy[pool.submit(_pretrain, group[0], shop)] = what, group
            for future in wait(busy, return_when=FIRST_COMPLETED).done:
                what, group = busy.pop(future)
                error = future.exception()
                if error is None:
                    yield future.result()
                    continue
                lost = [group]
                if isinstance(what, Path):  # none that starts from this backbone can be made
                    lost = [g for g in waiting if shop.backbone(g[0]) == what]
                    waiting = [g for g in waiting if g not in lost]
                yield [(run, f"failed: {type(error).__name__}: {error}") for g in lost for run in g]


def _pretrain(run: Run, shop: Shop) -> list[Outcome]:
    pretrained(run, shop.scale, shop.sources, shop.work, shop.where)
    return []


def _log_to(folder: Path) -> None:
    """In a new process: what it prints goes to a file. Those that make its patches are forks, as everywhere: what draws
    can't be sent to others."""
    multiprocessing.set_start_method("fork", force=True)
    sys.stdout = sys.stderr = (folder / f"{os.getpid()}.log").open("a", buffering=1)
