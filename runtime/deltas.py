"""What an adapter stores for a parameter, and the change ΔW that it means.

One entry per kind. Functions use only `@`, `*` and `.reshape`, which numpy arrays and torch tensors
share, so training (with gradients) and the device run the same lines. `scale` multiplies whatever a kind
returns; the device multiplies a small tensor by it and by the strength beforehand, and computes ΔW block
by block (runtime/blocks.py). Low rank: LoRA (Hu et al. 2021, eq. 3) on the kernel flattened to
Cout × (Cin/groups·kh·kw), as CoLoRA does.
"""

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from colora.devices.errors import CheckpointError

Shape = tuple[int, ...]


@dataclass(frozen=True)
class Kind:
    """One way to store a change of a parameter."""

    delta: Callable[[Mapping[str, Any], Any], Any]
    """(tensors by short name, pristine W0) → ΔW of W0's shape, before `scale`."""
    shapes: Callable[[Shape, int], dict[str, Shape]]
    """(shape of W0, rank) → short name and shape of every tensor the kind stores."""


def _low_rank(tensors: Mapping[str, Any], w0: Any) -> Any:
    return (tensors["lora_B"] @ tensors["lora_A"]).reshape(w0.shape)


def _low_rank_shapes(shape: Shape, rank: int) -> dict[str, Shape]:
    if rank < 1:
        raise CheckpointError(f"low-rank delta with rank {rank}; expected at least 1")
    if len(shape) < 2:
        raise CheckpointError(
            f"low-rank delta of a parameter of shape {shape}; expected 2 axes or more: store it dense"
        )
    return {"lora_A": (rank, math.prod(shape[1:])), "lora_B": (shape[0], rank)}


def _dense(tensors: Mapping[str, Any], w0: Any) -> Any:
    return tensors["delta"].reshape(w0.shape)


def _dense_shapes(shape: Shape, rank: int) -> dict[str, Shape]:
    return {"delta": shape}


DELTAS: dict[str, Kind] = {
    "low-rank": Kind(_low_rank, _low_rank_shapes),
    "dense": Kind(_dense, _dense_shapes),
}


def delta_kind(name: str) -> Kind:
    """The entry of DELTAS. Raises: CheckpointError naming an unknown kind and those this version knows."""
    if name not in DELTAS:
        raise CheckpointError(
            f"unknown delta kind {name!r}; this version of colora knows {', '.join(DELTAS)}: "
            "update colora, or train the adapter with one of these"
        )
    return DELTAS[name]
