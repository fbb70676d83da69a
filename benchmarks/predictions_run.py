"""What `predictions` runs in processes of its own: exports, times by turns, and memory of one network alone."""

from __future__ import annotations

import time
from contextlib import ExitStack
from pathlib import Path

import numpy as np
from colora.benchmarks.large_run import CLEAR_REFS
from colora.benchmarks.resident import memory_now
from colora.benchmarks.timing import order
from colora.runtime.session import Session, load

JUDGED = ("nafnet-small", "nafnet-sidd-w32", "restormer-tiny")
"""Of train/backbones.py: 5.9 M, 29 M and 0.7 M parameters."""
FITTED = ("NAFNet, width 16", "NAFNet, width 48", "Restormer, dim 12", "Restormer, dim 24")
"""Layouts that are none of those: rates and footprints come from these alone."""
SIDE = 2048
SAME = 1.0
"""Golden tolerance: weights are random, and nobody looks at the pictures."""


def export(name: str, folder: str) -> str:
    """A bundle of a network of JUDGED or FITTED with random weights and one task; returns its folder."""
    from colora.benchmarks.tiny import make_tiny
    from colora.export.pipeline import export as export_bundle
    from colora.runtime.manifest import Tile
    from colora.train.backbones import Backbone, find_backbone
    from colora.train.nafnet import NAFNetConfig
    from colora.train.restormer import RestormerConfig

    layouts: tuple[NAFNetConfig | RestormerConfig, ...] = (
        NAFNetConfig(16, (1, 1, 2), 2, (1, 1, 1)),
        NAFNetConfig(48, (1, 2), 2, (1, 1)),
        RestormerConfig(dim=12, blocks=(1, 1, 2, 1), refinement_blocks=2, heads=(1, 2, 3, 4)),
        RestormerConfig(dim=24, blocks=(1, 1, 1, 2), refinement_blocks=1),
    )
    tile = Tile(size=512, overlap=32, when_above=1024)
    known = {told: Backbone(told, layout, tile) for told, layout in zip(FITTED, layouts, strict=True)}
    work = Path(folder) / f"{name} files"
    work.mkdir()
    files = make_tiny(work, backbone=known.get(name) or find_backbone(name))
    output = Path(folder) / name
    return str(export_bundle(backbone=str(files.backbone), output=output, adapters=[files.rain]).output)


def times(folder: str, backend: str, policy: str, threads: str, rounds: str, cases: str) -> list[float]:
    """Least seconds of a run of each of `cases`, `network@size` joined by `;`, all by turns, after one unmeasured.

    threads: of a run; 1: the process's CPU time is taken, which what else runs lengthens less than the wall clock's.
    """
    clock = time.process_time if threads == "1" else time.perf_counter
    pairs = [(name, int(size)) for name, _, size in (case.partition("@") for case in cases.split(";"))]
    with ExitStack() as stack:
        sessions = {
            name: stack.enter_context(_open(Path(folder) / name, backend, policy, threads))
            for name in dict.fromkeys(name for name, _ in pairs)
        }
        found = dict.fromkeys(cases.split(";"), float("inf"))
        for number in range(-1, int(rounds)):
            for case in order([*found], max(number, 0)):
                name, _, size = case.partition("@")
                network, picture = sessions[name].network("rain"), _picture(int(size))
                begin = clock()
                network(picture)
                if number >= 0:
                    found[case] = min(found[case], clock() - begin)
    return [*found.values()]


def product_rate(threads: str, rounds: str) -> float:
    """Operations a second of a float32 product of two square matrices by numpy, clocked as `times` does."""
    clock = time.process_time if threads == "1" else time.perf_counter
    rng = np.random.default_rng(0)
    a, b = (rng.standard_normal((SIDE, SIDE), np.float32) for _ in "ab")
    found = float("inf")
    for _ in range(int(rounds) + 1):
        begin = clock()
        a @ b
        found = min(found, clock() - begin)
    return 2 * SIDE**3 / found


def memory(folder: str, backend: str, policy: str, threads: str, name: str, sizes: str) -> list[int]:
    """Resident bytes of a process at the peak of one run at each of `sizes`, opening the bundle left out."""
    with _open(Path(folder) / name, backend, policy, threads) as session:
        network = session.network("rain")
        network(_picture(64))  # what a first use imports and caches
        session.trim()
        found = []
        for size in sizes.split(","):
            CLEAR_REFS.write_text("5")
            network(_picture(int(size)))
            found.append(memory_now().peak_rss_bytes)
        return found


def _open(bundle: Path, backend: str, policy: str, threads: str) -> Session:
    return load(bundle, backend=backend, policy=policy, threads=int(threads), golden_tolerance=SAME)


def _picture(size: int) -> np.ndarray[tuple[int, ...], np.dtype[np.float32]]:
    return np.random.default_rng(0).random((1, 3, size, size), np.float32)
