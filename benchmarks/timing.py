"""Latencies that can be compared: calls take turns in one process, and ratios are taken within each round.

A machine that slows down or is shared slows all calls of a round alike, so the ratio of two calls of one round is worth
more than the ratio of two averages. interval.py says how sure a figure is, noise.py how quiet the machine was.
"""

import statistics
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import TypeVar

Name = TypeVar("Name")


@dataclass(frozen=True)
class Summary:
    """Of one call, over all rounds."""

    n: int
    ms_p50: float
    ms_p95: float


@dataclass(frozen=True)
class Ratio:
    """Of two calls' times, paired by round."""

    n: int
    p25: float
    p50: float
    p75: float


def interleave(
    calls: Mapping[str, Callable[[], object]],
    rounds: int,
    *,
    warmups: int = 3,
    pause_s: float = 0.05,
    between: Callable[[], object] = lambda: None,
    synchronize: Callable[[], object] = lambda: None,
) -> dict[str, list[float]]:
    """Wall-clock time in ms of each call in each round (`time.perf_counter_ns`).

    The order rotates from round to round, forwards and backwards by turns. Before each call there is a pause, in which
    the worker threads of the call before stop spinning. warmups: rounds that are run first and not counted. between:
    called before each pause, to drop what a call has left. synchronize: waits until the device is idle, such as
    `torch.cuda.synchronize`; called before the clock is read, both times, for calls that return before their work is
    done.
    """
    times: dict[str, list[float]] = {name: [] for name in calls}
    for number in range(-warmups, rounds):
        for name in order(tuple(calls), number):
            between()
            time.sleep(pause_s)
            synchronize()
            begin = time.perf_counter_ns()
            calls[name]()
            synchronize()
            end = time.perf_counter_ns()
            if number >= 0:
                times[name].append((end - begin) / 1e6)
    return times


def order(names: Sequence[Name], number: int) -> list[Name]:
    """Names in the order of round `number`."""
    shift = number // 2 % len(names)
    turned = [*names[shift:], *names[:shift]]
    return turned[::-1] if number % 2 else turned


def summary(times_ms: Sequence[float]) -> Summary:
    """Median and 95th percentile (nearest rank)."""
    ranked = sorted(times_ms)
    return Summary(len(ranked), statistics.median(ranked), ranked[-(-95 * len(ranked) // 100) - 1])


def paired_ratio(times: Sequence[float], reference: Sequence[float]) -> Ratio:
    """Quartiles of time / reference, taken round by round. At least two rounds, as many of one as of the other."""
    ratios = [a / b for a, b in zip(times, reference, strict=True)]
    p25, p50, p75 = statistics.quantiles(ratios, n=4, method="inclusive")
    return Ratio(len(ratios), p25, p50, p75)
