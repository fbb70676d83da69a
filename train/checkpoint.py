"""Backbone files: safetensors with the official parameter names, and in the metadata the layout that they fill.

Read by name from the shipped zoo, or by path; official `.pth` files too. Adapters are found in the same way.
"""

import hashlib
import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from functools import lru_cache
from importlib.resources import files
from pathlib import Path
from typing import Any

import numpy as np
import torch
from colora.devices.errors import CheckpointError, unknown
from colora.runtime.adapter import Adapter, read_adapter
from colora.runtime.weights import read_tensors, weights_sha256, write_tensors
from colora.train.backbones import ARCHITECTURES, BACKBONES, Backbone, backbone_for
from colora.train.published import read_published
from colora.train.zoo import SHA256
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

    @property
    def shapes(self) -> dict[str, tuple[int, ...]]:
        """By parameter name."""
        return {name: tuple(p.shape) for name, p in self.module.named_parameters()}


def arrays(module: nn.Module) -> dict[str, NDArray[np.float32]]:
    """Parameters by official name as float32 numpy arrays, copied."""
    return {name: p.detach().float().cpu().numpy().copy() for name, p in module.named_parameters()}


def run_folder(output: Path) -> Path:
    """The folder beside the weight file `output`, of the same stem, which holds the states of its training; made.

    Raises CheckpointError where the file couldn't be written when the training has ended.
    """
    if output.suffix != ".safetensors" or output.is_dir():
        raise CheckpointError(
            f"{output}: expected a file that ends in .safetensors, as the folder beside it has the name without"
        )
    folder = output.with_suffix("")
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise CheckpointError(
            f"{folder}: no folder can be made here ({error.strerror}): give another output"
        ) from error
    return folder


def save_backbone(path: Path, module: nn.Module, backbone: Backbone, training: Mapping[str, Any]) -> str:
    """Writes `module`'s parameters (atomically) with a note of how they were trained; returns their sha256."""
    tensors = arrays(module)
    facts = {
        "format": FORMAT,
        "kind": "backbone",
        "backbone": backbone.name,
        "architecture": backbone.architecture,
        "config": asdict(backbone.config),
        "training": dict(training),
    }
    write_tensors(path, tensors, {"colora": json.dumps(facts)})
    return weights_sha256(tensors)


@lru_cache(maxsize=1)
def zoo() -> Mapping[str, Path]:
    """Shipped weight files by name: backbones and task adapters.

    Raises CheckpointError for a file that is missing or not the one that was shipped.
    """
    found = {name: Path(str(files("colora.train.zoo") / f"{name}.safetensors")) for name in SHA256}
    for name, file in found.items():
        got = hashlib.sha256(file.read_bytes()).hexdigest() if file.is_file() else "no file"
        if got != SHA256[name]:
            raise CheckpointError(
                f"{file} is not the file that was shipped: got {got[:16]}, expected sha256 {SHA256[name][:16]}…: "
                "install colora again"
            )
    return found


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
        return load_published(path)
    tensors, metadata = read_tensors(path)
    facts = _facts(path, metadata)
    state = {name: torch.from_numpy(tensor) for name, tensor in tensors.items()}
    return _fill(path, _backbone(path, facts, state), state)


def load_adapter(name: str, backbone: Checkpoint) -> Adapter:
    """An adapter of `backbone` by zoo name or by path of a `.safetensors` file.

    Raises UnknownName for a name that is neither, CheckpointError for a damaged file and one of another backbone.
    """
    path = Path(name)
    if not path.suffix:
        shipped = {n: p for n, p in zoo().items() if n not in BACKBONES}
        if name not in shipped:
            raise unknown("shipped adapter", name, [*shipped, "<an adapter>.safetensors"])
        path = shipped[name]
    return read_adapter(path, backbone.sha256)


def load_published(path: Path, architecture: str | None = None) -> Checkpoint:
    """A backbone from an official `.pth` file, named as the entry of BACKBONES with its layout, else as the file.

    `architecture`: "nafnet" or "restormer"; None takes what the file looks like. Raises what `read_published` does,
    and CheckpointError for parameters that are missing, too many or of another shape.
    """
    published = read_published(path, architecture)
    return _fill(path, backbone_for(published.config, path.stem), published.state)


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
            "expected a file written by colora pretrain or colora import"
        ) from error
    return dict(facts)


def _backbone(path: Path, facts: Mapping[str, Any], state: Mapping[str, Tensor]) -> Backbone:
    """The layout that the metadata tell, or whose name alone they tell, as in the first files of the zoo."""
    name = str(facts["backbone"])
    if "config" not in facts:
        if name not in BACKBONES:
            raise CheckpointError(
                f"{path}: made for the unknown backbone {name!r}; known: {', '.join(BACKBONES)}"
            )
        return BACKBONES[name]
    try:
        fields: dict[str, Any] = {
            k: tuple(v) if isinstance(v, list) else v for k, v in facts["config"].items()
        }
        values = [n for v in fields.values() for n in (v if isinstance(v, tuple) else (v,))]
        largest = max(n for n in values if isinstance(n, int))
        if largest > max([len(state), *(n for tensor in state.values() for n in tensor.shape)]):
            # before a network of that size is built
            raise ValueError(f"{largest} blocks or channels, more than the file's tensors have")
        return backbone_for(ARCHITECTURES[facts["architecture"]](**fields), name)
    except (ArithmeticError, AttributeError, KeyError, TypeError, ValueError) as error:
        raise CheckpointError(f"{path}: no layout can be read from its metadata: {error}") from error


def _fill(path: Path, backbone: Backbone, state: Mapping[str, Tensor]) -> Checkpoint:
    try:
        with torch.device("meta"):
            expected = {n: tuple(p.shape) for n, p in backbone.build().named_parameters()}
    except (RuntimeError, TypeError, ValueError) as error:  # from torch, for sizes that no layer can have
        raise CheckpointError(f"{path}: no network can be built of {backbone.config}: {error}") from error
    found = {n: tuple(t.shape) for n, t in state.items()}
    if found != expected:
        wrong = sorted(n for n in expected.keys() | found.keys() if expected.get(n) != found.get(n))
        name = wrong[0]
        raise CheckpointError(
            f"{path}: {len(wrong)} parameters don't fit {backbone.config}, first {name!r}: "
            f"got {found.get(name, 'nothing')}, expected {expected.get(name, 'nothing')}"
        )
    state = {name: tensor.float() for name, tensor in state.items()}
    if bad := [n for n, t in state.items() if not torch.isfinite(t).all()]:
        raise CheckpointError(f"{path}: {bad[0]!r} holds numbers that are not finite: the file is damaged")
    module = backbone.build()
    module.load_state_dict(state, strict=True)
    return Checkpoint(backbone, module.eval(), weights_sha256(arrays(module)))
