"""The table of the peers scenario: a row for each, and the sentence and plots made of them."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from colora.benchmarks.interval import median_interval
from colora.benchmarks.peer_open import PEERS, Peer
from colora.benchmarks.section import Cell, Column, Plot, Series
from colora.benchmarks.timing import summary

REFIT = next(iter(PEERS))

COLUMNS = (
    Column("by"),
    Column("picture", "ms", "median of interleaved rounds in one process: uint8 picture to uint8 picture"),
    Column("picture, low", "ms", "end of the bootstrap interval of the median"),
    Column("picture, high", "ms", "end of the bootstrap interval of the median"),
    Column(
        "ratio of a picture",
        "×",
        "to colora refit, median of ratios paired by round; below 1: faster than colora",
    ),
    Column("change of task", "ms", "median of interleaved rounds, no picture"),
    Column("ratio of a change", "×", "to colora refit, paired by round; below 1: faster than colora"),
    Column(
        "memory",
        "MB",
        "RSS that a fresh process grew by, packages included: opened, a picture by each of two tasks",
    ),
    Column("ratio of memory", "×", "to colora refit; below 1: less than colora"),
    Column("differs", "1/255", "largest difference from colora refit's picture before rounding"),
    Column("restores by"),
    Column("changes task by"),
)


@dataclass(frozen=True)
class Found:
    """Of one peer; empty where it could not be measured, and then `why` says so."""

    ms: Sequence[float] = ()
    switch_ms: Sequence[float] = ()
    memory_bytes: int | None = None
    differs: float | None = None
    why: str = ""


def row(
    peer: Peer, found: Mapping[str, Found], rng: np.random.Generator, confidence: float
) -> tuple[Cell, ...]:
    """Of the table; empty cells where the peer was not measured."""
    name = peer.name
    one, ours = found[name], found[REFIT]
    how = (peer.restores if not one.why else f"not measured: {one.why}", peer.switches)
    if not one.ms:
        return (name, *[None] * 9, *how)
    picture = median_interval(one.ms, rng, confidence)
    return (
        name,
        round(picture.value, 2),
        round(picture.low, 2),
        round(picture.high, 2),
        round(ratio(one.ms, ours.ms), 3),
        round(summary(one.switch_ms).ms_p50, 3),
        round(ratio(one.switch_ms, ours.switch_ms), 4),
        None if one.memory_bytes is None else round(one.memory_bytes / 1e6, 1),
        round(one.memory_bytes / ours.memory_bytes, 3) if one.memory_bytes and ours.memory_bytes else None,
        None if one.differs is None else round(255 * one.differs, 2),
        *how,
    )


def ratio(ms: Sequence[float], reference: Sequence[float]) -> float:
    """Median of the ratios of one round."""
    return float(np.median([a / b for a, b in zip(ms, reference, strict=True)]))


def sentence(found: Mapping[str, Found]) -> str:
    """Where colora refit loses and where it wins."""
    ours = found[REFIT]
    others = {n: one for n, one in found.items() if one.ms and not n.startswith("colora")}
    if not others or not ours.ms:
        return "There was nothing to compare with."
    figures: dict[str, dict[str, float]] = {
        "a picture": {n: ratio(one.ms, ours.ms) for n, one in others.items()},
        "a change of task": {n: ratio(one.switch_ms, ours.switch_ms) for n, one in others.items()},
        "memory": {n: one.memory_bytes / ours.memory_bytes for n, one in others.items()
                   if one.memory_bytes and ours.memory_bytes},
    }  # fmt: skip
    told = []
    for what, ratios in figures.items():
        losses = sorted((x, n) for n, x in ratios.items() if x < 1)
        lost = ", ".join(f"{n} ({x:.2f}×)" if x >= 0.01 else f"{n} ({x:.1g}×)" for x, n in losses)
        told.append(
            f"in {what} it loses to {lost}" if losses else f"in {what} none of {len(ratios)} beats it"
        )
    return f"colora refit against {len(others)} peers: {'; '.join(told)}."


def plots(found: Mapping[str, Found]) -> tuple[Plot, ...]:
    """Bars of each figure, and a picture against a change of task."""
    names = tuple(name for name, one in found.items() if one.ms)
    if not names:
        return ()
    cloud = tuple(
        Series(n, (summary(found[n].switch_ms).ms_p50,), (summary(found[n].ms).ms_p50,)) for n in names
    )
    held = tuple((found[n].memory_bytes or 0) / 1e6 for n in names)
    pictures = Series("picture", names, tuple(summary(found[n].ms).ms_p50 for n in names))
    return (
        Plot("One picture", "", "ms", (pictures,), "bar"),
        Plot(
            "A picture and a change of task",
            "change of task, ms",
            "picture, ms",
            cloud,
            "scatter",
            log_x=True,
        ),
        Plot("Memory of two tasks", "", "MB", (Series("memory", names, held),), "bar"),
    )
