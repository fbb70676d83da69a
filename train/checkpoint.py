"""Backbone files: safetensors with the official parameter names, and in the metadata which layout they fill.

Read by name from the shipped zoo, or by path. Official `.pth` files are read with `weights_only=True`.
"""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from importlib.resources import files
from pathlib import Path
from typing import Any

import numpy as np
import torch
from colora.devices.errors import CheckpointError, unknown
from colora.runtime.weights import read_tensors, weights_sha256, write_tensors
from colora.train.backbones import BACKBONES, Backbone
from numpy.typing import NDArray
from torch import Tensor, nn

FORMAT = 1


@dataclass(frozen=True)
class Checkpoint:
    """A backbone with its weights."""

    backbone: Backbone
    module: nn.Module
    """in evaluation mode"""
    sha256: str
    """`weights_sha256` of the weights; adapters name the backbone by it"""


def arrays(module: nn.Module) -> dict[str, NDArray[np.float32]]:
    """Parameters by official name as float32 numpy arrays, copied."""
    return {name: p.detach().float().cpu().numpy().copy() for name, p in module.named_parameters()}


def save_backbone(path: Path, module: nn.Module, backbone: Backbone, training: Mapping[str, Any]) -> str:
    """Writes `module`'s parameters (atomically) with a note of how they were trained; returns their sha256."""
    tensors = arrays(module)
    facts = {"format": FORMAT, "kind": "backbone", "backbone": backbone.name, "training": dict(training)}
    write_tensors(path, tensors, {"colora": json.dumps(facts)})
    return weights_sha256(tensors)


def zoo() -> dict[str, Path]:
    """Shipped weight files by name: backbones and task adapters."""
    return {
        Path(f.name).stem: Path(str(f))
        for f in files("colora.train.zoo").iterdir()
        if f.name.endswith(".safetensors")
    }


def load_backbone(name: str) -> Checkpoint:
    """A backbone by zoo name or by path of a `.safetensors` or `.pth` file.

    Raises UnknownName for a name that is neither, CheckpointError for a damaged or foreign file and for one whose
    parameters don't fill the layout exactly.
    """
    path = Path(name)
    if not path.suffix:
        shipped = {n: p for n, p in zoo().items() if n in BACKBONES}
        if name not in shipped:
            raise unknown("trained backbone", name, shipped)
        path = shipped[name]
    if path.suffix == ".pth":
        return _from_official(path)
    tensors, metadata = read_tensors(path)
    facts = _facts(path, metadata)
    if facts["backbone"] not in BACKBONES:
        raise CheckpointError(
            f"{path}: made for the unknown backbone {facts['backbone']!r}; known: {', '.join(BACKBONES)}"
        )
    return _fill(path, BACKBONES[facts["backbone"]], {n: torch.from_numpy(t) for n, t in tensors.items()})


def _facts(path: Path, metadata: Mapping[str, str]) -> dict[str, Any]:
    try:
        facts = json.loads(metadata["colora"])
        if facts["format"] != FORMAT or facts["kind"] != "backbone":
            raise CheckpointError(
                f"{path}: a {facts['kind']} of format {facts['format']}; expected a backbone of format {FORMAT}"
            )
        facts["backbone"]
    except (KeyError, TypeError, ValueError) as error:
        raise CheckpointError(
            f"{path}: not a colora backbone (metadata key 'colora' lacks {error}); "
            "expected a file written by colora pretrain"
        ) from error
    return dict(facts)


def _from_official(path: Path) -> Checkpoint:
    """A published `.pth`: plain tensors under `params`; the layout is the one in BACKBONES whose shapes it fills."""
    try:
        loaded = torch.load(path, map_location="cpu", weights_only=True)
    except FileNotFoundError as error:
        raise CheckpointError(f"{path}: no such file") from error
    except (
        Exception
    ) as error:  # torch raises many kinds for a pickle that is damaged or holds more than weights
        reason = str(error).splitlines()[0] if str(error) else type(error).__name__
        raise CheckpointError(
            f"{path}: refused: not a file of plain weights ({reason}); expected a dictionary of tensors"
        ) from error
    state = loaded.get("params", loaded) if isinstance(loaded, dict) else None
    if not isinstance(state, dict) or not state or not all(isinstance(t, Tensor) for t in state.values()):
        raise CheckpointError(f"{path}: expected a dictionary of tensors, plain or under the key 'params'")
    state = {name.removeprefix("module."): tensor for name, tensor in state.items()}
    for backbone in BACKBONES.values():
        with torch.device("meta"):
            shapes = {n: p.shape for n, p in backbone.build().named_parameters()}
        if shapes == {n: t.shape for n, t in state.items()}:
            return _fill(path, backbone, state)
    raise CheckpointError(f"{path}: {len(state)} tensors fill none of the layouts {', '.join(BACKBONES)}")


def _fill(path: Path, backbone: Backbone, state: Mapping[str, Tensor]) -> Checkpoint:
    module = backbone.build()
    expected = {n: tuple(p.shape) for n, p in module.named_parameters()}
    found = {n: tuple(t.shape) for n, t in state.items()}
    if found != expected:
        wrong = sorted(n for n in expected.keys() | found.keys() if expected.get(n) != found.get(n))
        name = wrong[0]
        raise CheckpointError(
            f"{path}: {len(wrong)} parameters don't fit {backbone.name}, first {name!r}: "
            f"got {found.get(name, 'nothing')}, expected {expected.get(name, 'nothing')}"
        )
    if bad := [n for n, t in state.items() if not torch.isfinite(t).all()]:
        raise CheckpointError(f"{path}: {bad[0]!r} holds numbers that are not finite: the file is damaged")
    module.load_state_dict({n: t.float() for n, t in state.items()}, strict=True)
    return Checkpoint(backbone, module.eval(), weights_sha256(arrays(module)))
