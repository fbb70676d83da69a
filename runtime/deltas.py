"""What an adapter stores for a parameter, and the change ΔW that it means.

One entry per kind. Functions use only `@`, `*` and `.reshape`, which numpy arrays and torch tensors
share, so training (with gradients) and the device run the same lines. `scale` multiplies whatever a kind
returns; the device multiplies a small tensor by it and by the strength beforehand, and computes ΔW block
by block (`blocks`). Low rank: LoRA (Hu et al. 2021, eq. 3) on the kernel flattened to
Cout × (Cin/groups·kh·kw), as CoLoRA does.
"""

import math
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from colora.devices.errors import CheckpointError

Shape = tuple[int, ...]

Rows = Any
"""Index of rows along W0's first axis: a slice, or `...` for all."""
Block = tuple[Rows, dict[str, Any]]
"""Rows, and tensors whose `delta` is ΔW there. What `delta` gives is read-only, or fresh."""

BLOCK = 1 << 16
"""Numbers computed at a time, 256 kB: with what is added to them they fit the cache of most cores."""
ONE_THREAD = 1 << 18
"""Multiplications in a matrix product that OpenBLAS, numpy's library, gives to one thread whatever its number. More
are slower here: they are woken for microseconds of work, and spin on cores that others want. It also means that the
number of threads does not change a bit of the result."""


@dataclass(frozen=True)
class Kind:
    """One way to store a change of a parameter."""

    delta: Callable[[Mapping[str, Any], Any], Any]
    """(tensors by short name, pristine W0) → ΔW of W0's shape, before `scale`."""
    shapes: Callable[[Shape, int], dict[str, Shape]]
    """(shape of W0, rank) → short name and shape of every tensor the kind stores."""
    blocks: Callable[[Mapping[str, Any], Shape, np.float32], Iterator[Block]]
    """(numpy tensors, shape of W0, factor) → factor·ΔW, cut by `rows_of`, laid out for speed."""


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


def _low_rank_blocks(tensors: Mapping[str, Any], shape: Shape, factor: np.float32) -> Iterator[Block]:
    """Rows of B as a stack, so that `@` is one small product for each layer of it."""
    a, b = tensors["lora_A"], _times(factor, tensors["lora_B"])
    if len(a) == 1:  # numpy keeps a product of one term from BLAS, and is 7 times slower then
        a, b = np.concatenate([a, np.zeros_like(a)]), np.concatenate([b, np.zeros_like(b)], axis=1)
    most = max(4, ONE_THREAD // a.size)
    for rows in rows_of(shape):
        part = b[rows]
        height = len(part) if len(part) <= most else math.gcd(len(part), 1 << (most.bit_length() - 1))
        yield rows, {"lora_A": a, "lora_B": part.reshape(-1, height, len(a))}


def _dense(tensors: Mapping[str, Any], w0: Any) -> Any:
    return tensors["delta"].reshape(w0.shape)


def _dense_shapes(shape: Shape, rank: int) -> dict[str, Shape]:
    return {"delta": shape}


def _dense_blocks(tensors: Mapping[str, Any], shape: Shape, factor: np.float32) -> Iterator[Block]:
    delta = _times(factor, tensors["delta"])
    delta.flags.writeable = False
    for rows in rows_of(shape):
        yield rows, {"delta": delta[rows]}


def _times(factor: np.float32, tensor: Any) -> Any:
    """A new array, over the same numbers where they do not change."""
    return tensor.view() if factor == 1 else np.asarray(factor * tensor)


DELTAS: dict[str, Kind] = {
    "low-rank": Kind(_low_rank, _low_rank_shapes, _low_rank_blocks),
    "dense": Kind(_dense, _dense_shapes, _dense_blocks),
}


def rows_of(shape: Shape) -> list[Rows]:
    """All rows of a parameter, in blocks of BLOCK numbers or less; a row is never cut."""
    if math.prod(shape) <= BLOCK:
        return [...]
    step = max(1, BLOCK // math.prod(shape[1:]))
    return [slice(i, i + step) for i in range(0, shape[0], step)]


def delta_kind(name: str) -> Kind:
    """The entry of DELTAS. Raises: CheckpointError naming an unknown kind and those this version knows."""
    if name not in DELTAS:
        raise CheckpointError(
            f"unknown delta kind {name!r}; this version of colora knows {', '.join(DELTAS)}: "
            "update colora, or train the adapter with one of these"
        )
    return DELTAS[name]
