"""Weights that are made one at a time, when they are asked for: an export does not hold a network many times."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from colora.runtime.adapter import Adapter
from colora.runtime.program import Program, run_steps
from colora.runtime.weights import Array


class GraphTensors(Mapping[str, Array]):
    """Graph tensor → what the program makes of the source parameters, anew each time it is asked for."""

    def __init__(self, program: Program, weights: Mapping[str, Array]) -> None:
        self._program, self._weights = program, weights

    def __getitem__(self, name: str) -> Array:
        return run_steps(name, self._program[name], self._weights.__getitem__)

    def __iter__(self) -> Iterator[str]:
        return iter(self._program)

    def __len__(self) -> int:
        return len(self._program)


class MergedWeights(Mapping[str, Array]):
    """Source parameter → W0 + ΔW where the adapter has one, W0 itself elsewhere, which must not be changed."""

    def __init__(self, weights: Mapping[str, Array], adapter: Adapter) -> None:
        self._weights, self._params = weights, adapter.params

    def __getitem__(self, name: str) -> Array:
        w0 = self._weights[name]
        return w0 + self._params[name].delta(w0) if name in self._params else w0

    def __iter__(self) -> Iterator[str]:
        return iter(self._weights)

    def __len__(self) -> int:
        return len(self._weights)
