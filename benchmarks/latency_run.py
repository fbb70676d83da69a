"""What the latency scenario times in processes of their own, none of which loads torch: pictures, changes of task."""

from collections.abc import Callable
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
REFIT, HOT, OPEN = "refit", "merged, both open", "opening the other whole model"
"""Ways to change the task."""


def pictures(
    bundle: str, task: str, sizes: str, ways: str, threads: str, rounds: str, seconds: str
) -> dict[str, Any]:
    """One square picture of each size through every way that can be opened, by turns.

    sizes: ascending sides in px, comma-separated. ways: `backend policy`, comma-separated. seconds: budget, of which a
    size gets a share by its pixels; it then has fewer rounds, and below LEAST_ROUNDS none.
    Returns refused: way → why; sizes: size → {ms: way → list, latency: way → `Latency`, noise}; left_out.
    """
    sides = [int(side) for side in sizes.split(",")]
    left, pixels = float(seconds), [side * side for side in sides]
    refused: dict[str, str] = {}
    result: dict[str, Any] = {}
    left_out: list[int] = []
    per_pixel = 0.0
    with ExitStack() as stack:
        sessions = _sessions(bundle, ways.split(","), int(threads), stack, refused)
        for i, side in enumerate(sides if sessions else []):
            share = left * pixels[i] / sum(pixels[i:])
            if per_pixel * pixels[i] * (LEAST_ROUNDS + 2) > 2 * share:
                left_out.append(side)
                continue
            found: dict[str, list[Once]] = {way: [] for way in sessions}
            image = picture(side)
            calls = {
                way: partial(_take, found[way], session, image, task) for way, session in sessions.items()
            }
            warm = interleave(calls, 1, warmups=1)
            round_s = sum(ms for (ms,) in warm.values()) / 1e3 + 0.05 * len(calls)
            per_pixel = round_s / pixels[i]
            n = min(int(rounds), max(LEAST_ROUNDS, int(share / round_s) - 2))
            for once_found in found.values():
                once_found.clear()
            _, noise = interleave_watched(calls, n, warmups=0)
            left -= (n + 2) * round_s
            result[str(side)] = {
                "ms": {way: [x.whole_ms for x in found[way]] for way in sessions},
                "latency": {way: asdict(split(sessions[way], found[way])) for way in sessions},
                "noise": asdict(noise),
            }
    return {"refused": refused, "sizes": result, "left_out": left_out}


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
