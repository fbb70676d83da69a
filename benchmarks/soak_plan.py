"""What a soak asks for, drawn from a seed, and what each call must return, bit for bit."""

import hashlib
import itertools
import math
import shutil
import tempfile
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from colora.benchmarks.fleet import shuffled
from colora.devices.errors import BundleError
from colora.runtime.adapter import write_adapter
from colora.runtime.atomic import write_bytes
from colora.runtime.bundle import open_bundle
from colora.runtime.golden import golden_input
from colora.runtime.image import WHITE
from colora.runtime.session import Session, load
from colora.runtime.weights import Array

TASKS = 3
"""Most tasks of a bundle that are used: references are made for every combination of their versions."""
DTYPES = ("uint8", "uint8", "uint16", "float32")
SWAP, BREAK, PREFETCH = 0.01, 0.005, 0.03
"""Shares of calls before which an adapter's file is replaced, is replaced by half of itself, a task is announced."""

Versions = tuple[tuple[str, int], ...]
"""Task and number of its adapter's version, of the tasks that a mixture has."""
References = Mapping[tuple[int, int, int, Versions], frozenset[str]]
"""Threads of a run, picture, mixture and versions → digests of what may come out."""


@dataclass(frozen=True)
class Plan:
    """The things calls are drawn from."""

    pictures: tuple[Array, ...]
    mixtures: tuple[Mapping[str, float], ...]
    """Task → strength; empty: the backbone."""
    versions: Mapping[str, tuple[bytes, ...]]
    """Task → its adapter's files: the one of the bundle, and one with the same numbers in another order."""


@dataclass(frozen=True)
class Call:
    """One of a soak's calls: indices into the plan, and what is done before."""

    picture: int
    mixture: int
    swapped: str
    """Task whose adapter is replaced; empty: none."""
    broken: str
    """Task whose file is damaged."""
    announced: int
    """Mixture to prefetch; -1: none."""


def make_plan(bundle: Path, pictures: int, largest: int, seed: int) -> Plan:
    """pictures: how many; largest: side in px. Raises: BundleError for a bundle without tasks to switch."""
    opened = open_bundle(bundle)
    if opened.manifest.kind != "shared" or not opened.tasks:
        raise BundleError(f"{bundle}: expected a shared bundle with a task or more: export one")
    tasks = opened.tasks[:TASKS]
    rng = np.random.default_rng(seed)
    mixtures: list[Mapping[str, float]] = [{}, *({t: s} for t in tasks for s in (1.0, 0.5))]
    mixtures += [{a: 0.5, b: 0.5} for a, b in itertools.combinations(tasks, 2)]
    images = []
    for i in range(pictures):
        dtype = np.dtype(DTYPES[i % len(DTYPES)])
        unit = rng.random((*rng.integers(1, largest + 1, 2), 3), dtype=np.float32)
        images.append(unit if dtype.kind == "f" else (unit * WHITE[dtype.name]).astype(dtype))
    return Plan(
        tuple(images),
        tuple(mixtures),
        {task: _versions(bundle, task, seed + i) for i, task in enumerate(tasks)},
    )


def make_call(plan: Plan, seed: int, number: int) -> Call:
    """The same whatever the order in which threads get to it."""
    rng = np.random.default_rng((seed, number))
    tasks = list(plan.versions)

    def some_task(share: float) -> str:
        return tasks[rng.integers(len(tasks))] if rng.random() < share else ""

    return Call(
        picture=int(rng.integers(len(plan.pictures))),
        mixture=int(rng.integers(len(plan.mixtures))),
        swapped=some_task(SWAP),
        broken=some_task(BREAK),
        announced=int(rng.integers(len(plan.mixtures))) if rng.random() < PREFETCH else -1,
    )


def digest(image: Array) -> str:
    """Of dtype, shape and every bit."""
    return hashlib.sha256(f"{image.dtype} {image.shape} ".encode() + image.tobytes()).hexdigest()


def make_references(bundle: Path, plan: Plan, policies: Iterable[str], threads: Iterable[int]) -> References:
    """From sessions of their own, one call after another, every version read from its file."""
    found: dict[tuple[int, int, int, Versions], set[str]] = {}
    with tempfile.TemporaryDirectory() as folder:
        copy = Path(shutil.copytree(bundle, Path(folder) / "bundle"))
        for numbers in itertools.product(*(range(len(v)) for v in plan.versions.values())):
            chosen = dict(zip(plan.versions, numbers, strict=True))
            for task, number in chosen.items():
                write_bytes(copy / "tasks" / f"{task}.safetensors", plan.versions[task][number])
            for policy, n in itertools.product(policies, threads):
                with load(copy, "ort", policy, threads=n) as session:
                    _add(found, session, plan, n, chosen)
    return {key: frozenset(digests) for key, digests in found.items()}


def _add(
    found: dict[tuple[int, int, int, Versions], set[str]],
    session: Session,
    plan: Plan,
    threads: int,
    chosen: Mapping[str, int],
) -> None:
    for m, mixture in enumerate(plan.mixtures):
        for p, picture in enumerate(plan.pictures):
            key = (threads, p, m, tuple((task, chosen[task]) for task in mixture))
            found.setdefault(key, set()).add(digest(session.restore(picture, mixture)))


def _versions(bundle: Path, task: str, seed: int) -> tuple[bytes, ...]:
    """The adapter's file, and that of one with its numbers shuffled and a golden output of its own."""
    opened = open_bundle(bundle)
    with tempfile.TemporaryDirectory() as folder:
        copy = Path(shutil.copytree(bundle, Path(folder) / "bundle"))
        file = copy / "tasks" / f"{task}.safetensors"
        other = shuffled(opened.read_task(task), task, seed)
        write_adapter(file, other)
        with load(copy, "ort", golden_tolerance=math.inf) as session:
            output = session.network(task)(golden_input())
        write_adapter(file, replace(other, golden_output=output))
        return opened.task_file(task).read_bytes(), file.read_bytes()
