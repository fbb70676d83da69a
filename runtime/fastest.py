"""`backend="auto"`: the backend that runs this bundle fastest on this machine, measured once and remembered.

Where several of AUTO are installed, each is opened as the policy will open it first (weights changed in place where
that works and `merged` was not asked for), proven, and run a few times on one square picture; the least time counts.
The first of AUTO is left only for one that takes at most WORTH of its time, and without a measurement where none other
is installed or there is a memory budget, whose rule (runtime/policy.py) knows ONNX Runtime's needs alone. TensorRT is
among them once its engines are built, which takes minutes: until then another serves, and `why` says what to do.
"""

import hashlib
import json
import logging
import os
import time
from contextlib import suppress
from dataclasses import asdict, dataclass
from functools import partial
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np
from colora.devices.errors import BackendError, MissingExtra, ParityError
from colora.runtime.atomic import write_text
from colora.runtime.backend import BACKENDS, Backend, backend_class
from colora.runtime.bundle import GRAPH, Bundle
from colora.runtime.graphs import GraphMaker
from colora.runtime.machine import cache_folder, cpu_facts

AUTO = ("ort", "openvino", "tensorrt")
"""Of fp32 alone: a lower precision is for the user to ask for."""
WORTH = 0.9
SIDE = 256
"""Of the picture, in pixels, within what the graph takes: large enough that memory counts, small enough for seconds."""
RUNS = 3
LIMIT_S = 10.0
"""A backend that has run for so long is not run again."""
FORMAT = 1
KEPT = 64
"""Measurements in the file, the latest."""

_log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Fastest:
    """What `auto` stands for."""

    name: str
    """Key of BACKENDS."""
    why: str
    """Empty where there was no choice."""


def fastest(
    bundle: Bundle, policy: str, threads: int, tolerance: float, budget: int | None = None
) -> Fastest:
    """The backend for a bundle, from the file where this machine has measured it before.

    policy, threads, budget: as for `load`. tolerance: largest difference from a golden output that passes.
    Raises: BundleError.
    """
    installed = [name for name in AUTO if find_spec(BACKENDS[name].package)]
    not_ready = ""
    if "tensorrt" in installed and (not_ready := _why_not_tensorrt(bundle, policy)):
        installed.remove("tensorrt")
    first = (installed or AUTO)[0]
    if len(installed) < 2:
        return Fastest(first, not_ready and f"{first}: {not_ready}")
    if budget is not None:
        return Fastest(first, f"{first}: memory_budget is estimated for it alone")
    key, file = _key(bundle, policy, threads, installed), cache_file()
    remembered = _read(file)
    if key in remembered and remembered[key].name in installed:
        return remembered[key]
    times, refused = {}, {}
    for name in installed:
        try:
            times[name] = _measure(bundle, name, policy, threads, tolerance)
        except (BackendError, MissingExtra, ParityError) as e:
            refused[name] = str(e)
    found = _best(times, refused, first)
    _log.info("backend auto: %s", found.why, extra={"event": "backend_measured", "ms": times})
    if times:
        _write(file, remembered | {key: found})
    return found


def cache_file() -> Path:
    """Where measurements are kept: `backends.json` in `cache_folder`."""
    return cache_folder() / "backends.json"


def _why_not_tensorrt(bundle: Bundle, policy: str) -> str:
    from colora.runtime.backend_tensorrt import why_not_ready  # where it is installed only

    try:
        return why_not_ready(bundle, _in_place(bundle, policy))
    except (BackendError, MissingExtra) as e:
        return str(e)


def _best(times: dict[str, float], refused: dict[str, str], first: str) -> Fastest:
    told = [f"{name} {ms:.0f} ms" for name, ms in times.items()]
    told += [f"{name} refused ({reason})" for name, reason in refused.items()]
    name = min(times, key=times.__getitem__, default=first)
    if first in times and times[name] > WORTH * times[first]:
        name = first
    return Fastest(name, f"{name}: measured {', '.join(told)}")


def _measure(bundle: Bundle, name: str, policy: str, threads: int, tolerance: float) -> float:
    """Least time of a run in ms. Raises: BackendError, MissingExtra, ParityError; BundleError."""
    shapes, sides = bundle.manifest.shapes, []
    for least, most in zip(shapes.min, shapes.max, strict=True):
        sides.append(max(least, min(most, SIDE - SIDE % shapes.multiple_of)))
    image = np.random.default_rng(0).random((1, 3, *sides), dtype=np.float32)
    maker = GraphMaker(bundle, partial(backend_class(name).open, threads=threads), tolerance)
    graph = _open(maker, policy)
    try:
        maker.check(graph, "the backbone", bundle.golden_output)
        graph.run(image)
        times: list[float] = []
        while len(times) < RUNS and sum(times) < LIMIT_S:
            begin = time.perf_counter()
            graph.run(image)
            times.append(time.perf_counter() - begin)
    finally:
        graph.close()
    return 1e3 * min(times)


def _open(maker: GraphMaker, policy: str) -> Backend:
    if _in_place(maker.bundle, policy):
        try:
            return maker.refit()
        except BackendError:
            if policy == "refit":
                raise
    return maker.merged(())


def _in_place(bundle: Bundle, policy: str) -> bool:
    return bundle.manifest.kind == "shared" and policy != "merged"


def _key(bundle: Bundle, policy: str, threads: int, names: list[str]) -> str:
    """Hash of all that the times depend on."""
    packages = sorted({BACKENDS[name].package for name in names})
    facts = (
        bundle.manifest.files[GRAPH].sha256,
        _in_place(bundle, policy),
        threads,
        len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count(),
        cpu_facts(),
        [(package, _version(package)) for package in packages],
    )
    return hashlib.sha256(json.dumps(facts).encode()).hexdigest()


def _version(package: str) -> str:
    from importlib import metadata  # 30 ms, and only where there is a choice

    try:
        return metadata.version(package)
    except metadata.PackageNotFoundError:  # from a distribution of another name, as onnxruntime-gpu
        return str(find_spec(package))


def _read(file: Path) -> dict[str, Fastest]:
    """Measurements by key; none from a file that is missing, damaged or of another format."""
    try:
        data: Any = json.loads(file.read_bytes())
        if data["format"] != FORMAT:
            return {}
        entries = {key: Fastest(**entry) for key, entry in data["fastest"].items()}
    except (OSError, ValueError, TypeError, KeyError, AttributeError, RecursionError):
        return {}
    return {k: e for k, e in entries.items() if e.name in AUTO and isinstance(e.why, str)}


def _write(file: Path, entries: dict[str, Fastest]) -> None:
    """Keep the latest. Where that can't be written, the next session measures again."""
    kept = {key: asdict(entries[key]) for key in list(entries)[-KEPT:]}
    with suppress(OSError):
        file.parent.mkdir(parents=True, exist_ok=True)
        write_text(file, json.dumps({"format": FORMAT, "fastest": kept}, indent=1) + "\n")
