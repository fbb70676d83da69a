"""`--target rtx`: engines of TensorRT for RTX, one for each task and generation of boards, built without a GPU.

The builder compiles ahead of time for a compute capability that it is told, so a server that has no board builds for
all. It can't be asked for an engine whose weights change (its refit wants a driver at build time), so every task
has its own: `engines/<device>/<task>.engine`, and beside them `record.json`, written last: what built them, for what,
and how large each is by the builder's own word. The folder is no part of the manifest; engines verify by their record.

One engine can serve several capabilities, at the activation memory of the greediest: nafnet-small at 512×512 takes
474 MB for 7.5 and 274 MB from 8.6 on. Hence one for each.
"""

from __future__ import annotations

import hashlib
import json
import shutil
from collections.abc import Callable, Iterable, Mapping
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

from colora.devices.catalogue import DEVICES
from colora.devices.errors import missing_extra, unknown
from colora.export.task_onnx import task_weights
from colora.runtime.atomic import atomic_folder, write_text
from colora.runtime.bundle import GRAPH, Bundle, open_bundle
from colora.runtime.engine import Built, build
from colora.runtime.manifest import Shapes
from colora.runtime.weights import Array

ENGINES, RECORD = "engines", "record.json"
FORMAT = 1


@dataclass(frozen=True)
class Engine:
    """One task's engine, as its record says."""

    task: str
    file: str
    sha256: str
    bytes: int
    source: str
    """hash of the graph and of the adapter it was made of"""
    weight_bytes: int | None
    """on the GPU, by the builder's own word; None where it says nothing"""
    activation_bytes: int | None
    """the same, at the largest picture"""
    build_seconds: float


@dataclass(frozen=True)
class EngineSet:
    """The engines of a bundle for one kind of board."""

    device: str
    """name of the folder"""
    compute_capability: str
    builder: str
    """package and version: an engine runs with that version alone"""
    precision: str
    backbone_sha256: str
    min: tuple[int, int]
    """height and width of a picture, after padding"""
    max: tuple[int, int]
    """the bundle's tile: larger pictures are cut. A builder reserves memory for the largest"""
    engines: tuple[Engine, ...]
    format: int = FORMAT


def rtx_module() -> Any:
    """The builder's package. Raises: MissingExtra."""
    try:
        import tensorrt_rtx
    except ModuleNotFoundError as e:
        raise missing_extra("tensorrt_rtx", "rtx", "colora export --target rtx") from e
    return tensorrt_rtx


def rtx_boards() -> dict[str, str]:
    """Compute capability → device, of the boards in the table: what is built for unless told otherwise."""
    return {d.compute_capability: d.name for d in DEVICES.values() if d.name.startswith("rtx-")}


def find_capabilities(wanted: Iterable[str]) -> tuple[str, ...]:
    """Those asked for, or those of `rtx_boards`. Raises: UnknownName listing what the builder knows; MissingExtra."""
    kinds = rtx_module().ComputeCapability
    known = {f"{name[2:-1]}.{name[-1]}" for name in kinds.__members__ if name.startswith("SM")}
    chosen = tuple(dict.fromkeys(wanted)) or tuple(rtx_boards())
    for capability in chosen:
        if capability not in known:
            raise unknown("compute capability", capability, known)
    return chosen


def write_engines(
    path: Path, capabilities: Iterable[str] = (), progress: Callable[[str], None] = lambda stage: None
) -> tuple[EngineSet, ...]:
    """Build every task of the bundle `path` for each capability; engines that are there and still right are kept.

    capabilities: as CUDA numbers them, e.g. `8.6`; none: those of the table's RTX boards.
    progress: called with the name of each engine as its turn comes.
    Raises: MissingExtra, UnknownName, BundleError, and BackendError with the builder's own words. A folder of engines
        is written whole or not at all.
    """
    chosen = find_capabilities(capabilities)
    bundle = open_bundle(path)
    return tuple(_write_set(bundle, capability, progress) for capability in chosen)


def build_engine(
    graph: Path, plan: Path, shapes: Shapes, capability: str, weights: Mapping[str, Array] | None = None
) -> Built:
    """Compile an ONNX file ahead of time for one capability. See `colora.runtime.engine.build`."""
    trt = rtx_module()

    def configure(config: Any) -> None:
        config.num_compute_capabilities = 1
        config.set_compute_capability(getattr(trt.ComputeCapability, f"SM{capability.replace('.', '')}"), 0)

    return build(graph, plan, shapes, api=trt, weights=weights, configure=configure)


def engine_shapes(shapes: Shapes) -> Shapes:
    """Up to the tile: larger pictures are cut. The builder takes activations for the largest, whatever comes."""
    return replace(shapes, max=shapes.opt)


def read_engines(path: Path, device: str) -> EngineSet | None:
    """The engines of bundle `path` for `device`; None where there are none, or not all as their record says."""
    folder = path / ENGINES / device
    try:
        data = json.loads((folder / RECORD).read_text())
        engines = tuple(Engine(**entry) for entry in data.pop("engines"))
        found = EngineSet(**data | {"engines": engines, "min": tuple(data["min"]), "max": tuple(data["max"])})
        whole = all(_sha256((folder / e.file).read_bytes()) == e.sha256 for e in engines)
    except (OSError, ValueError, TypeError, KeyError, AttributeError):
        return None
    return found if whole and found.format == FORMAT else None


def _write_set(bundle: Bundle, capability: str, progress: Callable[[str], None]) -> EngineSet:
    manifest = bundle.manifest
    shapes = engine_shapes(manifest.shapes)
    device = rtx_boards().get(capability, f"sm{capability.replace('.', '')}")
    builder = f"tensorrt-rtx {rtx_module().__version__}"
    made = EngineSet(
        device, capability, builder, manifest.precision, manifest.backbone_sha256, shapes.min, shapes.max, ()
    )
    old = read_engines(bundle.path, device)
    kept = {e.source: e for e in old.engines} if old and replace(old, engines=()) == made else {}
    folder = bundle.path / ENGINES / device
    engines = []
    folder.parent.mkdir(exist_ok=True)
    with atomic_folder(folder) as partial:
        for task in bundle.tasks:
            file, source = f"{task}.engine", _source(bundle, task)
            if source in kept:
                shutil.copyfile(folder / kept[source].file, partial / file)
                engines.append(replace(kept[source], task=task, file=file))
                continue
            progress(f"engine of {task} for {device}")
            built = build_engine(
                bundle.path / GRAPH, partial / file, shapes, capability, task_weights(bundle, task)
            )
            memory = built.weight_bytes, built.activation_bytes, round(built.seconds, 2)
            engines.append(Engine(task, file, built.sha256, built.size_bytes, source, *memory))
        made = replace(made, engines=tuple(engines))
        write_text(partial / RECORD, json.dumps(asdict(made), indent=1) + "\n")
    return made


def _source(bundle: Bundle, task: str) -> str:
    """Changes with the graph and with the adapter."""
    shared = bundle.manifest.kind == "shared"
    adapter = bundle.read_task(task).content_sha256 if shared else bundle.manifest.adapter_sha256
    return _sha256(f"{bundle.manifest.files[GRAPH].sha256} {adapter}".encode())


def _sha256(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()
