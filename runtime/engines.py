"""The engines of a bundle: `engines/<device>/`, each with the record of what built it; built where none fits.

An engine runs on one kind of GPU with one version of TensorRT, and can't be told from another by its looks, so a
record beside it says what it is made of and for, and nothing is opened that does not match to the last hash.
An engine is machine code: who can write to its folder decides what runs. No signature covers what is built on a
device, so engines of a signed bundle lie in the user's own cache instead.
"""

import dataclasses
import hashlib
import json
import logging
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType

from colora.devices.errors import BackendError, BundleError
from colora.devices.probe import Machine
from colora.runtime.atomic import write_text
from colora.runtime.build_progress import Progress
from colora.runtime.bundle import MANIFEST, file_sha256
from colora.runtime.cuda_memory import Cuda
from colora.runtime.engine import Built, build, profile_shapes
from colora.runtime.machine import cache_folder
from colora.runtime.manifest import Manifest
from colora.runtime.preflight import (
    GRAPH_FILES,
    Here,
    available_bytes,
    check_disk,
    check_memory,
    here,
    machine_here,
)
from colora.runtime.sign import SIGNATURE
from colora.runtime.weights import Array

FOLDER = "engines"
TIMING_CACHE = "timing.cache"
FORMAT = 1
KEPT = 16
"""Merged engines of one device; the oldest go."""

_log = logging.getLogger(__name__)


@dataclass(frozen=True)
class EngineKey:
    """All that an engine depends on."""

    tensorrt: str
    compute_capability: str
    device: str
    jetpack: str
    precision: str
    graph_sha256: str
    """Of the hashes of the graph and its numbers."""
    weights_sha256: str
    """Of the tensors put in place of the graph's; empty where there are none."""
    refit: int
    """Tensors that stay changeable; 0 for a merged engine."""
    profile: str
    """Least, usual and largest H×W."""
    format: int = FORMAT


@dataclass(frozen=True)
class EngineRecord:
    """What is written beside an engine."""

    key: EngineKey
    engine_sha256: str
    size_bytes: int
    seconds: float
    """That building it took."""
    weight_bytes: int | None
    activation_bytes: int | None
    """As the builder reported them, where it did."""


class Engines:
    """The engines of one bundle for this machine. Raises: BackendError where CUDA finds no GPU.

    graph: the bundle's. machine: this one by default.
    """

    def __init__(
        self, graph: Path, manifest: Manifest, api: ModuleType, cuda: Cuda, machine: Machine | None = None
    ) -> None:
        self._graph, self._manifest, self._api, self._cuda = graph, manifest, api, cuda
        self._machine = machine or machine_here()
        self.here: Here = here(api, cuda, self._machine)
        self._root = engines_root(graph.parent)
        self.folder = self._root / self.here.folder

    def key(self, weights: Mapping[str, Array], refit: bool) -> EngineKey:
        """Of the engine with these tensors in place of the graph's. refit: they stay changeable."""
        files = sorted((n, r.sha256) for n, r in self._manifest.files.items() if n.startswith(GRAPH_FILES))
        shapes = [f"{height}×{width}" for *_, height, width in profile_shapes(self._manifest.shapes)]
        return EngineKey(
            tensorrt=self.here.tensorrt,
            compute_capability=self.here.compute_capability,
            device=self.here.device,
            jetpack=self.here.jetpack,
            precision=self._manifest.precision,
            graph_sha256=hashlib.sha256(json.dumps(files).encode()).hexdigest(),
            weights_sha256=tensors_sha256(weights) if weights else "",
            refit=len(weights) if refit else 0,
            profile=" ".join(shapes),
        )

    def file(self, key: EngineKey) -> Path:
        """Where an engine is, or will be."""
        return self.folder / (
            "shared.engine" if key.refit else f"merged-{key.weights_sha256[:16] or 'graph'}.engine"
        )

    def check(self, key: EngineKey) -> Path:
        """The file of an engine that is there, whole and of this key. Raises: BackendError saying what differs."""
        file = self.file(key)
        if not file.resolve().is_relative_to(self._root.parent.resolve()):
            raise BundleError(f"{file} leads out of its folder to {file.resolve()}: refused; remove the link")
        record = read_record(file.with_suffix(".json"))
        if record is None or not file.is_file():
            raise BackendError(
                f"{file}: no engine for {self.here.device} yet: colora build {self._graph.parent}"
            )
        found, expected = dataclasses.asdict(record.key), dataclasses.asdict(key)
        differing = [
            f"{name} {found[name]!r:.40}, here {expected[name]!r:.40}"
            for name in expected
            if found[name] != expected[name]
        ]
        if differing:
            raise BackendError(
                f"{file} was built for another machine or bundle: {'; '.join(differing)}: colora build "
                f"{self._graph.parent}"
            )
        if file.stat().st_size != record.size_bytes or file_sha256(file) != record.engine_sha256:
            raise BackendError(
                f"{file} is damaged: its SHA-256 is not its record's: colora build {self._graph.parent}"
            )
        return file

    def ready(self, in_place: bool) -> bool:
        """Whether engines for this machine and graph are there: the one whose weights change, or merged ones.

        Their files are not looked into.
        """
        wanted = self.key({}, False)
        known = [
            read_record(file) for file in self.folder.glob("shared.json" if in_place else "merged-*.json")
        ]
        return wanted in [
            dataclasses.replace(r.key, weights_sha256="", refit=0) for r in known if r is not None
        ]

    def obtain(
        self, weights: Mapping[str, Array], refit: bool, progress: Progress | None = None, anew: bool = False
    ) -> Path:
        """The file of an engine, built where none fits or `anew`; the one before stays until then.

        Raises: BackendError, PlanError, BundleError; KeyboardInterrupt.
        """
        key = self.key(weights, refit)
        try:
            if not anew:
                return self.check(key)
            reason = "asked for"
        except BackendError as e:
            reason = str(e)
        file = self.file(key)
        _log.warning("building %s: %s", file, reason, extra={"event": "engine_build", "reason": reason})
        try:
            self.folder.mkdir(parents=True, exist_ok=True)
            check_disk(self._manifest, self.folder)
            room = check_memory(self._manifest, available_bytes(self._cuda, self._machine))
            built = build(
                self._graph,
                file,
                self._manifest.shapes,
                self._manifest.image,
                api=self._api,
                weights=weights,
                refit=tuple(weights) if refit else (),
                timing_cache=self.folder / TIMING_CACHE,
                workspace_bytes=room,
                progress=progress,
            )
            write_record(file.with_suffix(".json"), key, built)
        except OSError as e:
            raise BackendError(
                f"{file} can't be written: {e}: build as a user who may, or copy the bundle; what was there "
                "before is unchanged"
            ) from e
        self._prune(file)
        return file

    def _prune(self, keep: Path) -> None:
        """Remove merged engines beyond KEPT, the oldest first."""
        merged = sorted(self.folder.glob("merged-*.engine"), key=lambda f: f.stat().st_mtime, reverse=True)
        for file in [f for f in merged if f != keep][KEPT - 1 :]:
            for old in (file.with_suffix(".json"), file):
                with suppress(OSError):
                    old.unlink()


def engines_root(bundle: Path) -> Path:
    """`engines/` of a bundle; of a signed one, a folder of `cache_folder` for that very manifest."""
    if not (bundle / SIGNATURE).is_file():
        return bundle / FOLDER
    digest = hashlib.sha256((bundle / MANIFEST).read_bytes()).hexdigest()
    return cache_folder() / FOLDER / digest[:16]


def tensors_sha256(tensors: Mapping[str, Array]) -> str:
    """Of names, types, shapes and numbers, in any order."""
    digest = hashlib.sha256()
    for name in sorted(tensors):
        tensor = tensors[name]
        digest.update(f"{name} {tensor.dtype.str} {tensor.shape}\n".encode())
        digest.update(tensor.tobytes())
    return digest.hexdigest()


def read_record(file: Path) -> EngineRecord | None:
    """None where there is none, or it is damaged or of another format."""
    try:
        data = json.loads(file.read_bytes())
        return EngineRecord(**{**data, "key": EngineKey(**data["key"])})
    except (OSError, ValueError, TypeError, KeyError, RecursionError):
        return None


def write_record(file: Path, key: EngineKey, built: Built) -> None:
    """After the engine: a record that does not match is one of an engine that was replaced."""
    record = EngineRecord(
        key, built.sha256, built.size_bytes, built.seconds, built.weight_bytes, built.activation_bytes
    )
    write_text(file, json.dumps(dataclasses.asdict(record), indent=1, ensure_ascii=False) + "\n")
