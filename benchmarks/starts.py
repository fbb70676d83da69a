"""Process start to the first restored picture, cold and warm: ours, and a bare script over a whole model."""

import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from colora.benchmarks.page_cache import evict, in_memory
from colora.benchmarks.start import BARE, OURS, seconds_to_line
from colora.benchmarks.timing import order

COLD, WARM = "cold start", "warm start"
SHARED, WHOLE = "one backbone + adapters", "a whole model"
LEAST_ROUNDS = 3

Key = tuple[str, str]
"""(COLD or WARM, SHARED or WHOLE)"""


@dataclass(frozen=True)
class Starts:
    """Of fresh processes."""

    ms: Mapping[Key, list[float]]
    """From before a process is made until its first picture is restored, by round."""
    stayed: float
    """Largest share of a file that the system kept in memory before a cold start: about 0, or it was not cold."""


def starts(
    bundle: Path, model: Path | None, task: str, image: Path, rounds: int, seconds: float, caches: Path
) -> Starts:
    """Both kinds of both ways by turns, by ONNX Runtime.

    model: a folder of a whole model, graph.onnx and graph.data; image: .npy. seconds: a budget, which a first start of
    each kind tells how to spend; at least LEAST_ROUNDS. caches: a folder for colora's, one for each cold start.
    Before a cold start the files of what is opened are evicted from memory.
    Raises: BackendError if a process fails.
    """
    scripts: dict[str, tuple[Path, tuple[str, ...]]] = {
        SHARED: (bundle, (OURS.format(policy="auto", task=task), str(bundle), str(image)))
    }
    if model:
        scripts[WHOLE] = (model, (BARE, str(model), str(image)))
    kinds = [(kind, who) for who in scripts for kind in (WARM, COLD)]
    times: dict[Key, list[float]] = {key: [] for key in kinds}
    stayed, number, begin = 0.0, -1, time.monotonic()
    while number < rounds:
        for kind, who in order(kinds, number):
            folder, script = scripts[who]
            cache = caches / f"{number}" if kind == COLD else caches / "warm"
            if kind == COLD:
                stayed = max(stayed, _forget(folder))
            taken, _ = seconds_to_line(*script, cache=cache)
            if number >= 0:
                times[kind, who].append(1e3 * taken)
        if number < 0:
            each = time.monotonic() - begin
            rounds = min(rounds, max(LEAST_ROUNDS, int(seconds / each) - 1))
        number += 1
    return Starts(times, stayed)


def _forget(folder: Path) -> float:
    """Evict the files; returns the largest share of one that stayed."""
    files = [file for file in folder.rglob("*") if file.is_file()]
    evict(files)
    return max(map(in_memory, files), default=0.0)
