"""Proof that every switchable tensor of a graph can be changed in place.

A device switches tasks by editing buffers that the session borrows. A runtime that folded a tensor into another at
load never looks at its buffer again, and says nothing. To be proven, for the session on the bundle's own file:
edited to any values, it gives what a session gives that was opened on a file of those values.

    together  every tensor is edited to a random value, in place. The output must have the same bits as that of a
              session opened anew on a file of the edited values: same level, same kernels, same numbers. (A file,
              because ONNX Runtime folds what it reads there even if a session is given other values.)
    each      Nothing may hide in that: the operators are cut into parts of about √N weights, and in each part every
              weight alone is put back to what the file had. The numbers that leave the part must change.
    apart     The weights of each part, put back in the session, must change its output.

If the session followed all edits but that of w, the numbers that leave w's part would be wrong (each); what leaves the
part reaches the output (apart), so that output would be wrong (together), but for a difference that all operators
behind it round away. √N runs of the network instead of N. If the outputs differ, halves of the tensors are edited
until those that don't follow are found.

Edits are random, so that no zero (a residual scale at its start) hides a tensor; the session edited is opened on the
bundle's own file, since some rewrites depend on values (ONNX Runtime drops a factor of exactly 1).
"""

from __future__ import annotations

import math
from collections.abc import Collection, Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING

import numpy as np
from colora.devices.errors import GraphError
from colora.export.graph import close
from colora.export.memory import close_session
from colora.export.parts import Part, cut, same
from colora.runtime.backend_ort import OrtBackend
from colora.runtime.golden import golden_input
from colora.runtime.manifest import ImageConvention
from colora.runtime.weights import Array

if TYPE_CHECKING:
    import onnx


@dataclass(frozen=True)
class Probe:
    """What was tried and found."""

    tensors: int
    """how many were edited"""
    silent: tuple[str, ...]
    """those without influence on what their part of the network makes"""
    stale: tuple[str, ...]
    """those whose edit gives another output than a fresh session"""


def probe(
    graph: Path, model: onnx.ModelProto, values: Mapping[str, Array], side: int = 64, seed: int = 0
) -> Probe:
    """Edit each switchable tensor of `graph`, a file written by `close` from the open graph `model` and `values`.

    side: height and width of the input, at most 64 and a multiple that the graph takes.
    Raises: GraphError if the network overflows on random weights.
    """
    image = np.ascontiguousarray(golden_input()[:, :, :side, :side])
    edits = _Edits(model, values, seed)
    session = OrtBackend(graph, ImageConvention(), values, True, 1)

    def edited(names: Collection[str]) -> Array:
        session.set_weights((name, edits[name] if name in names else values[name]) for name in values)
        return session.run(image)

    together = edited(values)
    if not np.isfinite(together).all():
        raise GraphError(f"{graph}: the network overflows on random weights, so nothing can be told from it")
    parts = cut(model, values, math.isqrt(len(values)) + 1)
    silent = set(_without_influence(parts, values, edits, image))
    for part in parts:
        session.set_weights((name, values[name]) for name in part.weights)
        if np.array_equal(session.run(image), together):
            silent |= {*part.weights}
        session.set_weights((name, edits[name]) for name in part.weights)
    close_session(session)  # the next holds the network too
    if np.array_equal(together, _fresh(model, edits, image)):
        return Probe(len(values), tuple(sorted(silent)), ())

    session = OrtBackend(graph, ImageConvention(), values, True, 1)

    def stale(names: list[str]) -> list[str]:
        now = {name: edits[name] if name in names else values[name] for name in values}
        if np.array_equal(edited(names), _fresh(model, now, image)):
            return []
        half = len(names) // 2
        return (stale(names[:half]) + stale(names[half:]) if half else []) or names

    return Probe(len(values), tuple(sorted(silent)), tuple(stale([*values])))


def check(found: Probe) -> None:
    """Raises: GraphError naming every tensor that does not follow its edits."""
    untracked = sorted({*found.silent, *found.stale})
    if untracked:
        raise GraphError(
            f"{len(untracked)} of {found.tensors} graph tensors do not follow an edit in place: "
            f"{', '.join(untracked)}. Each must feed its operator unfolded: give its module a twin (export/twin.py)"
        )


class _Edits(Mapping[str, Array]):
    """A random value for each tensor, made when it is asked for: the network need not be held another time.

    They keep a network's activations in range: kernels of unit gain, anything else about 1.
    """

    def __init__(self, model: onnx.ModelProto, names: Iterable[str], seed: int) -> None:
        kinds = {value.name: value.type.tensor_type for value in model.graph.input}
        self._kinds = {name: kinds[name] for name in names}
        self._seeds = {name: [seed, i] for i, name in enumerate(self._kinds)}

    def __getitem__(self, name: str) -> Array:
        from onnx.helper import tensor_dtype_to_np_dtype

        kind, rng = self._kinds[name], np.random.default_rng(self._seeds[name])
        shape = tuple(axis.dim_value for axis in kind.shape.dim)
        if len(shape) == 4 and shape[0] > 1:
            edit = rng.standard_normal(shape, dtype=np.float32)
            edit *= np.float32(math.prod(shape[1:]) ** -0.5)
        else:
            edit = np.float32(0.5) + rng.random(shape, dtype=np.float32)
        return edit.astype(tensor_dtype_to_np_dtype(kind.elem_type), copy=False)

    def __iter__(self) -> Iterator[str]:
        return iter(self._kinds)

    def __len__(self) -> int:
        return len(self._kinds)


def _fresh(model: onnx.ModelProto, values: Mapping[str, Array], image: Array) -> Array:
    """Output of a session opened in the same way on a file of these values."""
    shapes = {name: value.shape for name, value in values.items()}
    with TemporaryDirectory() as folder:
        session = OrtBackend(
            close(model, shapes, values.__getitem__, Path(folder)), ImageConvention(), values, True, 1
        )
        result = session.run(image)
        close_session(session)
        return result


def _without_influence(
    parts: Iterable[Part], values: Mapping[str, Array], edits: Mapping[str, Array], image: Array
) -> Iterator[str]:
    """Weights that, put back alone, change nothing of what leaves one of their parts."""
    flow = {ImageConvention().input: image}
    for part in parts:
        edited = {name: edits[name] for name in part.weights}
        made = part.run(flow | edited)
        yield from (n for n in edited if same(made, part.run(flow | edited | {n: values[n]})))
        flow |= made
