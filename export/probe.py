"""Proof that every switchable tensor of a graph can be changed in place.

A device switches tasks by editing buffers that the session borrows. A runtime that folded a tensor into another at
load never looks at its buffer again, and says nothing. So every tensor is edited as a device does, and the
output compared with that of a session on a copy of the graph whose file holds the edited values: the same level,
kernels and numbers must give the same bits. (The file, because ONNX Runtime folds what it reads there even if a
session is given another value for that tensor.) Two questions, one answer each:

    does each tensor matter?    edited alone, it must change the output
    is each edit followed?      the others edited at once must equal the fresh session; if not, halves are tried

Edits are random, so that no zero (a residual scale at its start) hides a tensor; the session edited is opened on the
bundle's own file, since some rewrites depend on values (ONNX Runtime drops a factor of exactly 1).
"""

from __future__ import annotations

import math
import shutil
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
from colora.devices.errors import GraphError
from colora.export.graph import DATA, write_data
from colora.runtime.backend_ort import OrtBackend
from colora.runtime.golden import golden_input
from colora.runtime.manifest import ImageConvention
from colora.runtime.weights import Array


@dataclass(frozen=True)
class Probe:
    """What was tried and found."""

    tensors: int
    """how many were edited"""
    silent: tuple[str, ...]
    """those whose edit alone changes nothing: folded away at load, or of no use to the network"""
    stale: tuple[str, ...]
    """those whose edit gives another output than a fresh session"""


def probe(graph: Path, values: Mapping[str, Array], side: int = 64, seed: int = 0) -> Probe:
    """Edit each switchable tensor of `graph`, a file written by `close` from `values`.

    side: height and width of the input, at most 64 and a multiple that the graph takes.
    Raises: GraphError if the network overflows on random weights.
    """
    rng = np.random.default_rng(seed)
    old = {name: _random(value.shape, rng).astype(value.dtype) for name, value in values.items()}
    new = {name: _random(value.shape, rng).astype(value.dtype) for name, value in values.items()}
    image = np.ascontiguousarray(golden_input()[:, :, :side, :side])
    edited = OrtBackend(graph, ImageConvention(), values, True, 1)

    def run(names: Iterable[str], otherwise: Mapping[str, Array]) -> Array:
        edited.set_weights((name, new[name]) for name in names)
        result = edited.run(image)
        edited.set_weights((name, otherwise[name]) for name in names)
        return result

    def stale(names: list[str]) -> list[str]:
        fresh = _fresh(graph, dict(values) | {name: new[name] for name in names})
        if np.array_equal(run(names, values), fresh.run(image)):
            return []
        half = len(names) // 2
        found = stale(names[:half]) + stale(names[half:]) if half else []
        return found or names

    edited.set_weights(old.items())
    before = edited.run(image)
    if not np.isfinite(before).all():
        raise GraphError(f"{graph}: the network overflows on random weights, so nothing can be told from it")
    silent = [name for name in values if np.array_equal(run([name], old), before)]
    edited.set_weights(values.items())
    return Probe(len(values), tuple(silent), tuple(stale([name for name in values if name not in silent])))


def check(found: Probe) -> None:
    """Raises: GraphError naming every tensor that does not follow its edits."""
    untracked = sorted({*found.silent, *found.stale})
    if untracked:
        raise GraphError(
            f"{len(untracked)} of {found.tensors} graph tensors do not follow an edit in place: "
            f"{', '.join(untracked)}. Each must feed its operator unfolded: give its module a twin (export/twin.py)"
        )


def _fresh(graph: Path, values: Mapping[str, Array]) -> OrtBackend:
    """A session on a copy of `graph` that holds `values`; the copy is gone when it returns."""
    with TemporaryDirectory() as folder:
        copied = Path(shutil.copy(graph, folder))
        shapes = {name: value.shape for name, value in values.items()}
        dtypes = {name: value.dtype for name, value in values.items()}
        write_data(copied.with_name(DATA), shapes, values.__getitem__, dtypes)
        return OrtBackend(copied, ImageConvention(), {}, True, 1)


def _random(shape: tuple[int, ...], rng: np.random.Generator) -> Array:
    """Values that keep a network's activations in range: kernels of unit gain, anything else about 1."""
    if len(shape) == 4 and shape[0] > 1:
        gain = math.prod(shape[1:]) ** -0.5
        return np.float32(gain) * rng.standard_normal(shape, dtype=np.float32)
    return np.float32(0.5) + rng.random(shape, dtype=np.float32)
