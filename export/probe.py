"""Proof that every switchable tensor of a graph can be changed in place.

A device switches tasks by editing buffers that the session borrows. A runtime that folded a tensor into another at
load never looks at its buffer again, and says nothing. So every tensor is edited as a device does, and the
output compared with that of a session that was built with the edited values and never saw the old ones: the same
graph, level, kernels and numbers must give the same bits. Two questions, one answer each:

    does each tensor matter?    edited alone, it must change the output
    is each edit followed?      all edited at once must equal the fresh session; if not, halves are tried

Values are random, not trained: in a trained network a zero (a residual scale at its start) can hide a tensor.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from colora.devices.errors import GraphError
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


def probe(graph: Path, shapes: Mapping[str, tuple[int, ...]], side: int = 64, seed: int = 0) -> Probe:
    """Edit each tensor of `shapes` in a session on `graph`, an ONNX file that has them as initializers.

    side: height and width of the input, at most 64 and a multiple that the graph takes.
    """
    rng = np.random.default_rng(seed)
    old = {name: _random(shape, rng) for name, shape in shapes.items()}
    new = {name: _random(shape, rng) for name, shape in shapes.items()}
    image = np.ascontiguousarray(golden_input()[:, :, :side, :side])
    edited = OrtBackend(graph, ImageConvention(), old, True, 1)
    before = edited.run(image)
    if not np.isfinite(before).all():
        raise GraphError(f"{graph}: the network overflows on random weights, so nothing can be told from it")

    def matters(name: str) -> bool:
        edited.set_weights([(name, new[name])])
        after = edited.run(image)
        edited.set_weights([(name, old[name])])
        return not np.array_equal(after, before)

    def stale(names: list[str]) -> list[str]:
        edited.set_weights((name, new[name]) for name in names)
        after = edited.run(image)
        edited.set_weights((name, old[name]) for name in names)
        fresh = OrtBackend(graph, ImageConvention(), old | {name: new[name] for name in names}, True, 1)
        if np.array_equal(after, fresh.run(image)):
            return []
        half = len(names) // 2
        return stale(names[:half]) + stale(names[half:]) if half else names

    silent = tuple(name for name in shapes if not matters(name))
    return Probe(len(shapes), silent, tuple(stale(list(shapes))))


def check(found: Probe) -> None:
    """Raises: GraphError naming every tensor that does not follow its edits."""
    untracked = sorted({*found.silent, *found.stale})
    if untracked:
        raise GraphError(
            f"{len(untracked)} of {found.tensors} graph tensors do not follow an edit in place: "
            f"{', '.join(untracked)}. Each must feed its operator unfolded: give its module a twin (export/twin.py)"
        )


def _random(shape: tuple[int, ...], rng: np.random.Generator) -> Array:
    """Values that keep a network's activations in range: kernels of unit gain, anything else about 1."""
    if len(shape) == 4 and shape[0] > 1:
        gain = math.prod(shape[1:]) ** -0.5
        return (gain * rng.standard_normal(shape, dtype=np.float32)).astype(np.float32)
    return rng.uniform(0.5, 1.5, shape).astype(np.float32)
