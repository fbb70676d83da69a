"""What scenario_peers measures, each in a fresh process."""

from __future__ import annotations

import time
from contextlib import redirect_stdout
from pathlib import Path
from sys import stderr
from typing import Any

import numpy as np
from colora.benchmarks.peer_open import PEERS, Opened, Subject
from colora.benchmarks.resident import memory_now
from colora.benchmarks.scenarios import picture, tensor_of
from colora.benchmarks.timing import interleave

LEAST_ROUNDS = 3
MOST_SWITCHES = 0.3
"""Of the seconds, for changes of task."""


def open_peer(name: str, bundle: str, tasks: str, folder: str, threads: str) -> Opened:
    """One of PEERS. tasks: two, comma-separated. Raises: what its package raises."""
    first, second = tasks.split(",")
    return PEERS[name].open(Subject(bundle, (first, second), Path(folder), int(threads)))


def warm(name: str, bundle: str, tasks: str, folder: str, threads: str, size: str) -> None:
    """One picture, for what a package keeps on the disk: compiled code."""
    open_peer(name, bundle, tasks, folder, threads).network(tensor_of(picture(int(size))))


def memory(name: str, bundle: str, tasks: str, folder: str, threads: str, size: str) -> dict[str, Any]:
    """Bytes that this process grew by when it opened a peer, and restored a picture by each of two tasks."""
    tensor = tensor_of(picture(int(size)))
    before = memory_now()
    try:
        with redirect_stdout(stderr):
            peer = open_peer(name, bundle, tasks, folder, threads)
            for _ in range(2):
                peer.network(tensor)
                peer.switch()
    except Exception as e:
        return {"failed": _told(e)}
    return {"bytes": (memory_now() - before).rss_bytes}


def times(
    names: str, bundle: str, tasks: str, folder: str, threads: str, size: str, rounds: str, seconds: str
) -> dict[str, Any]:
    """Restores and changes of task of peers (names by `|`) by turns; `ms`, `switch_ms`, `differs` and `failed` by name.

    differs: largest difference of the first task's picture from the first peer's, in units of [0, 1]. As many rounds as
    fit in the seconds, at least LEAST_ROUNDS and at most `rounds`.
    """
    image, opened, failed = picture(int(size)), {}, {}
    differs: dict[str, float] = {}
    expected = None
    for name in names.split("|"):
        try:
            with redirect_stdout(stderr):
                peer = open_peer(name, bundle, tasks, folder, threads)
                found = peer.network(tensor_of(image))
        except Exception as e:  # a peer that does not work here is a row that says so
            failed[name] = _told(e)
            continue
        expected = found if expected is None else expected
        differs[name] = float(np.abs(np.clip(found, 0, 1) - np.clip(expected, 0, 1)).max())
        opened[name] = peer

    def restore(peer: Opened) -> Any:
        result = peer.network(tensor_of(image))[0].transpose(1, 2, 0)
        return np.rint(np.clip(result, 0, 1) * 255).astype(np.uint8)

    with redirect_stdout(stderr):
        restores = {name: (lambda peer=peer: restore(peer)) for name, peer in opened.items()}
        changes = {name: peer.switch for name, peer in opened.items()}
        ms = _timed(restores, int(rounds), (1 - MOST_SWITCHES) * float(seconds))
        switch_ms = _timed(changes, int(rounds), MOST_SWITCHES * float(seconds))
    return {"ms": ms, "switch_ms": switch_ms, "differs": differs, "failed": failed}


def _timed(calls: dict[str, Any], most: int, seconds: float) -> dict[str, list[float]]:
    begin = time.perf_counter()
    interleave(calls, 1, warmups=0)
    once = time.perf_counter() - begin
    return interleave(calls, max(LEAST_ROUNDS, min(most, int(seconds / once))), warmups=1)


def _told(e: Exception) -> str:
    lines = str(e).strip().splitlines()
    return f"{type(e).__name__}: {lines[0] if lines else 'no reason given'}"
