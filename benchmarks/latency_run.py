"""What the latency scenario times in processes of their own, none of which loads torch: pictures, changes of task."""

import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import asdict
from functools import partial
from itertools import cycle
from typing import Any

from colora.benchmarks.noise import REFERENCE, interleave_watched
from colora.benchmarks.scenarios import PEERS, open_model, picture
from colora.benchmarks.timing import interleave
from colora.devices.errors import ColoraError
from colora.runtime.backend_ort import OrtBackend
from colora.runtime.bundle import open_bundle
from colora.runtime.latency import Once, once, split
from colora.runtime.session import GOLDEN_TOLERANCE, Session, load
from colora.runtime.switch import Switcher
from colora.runtime.weights import Array

LEAST_ROUNDS = 3
PAUSE_S = 0.05
"""Before each call."""
SLACK = 1.5
"""Times the budget: rather take somewhat longer than leave a size out."""
REFIT, HOT, OPEN = "refit", "merged, both open", "opening the other whole model"
"""Ways to change the task."""


def pictures(
    bundle: str, task: str, sizes: str, ways: str, threads: str, rounds: str, seconds: str
) -> dict[str, Any]:
    """One square picture of each size through every way that can be opened, by turns.

    sizes: ascending sides in px, comma-separated. ways: `backend policy`, comma-separated. seconds: budget, which gives
    all sizes about as many rounds; the largest are left out where it is too short for LEAST_ROUNDS of each.
    Returns refused: way → why; sizes: size → {ms: way → list, latency: way → `Latency`, noise}; left_out.
    """
    sides, left = [int(side) for side in sizes.split(",")], float(seconds)
    refused: dict[str, str] = {}
    result: dict[str, Any] = {}
    left_out: list[int] = []
    with ExitStack() as stack:
        sessions = _sessions(bundle, ways.split(","), int(threads), stack, refused)
        calls = {side: _calls(sessions, picture(side), task) for side in sides if sessions}
        pause_s = PAUSE_S * len(sessions)
        per_pixel = _seconds(calls[sides[0]][0]) / sides[0] ** 2 if sessions else 0.0
        while calls:
            side = next(iter(calls))
            n, over = plan([pause_s + per_pixel * other**2 for other in calls], int(rounds), left)
            for other in list(calls)[len(calls) - over :]:
                left_out.append(other)
                del calls[other]
            measured, found = calls.pop(side)
            begin = time.monotonic()
            _, noise = interleave_watched(measured, n, warmups=1, pause_s=PAUSE_S)
            left -= time.monotonic() - begin
            for times in found.values():
                times[:] = times[-n:]
            per_pixel = sum(x.whole_ms for times in found.values() for x in times) / n / 1e3 / side**2
            result[str(side)] = {
                "ms": {way: [x.whole_ms for x in found[way]] for way in sessions},
                "latency": {way: asdict(split(sessions[way], found[way])) for way in sessions},
                "noise": asdict(noise),
            }
    return {"refused": refused, "sizes": result, "left_out": sorted(left_out)}


def plan(costs: Sequence[float], most: int, left: float) -> tuple[int, int]:
    """Rounds of the first size, and how many of the last to leave out. costs: seconds of a round of each size, rising.

    As many rounds of each as there is time for, with one for warming up: LEAST_ROUNDS to `most`. A size is left out
    only where LEAST_ROUNDS of all would take more than SLACK times what is left; the first never is.
    """
    kept = len(costs)
    while kept > 1 and sum(costs[:kept]) * (LEAST_ROUNDS + 1) > SLACK * left:
        kept -= 1
    return min(most, max(LEAST_ROUNDS, int(left / sum(costs[:kept])) - 1)), len(costs) - kept


def _calls(
    sessions: Mapping[str, Session], image: Array, task: str
) -> tuple[dict[str, Callable[[], object]], dict[str, list[Once]]]:
    """What restores the picture by each way, and where its times go."""
    found: dict[str, list[Once]] = {way: [] for way in sessions}
    return {way: partial(_take, found[way], sessions[way], image, task) for way in sessions}, found


def _seconds(calls: Mapping[str, Callable[[], object]]) -> float:
    """Of a second round, pauses apart."""
    return sum(ms for (ms,) in interleave(calls, 1, warmups=1, pause_s=0.0).values()) / 1e3


def _take(into: list[Once], session: Session, image: Array, task: str) -> None:
    into.append(once(session, image, task))


def _sessions(
    bundle: str, ways: list[str], threads: int, stack: ExitStack, refused: dict[str, str]
) -> dict[str, Session]:
    """Way → session, open; what can't be opened goes into `refused`."""
    opened = {}
    for way in ways:
        backend, policy = way.split()
        try:
            opened[way] = stack.enter_context(load(bundle, backend, policy, threads=threads))
        except ColoraError as e:
            refused[way] = str(e)
    return opened


def switches(bundle: str, tasks: str, models: str, threads: str, rounds: str) -> dict[str, Any]:
    """Changes to the other of two tasks, no picture, and the opening of the other's merged file, by turns.

    tasks: two, comma-separated; an empty name is the backbone alone. models: their ONNX files, or nothing.
    Returns ms: call → list; noise.
    """
    opened, names, count = open_bundle(bundle), tasks.split(","), int(threads)
    graph = partial(OrtBackend.open, threads=count)
    tolerance = GOLDEN_TOLERANCE[opened.manifest.precision]
    sessions: list[Any] = []
    held: list[Switcher] = []

    def turns(policy: str) -> Callable[[], object]:
        switcher = Switcher(opened, graph, policy, 2 if policy == "merged" else None, tolerance)
        held.append(switcher)
        for name in names:
            switcher.switch(name, 1.0)
        following = cycle(names)
        return lambda: switcher.switch(next(following), 1.0)

    calls: dict[str, Callable[[], object]] = {REFIT: turns("refit"), HOT: turns("merged")}
    if models:
        files = cycle(models.split(","))
        calls[OPEN] = lambda: sessions.append(open_model(next(files), PEERS["default"], count))
    try:
        times, noise = interleave_watched(calls, int(rounds), between=sessions.clear)
    finally:
        for switcher in held:
            switcher.close()
    del times[REFERENCE]
    return {"ms": times, "noise": asdict(noise)}
