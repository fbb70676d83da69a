"""W = (W0 + Σ strength·ΔW) · scale, block by block of rows.

Each number of W0 is read once and each of W written once; what comes between stays in the cache. Measured on
one core, that is what counts: a copy of the same numbers takes a third of the whole.
"""

from collections.abc import Callable, Iterable, Mapping
from functools import lru_cache
from typing import Any

import numpy as np
from colora.runtime.deltas import DELTAS
from colora.runtime.mixture import Mixture
from colora.runtime.weights import Array

Change = tuple[Callable[[Mapping[str, Array], Array], Array], Mapping[str, Array]]
"""A kind's `delta`, and its tensors."""
Block = tuple[Any, Array, tuple[Change, ...]]
"""Rows of a parameter: their index, W0 there, and what is to be added."""


def blocks_of(name: str, w0: Array, mixture: Mixture) -> list[Block]:
    """A source parameter under a mixture, cut into blocks of rows."""
    cut = [
        [(rows, (DELTAS[delta.kind].delta, tensors)) for rows, tensors in delta.blocks(part.strength)]
        for part in mixture
        if (delta := part.adapter.params.get(name))
    ]
    if not cut:
        return [(..., w0, ())]
    return [
        (same[0][0], w0[same[0][0]], tuple(change for _, change in same)) for same in zip(*cut, strict=True)
    ]


def merge(blocks: Iterable[Block], w: Array, scale: Array | None = None) -> None:
    """Compute what blocks stand for, into `w`. scale: for each row, of as many axes as `w`."""
    for rows, w0, changes in blocks:
        total = w0
        for delta_of, tensors in changes:
            change = delta_of(tensors, w0)
            total = np.add(total, change, out=change if change.flags.writeable else None)
        if scale is not None:
            total = np.multiply(total, scale[rows], out=total if total.flags.writeable else None)
        w[rows] = total  # computing into it would be slower: only copies skip reading what they write over


def put(tensor: Array, buffer: Array) -> None:
    """`buffer[...] = tensor.reshape(buffer.shape)`.

    A 1×1 kernel in blocks of channels, which is what most kernels are (runtime/ort_layout.py), is O/b × I × b in
    memory: transposing b × I to I × b is one small product with the identity, which takes half the time of a copy.
    """
    if buffer.ndim == 6 and buffer.shape[4:] == (1, 1) and tensor.dtype == buffer.dtype == np.float32:
        outer, b, inner, width = buffer.shape[:4]
        in_memory = buffer.transpose(0, 2, 3, 1, 4, 5)
        if b == width and in_memory.flags.c_contiguous:
            rows = tensor.reshape(outer, b, inner * b).swapaxes(1, 2)
            np.matmul(rows, _identity(b), out=in_memory.reshape(outer, inner * b, b))
            return
    buffer[...] = tensor.reshape(buffer.shape)


@lru_cache
def _identity(size: int) -> Array:
    return np.eye(size, dtype=np.float32)
