"""The adapter: what one task changes in a backbone. The file training writes is the file the device loads.

A safetensors file: `<param>.<name>` tensors of each delta (runtime/deltas.py), `golden.output`
(1×3×64×64, the adapter's result on `golden_input()`), and under the metadata key `colora` one JSON
object. `content_sha256` covers that object (without itself) and every number stored, so a file that was
damaged or edited on the way is refused. A signature of that hash, where there is one, is the metadata key
`colora-signature` (runtime/sign.py).
"""

import hashlib
import json
import math
import os
import re
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import Any

import numpy as np
from colora.devices.errors import CheckpointError
from colora.runtime.deltas import delta_kind
from colora.runtime.golden import GOLDEN_SHAPE
from colora.runtime.weights import Array, read_tensors, weights_sha256, write_tensors

FORMAT = 1
GOLDEN = "golden.output"
SIGNATURE = "colora-signature"
TASK_NAME = re.compile(r"[a-z0-9][a-z0-9_+-]{0,63}")


@dataclass(frozen=True, slots=True)
class ParamDelta:
    """The change of one source parameter: ΔW = scale · DELTAS[kind](tensors, W0).

    Raises: CheckpointError if kind, shapes, scale or numbers are not usable.
    """

    kind: str
    """Key of DELTAS."""
    shape: tuple[int, ...]
    """Shape of the parameter it changes."""
    tensors: Mapping[str, Array]
    """Stored tensors by short name, float32; those of low rank may be float16, see `compact`."""
    scale: float = 1.0
    rank: int = 0
    """Inner dimension of a low-rank delta; 0 for other kinds."""
    contribution: float = 0.0
    """Mean |FAIG| of the layer, as measured when ranks were chosen; 0 where none was."""

    def __post_init__(self) -> None:
        expected = delta_kind(self.kind).shapes(self.shape, self.rank)
        found = {name: tensor.shape for name, tensor in self.tensors.items()}
        if found != expected:
            raise CheckpointError(
                f"{self.kind} delta of {self.shape}, rank {self.rank}: stores {found}, expected {expected}"
            )
        if not math.isfinite(self.scale) or not math.isfinite(self.contribution):
            raise CheckpointError(f"scale {self.scale} or contribution {self.contribution} is not finite")
        for name, tensor in self.tensors.items():
            if tensor.dtype not in (np.float32, np.float16):
                raise CheckpointError(f"{name} is {tensor.dtype}, expected float32")
            if not np.isfinite(tensor).all():
                raise CheckpointError(f"{name} holds numbers that are not finite")

    def delta(self, w0: Array) -> Array:
        """ΔW as a fresh float32 array of the shape of `w0`, the pristine parameter."""
        change: Array = np.float32(self.scale) * delta_kind(self.kind).delta(self.tensors, w0)
        return change


@dataclass(frozen=True)
class Adapter:
    """One task on one backbone.

    Raises: CheckpointError naming task, parameter and reason.
    """

    task: str
    """Lower-case letters, digits, `_`, `+`, `-`: it is also the file's name in a bundle."""
    method: str
    """How it was trained, a key of train's METHODS."""
    backbone_sha256: str
    """`weights_sha256` of the pristine backbone it was trained on."""
    params: Mapping[str, ParamDelta]
    """Source parameter name → its change."""
    golden_output: Array
    """1×3×64×64 float32: the adapted network's result on `golden_input()`, not clipped."""
    seeds: Mapping[str, int] = field(default_factory=dict)
    quality: Mapping[str, float] = field(default_factory=dict)
    """Measured figures by name, with data set and unit in the name, e.g. `derain_rain100h_psnr_db`."""
    started_from: str = ""
    """`content_sha256` of the adapter that its training went on from; empty where it began from zero."""
    signature: str = ""
    """Ed25519 over `content_sha256`, 128 hexadecimal digits; empty where the adapter is not signed."""

    def __post_init__(self) -> None:
        if not TASK_NAME.fullmatch(self.task):
            raise CheckpointError(
                f"task name {self.task!r}: expected a-z, 0-9, _, + and -, at most 64, no sign first"
            )
        if not re.fullmatch("[0-9a-f]{64}", self.backbone_sha256):
            raise CheckpointError(f"{self.task}: backbone_sha256 {self.backbone_sha256!r} is no SHA-256")
        if self.started_from and not re.fullmatch("[0-9a-f]{64}", self.started_from):
            raise CheckpointError(f"{self.task}: started_from {self.started_from!r:.80} is no SHA-256")
        golden = self.golden_output
        if golden.shape != GOLDEN_SHAPE or golden.dtype != np.float32 or not np.isfinite(golden).all():
            raise CheckpointError(
                f"adapter {self.task}: {GOLDEN} is {golden.dtype} {golden.shape}; "
                f"expected finite float32 {GOLDEN_SHAPE}"
            )
        if self.signature and not re.fullmatch("[0-9a-f]{128}", self.signature):
            raise CheckpointError(f"adapter {self.task}: signature {self.signature!r:.80} is no signature")
        if not all(math.isfinite(figure) for figure in self.quality.values()):
            raise CheckpointError(f"adapter {self.task}: quality {dict(self.quality)} is not finite")

    def stored_numbers(self) -> int:
        """How many numbers the file holds, the golden output included."""
        return sum(tensor.size for tensor in _tensors(self).values())

    @cached_property
    def size_bytes(self) -> int:  # asked for at every switch under a budget
        """Of the numbers in memory."""
        return sum(tensor.nbytes for tensor in _tensors(self).values())

    @cached_property
    def content_sha256(self) -> str:
        """Hash of everything the file says."""
        described = json.dumps(_describe(self), sort_keys=True).encode()
        return hashlib.sha256(described + weights_sha256(_tensors(self)).encode()).hexdigest()


def write_adapter(path: str | os.PathLike[str], adapter: Adapter) -> None:
    """Write `adapter` as safetensors, whole or not at all. Raises: CheckpointError.

    Each tensor is stored as float16 where that holds its numbers exactly (see `to_float16`), else as float32.
    """
    described = _describe(adapter) | {"content_sha256": adapter.content_sha256}
    metadata = {"colora": json.dumps(described, sort_keys=True)}
    if adapter.signature:
        metadata[SIGNATURE] = adapter.signature
    write_tensors(path, {name: _smallest(t) for name, t in _tensors(adapter).items()}, metadata)


def to_float16(params: Mapping[str, ParamDelta]) -> dict[str, ParamDelta]:
    """The deltas with every number rounded to the nearest that float16 holds: half the bytes when they are written.

    They stay float32 in memory. An update of relative error 2⁻¹¹ is some 66 dB below the update itself.
    Raises: CheckpointError for numbers beyond 65504.
    """
    with np.errstate(over="ignore"):  # ParamDelta refuses what is not finite
        return {
            name: replace(
                p, tensors={k: t.astype(np.float16).astype(np.float32) for k, t in p.tensors.items()}
            )
            for name, p in params.items()
        }


def compact(adapter: Adapter) -> Adapter:
    """The same, factors of low rank in float16 where that holds their numbers, as training writes them.

    A third less memory for as long as a task is held; a switch (runtime/blocks.py) computes in float32 all the same.
    """
    params = {
        name: replace(p, tensors={short: _smallest(t) for short, t in p.tensors.items()})
        if p.kind == "low-rank"
        else p
        for name, p in adapter.params.items()
    }
    return replace(adapter, params=params)


def read_adapter(path: str | os.PathLike[str], backbone_sha256: str | None = None) -> Adapter:
    """Read and verify an adapter file.

    backbone_sha256: of the backbone it is to be used on; None leaves that unchecked.
    Raises: CheckpointError naming file and reason.
    """
    tensors, metadata = read_tensors(path)
    if "colora" not in metadata:
        raise CheckpointError(f"{path} is no colora adapter: its metadata has no key 'colora'")
    try:
        about: Any = json.loads(metadata["colora"])
        if about["format"] != FORMAT:
            raise CheckpointError(f"format {about['format']}; this colora reads {FORMAT}: update it")
        adapter = Adapter(
            task=_text(about["task"]),
            method=_text(about["method"]),
            backbone_sha256=_text(about["backbone_sha256"]),
            params={name: _param(name, entry, tensors) for name, entry in about["params"].items()},
            golden_output=tensors.pop(GOLDEN),
            seeds={name: int(seed) for name, seed in about["seeds"].items()},
            quality={name: float(figure) for name, figure in about["quality"].items()},
            started_from=_text(about.get("started_from", "")),
            signature=metadata.get(SIGNATURE, ""),
        )
    except CheckpointError as e:
        raise CheckpointError(f"{path}: {e}") from e
    except (ValueError, TypeError, KeyError, AttributeError, OverflowError, RecursionError) as e:
        raise CheckpointError(f"{path} is no colora adapter or is damaged: {type(e).__name__} {e}") from e
    if tensors:
        raise CheckpointError(f"{path} holds undeclared tensors: {', '.join(sorted(tensors))}")
    if adapter.content_sha256 != about.get("content_sha256"):
        raise CheckpointError(f"{path} is damaged: content and content_sha256 differ; copy it anew")
    if backbone_sha256 is not None and backbone_sha256 != adapter.backbone_sha256:
        raise CheckpointError(
            f"{path} was trained on backbone {adapter.backbone_sha256[:12]}…, "
            f"not on {backbone_sha256[:12]}…: use the adapter of this backbone, or train one"
        )
    return adapter


def _describe(adapter: Adapter) -> dict[str, Any]:
    started = {"started_from": adapter.started_from} if adapter.started_from else {}
    return started | {
        "format": FORMAT,
        "task": adapter.task,
        "method": adapter.method,
        "backbone_sha256": adapter.backbone_sha256,
        "params": {
            name: {
                "kind": p.kind,
                "shape": list(p.shape),
                "scale": float(p.scale),
                "rank": p.rank,
                "contribution": float(p.contribution),
            }
            for name, p in adapter.params.items()
        },
        "seeds": {name: int(seed) for name, seed in adapter.seeds.items()},
        "quality": {name: float(figure) for name, figure in adapter.quality.items()},
    }


def _tensors(adapter: Adapter) -> dict[str, Array]:
    stored = {f"{name}.{short}": t for name, p in adapter.params.items() for short, t in p.tensors.items()}
    return stored | {GOLDEN: adapter.golden_output}


def _smallest(tensor: Array) -> Array:
    with np.errstate(over="ignore"):
        half = tensor.astype(np.float16)
    return half if np.array_equal(half, tensor) else tensor


def _param(name: str, entry: Any, tensors: dict[str, Array]) -> ParamDelta:
    """Build one delta, taking its tensors out of `tensors`."""
    shape, rank = tuple(int(n) for n in entry["shape"]), int(entry["rank"])
    kind = _text(entry["kind"])
    try:
        shorts = delta_kind(kind).shapes(shape, rank)
        taken = {short: tensors.pop(f"{name}.{short}") for short in shorts}
        return ParamDelta(kind, shape, taken, float(entry["scale"]), rank, float(entry["contribution"]))
    except CheckpointError as e:
        raise CheckpointError(f"parameter {name}: {e}") from e


def _text(value: Any) -> str:
    if not isinstance(value, str):
        raise TypeError(f"{value!r} where text was expected")
    return value
