"""Latency of merged, adapted and plain models in one process, each in turn; see timing.py. Nothing here loads torch."""

from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import asdict
from itertools import cycle
from typing import Any

from colora.benchmarks.scenarios import INPUT, OUTPUT, PEERS, open_model, picture, tensor_of
from colora.benchmarks.timing import interleave, paired_ratio, summary
from colora.runtime.session import load

MERGED, ADAPTED = "merged", "adapted (refit)"
PLAIN = {
    f"plain ONNX Runtime, {name}": PEERS[name] for name in ("default", "no arena", "no arena, no prepacking")
}
SWITCH, REOPEN = (
    "adapted (refit), another task each time",
    "plain ONNX Runtime, opened for another task each time",
)

TOLD = {
    MERGED: "Session.restore under policy `merged`, the task's graph already open",
    ADAPTED: "Session.restore under policy `refit`, the task already in place",
    SWITCH: "Session.restore of the other of two tasks: the change of weights and one picture",
    REOPEN: "InferenceSession opened over the other of two merged files, default options, and one run",
    **{name: f"InferenceSession.run over the merged ONNX file; {peer.told}" for name, peer in PLAIN.items()},
}


def latency(bundle: str, tasks: str, models: str, size: str, threads: str, rounds: str) -> dict[str, Any]:
    """One picture, size×size. tasks, models: two or more of each, comma-separated, in the same order.

    Returns name → {n, ms_p50, ms_p95, n and quartiles of the ratio to `merged`, told}.
    """
    names, files, n = tasks.split(","), models.split(","), int(threads)
    image = picture(int(size))
    tensor = tensor_of(image)
    with ExitStack() as stack:
        merged = stack.enter_context(load(bundle, "ort", "merged", threads=n))
        adapted = stack.enter_context(load(bundle, "ort", "refit", threads=n))
        switched = stack.enter_context(load(bundle, "ort", "refit", threads=n))
        next_task, next_file = cycle(names[:2]), cycle(files[:2])
        calls: dict[str, Callable[[], object]] = {
            MERGED: lambda: merged.restore(image, names[0]),
            ADAPTED: lambda: adapted.restore(image, names[0]),
            SWITCH: lambda: switched.restore(image, next(next_task)),
            REOPEN: lambda: open_model(next(next_file), PEERS["default"], n).run([OUTPUT], {INPUT: tensor}),
        }
        for name, peer in PLAIN.items():
            session = open_model(files[0], peer, n)
            calls[name] = lambda session=session: session.run([OUTPUT], {INPUT: tensor})  # type: ignore[misc]
        times = interleave(calls, int(rounds))
    return {
        name: asdict(summary(ms))
        | {f"ratio_to_merged_{k}": v for k, v in asdict(paired_ratio(ms, times[MERGED])).items()}
        | {"told": TOLD[name]}
        for name, ms in times.items()
    }
