"""N tasks as files for every system, and what each takes in processes of its own."""

import os
import shutil
from collections.abc import Sequence
from dataclasses import dataclass, fields
from pathlib import Path

import numpy as np
from colora.benchmarks.fleet import Member, folder_bytes, make_fleet, separate_bytes, shared_bytes
from colora.benchmarks.memory_systems import EVERY, SOURCE, TORCH, TORCH_CUDA
from colora.benchmarks.resident import Memory, in_fresh_process
from colora.runtime.adapter import read_adapter
from colora.runtime.bundle import WEIGHTS, Bundle, open_bundle
from colora.runtime.deltas import delta_kind
from colora.runtime.weights import read_tensors, write_tensors

MODULE = "colora.benchmarks.memory_held"


@dataclass(frozen=True)
class Fleet:
    """N tasks, in one bundle and as whole models."""

    bundle: Bundle
    members: tuple[Member, ...]
    backbone: str
    """name in BACKBONES, or a checkpoint of its layout"""

    def files_bytes(self, system: str, tasks: int) -> int:
        """Files of so many tasks as the system takes them."""
        first = self.members[:tasks]
        if not EVERY[system].whole:
            return shared_bytes(self.bundle.path, first)
        if system in (TORCH, TORCH_CUDA):
            return sum(folder_bytes((m.model.parent / SOURCE).parent) for m in first)
        return separate_bytes(first)


def make_models(bundle: Path, folder: Path, count: int, backbone: str = "") -> Fleet:
    """A copy of the bundle with `count` tasks (see make_fleet), and each task as ONNX file and as safetensors.

    backbone: default, the name in the manifest.
    Raises: BundleError for a bundle that shares no backbone or has no task.
    """
    copy = folder / "bundle"
    shutil.copytree(bundle, copy)
    members = make_fleet(copy, folder / "models", count)
    opened = open_bundle(copy)
    pristine = read_tensors(copy / WEIGHTS)[0]
    for member in members:
        weights = dict(pristine)
        for name, p in read_adapter(member.adapter).params.items():
            change = delta_kind(p.kind).delta(p.tensors, weights[name])
            weights[name] = weights[name] + np.float32(p.scale) * change
        file = member.model.parent / SOURCE
        file.parent.mkdir()
        write_tensors(file, weights, {})
    return Fleet(opened, tuple(members), backbone or opened.manifest.backbone)


@dataclass(frozen=True)
class Reading:
    """Of a process that held so many tasks, each of which had restored pictures; above an empty one of its package."""

    tasks: int
    memory: Memory
    switch_peak_bytes: int | None
    """largest RSS in one change of task and its picture; None for one task"""
    gpu_bytes: int | None = None
    """of the GPU (memory_gpu.py); None for what runs on the CPU"""


def empty(package: str) -> Memory:
    """A process that imported numpy and the package (`empty` of memory_held.py). Raises: BackendError without it."""
    return Memory(**in_fresh_process(f"{MODULE}:empty", package))


def readings(
    fleet: Fleet, system: str, counts: Sequence[int], base: Memory, *, size: int, threads: int, seconds: float
) -> list[Reading]:
    """One for each of the counts, in their order, or fewer if they take more than `seconds`. Raises: BackendError."""
    first = fleet.members[: max(counts)]
    found = in_fresh_process(
        f"{MODULE}:grow", system, fleet.bundle.path, fleet.backbone, ",".join(m.task for m in first),
        ",".join(str(m.model) for m in first), ",".join(map(str, counts)), str(size), str(threads), str(seconds),
    )  # fmt: skip
    names = {field.name for field in fields(Memory)}
    return [
        Reading(
            told["tasks"],
            Memory(**{name: told[name] for name in names}) - base,
            told["switch_bytes"] - base.rss_bytes if told["switch_bytes"] else None,
            told["gpu_bytes"],
        )
        for told in found
    ]


def available_bytes(meminfo: Path = Path("/proc/meminfo"), cgroup: Path = Path("/sys/fs/cgroup")) -> int:
    """That this process may still take: what Linux says is available, or less where a container has a limit."""
    lines = dict(line.split(":", 1) for line in meminfo.read_text().splitlines())
    free = 1024 * int(lines["MemAvailable"].split()[0])
    limit, used = cgroup / "memory.max", cgroup / "memory.current"
    if limit.is_file() and used.is_file() and (text := limit.read_text().strip()) != "max":
        free = min(free, int(text) - int(used.read_text()))
    return free


def disk_bytes(folder: Path) -> int:
    """Free in the file system of a folder."""
    stat = os.statvfs(folder)
    return stat.f_bavail * stat.f_frsize
