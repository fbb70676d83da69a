"""A backend that returns its input and counts: everything around a network can be tested without one."""

from collections.abc import Iterable, Mapping
from pathlib import Path

from colora.devices.errors import BackendError
from colora.runtime.backend import BackendFacts
from colora.runtime.manifest import ImageConvention
from colora.runtime.weights import Array


class NullBackend:
    """See `Backend`. Holds the weights it was given, and refuses those it was not opened with."""

    computes = False

    def __init__(self, weights: Mapping[str, Array], refit: bool) -> None:
        self.weights = dict(weights)
        self.refit = refit
        self.runs = 0
        self.changed: list[str] = []
        """Names given to `set_weights` so far."""

    @classmethod
    def open(
        cls, graph: Path, image: ImageConvention, weights: Mapping[str, Array], refit: bool, threads: int
    ) -> "NullBackend":
        return cls(weights, refit)

    def run(self, tensor: Array) -> Array:
        self.runs += 1
        return tensor.copy()

    def set_weights(self, tensors: Iterable[tuple[str, Array]]) -> None:
        for name, tensor in tensors:
            if not self.refit or name not in self.weights:
                raise BackendError(f"null backend: {name} can't be changed")
            self.weights[name] = tensor.copy()
            self.changed.append(name)

    def lend(self) -> Mapping[str, Array]:
        return {}

    def trim(self) -> None:
        pass

    def close(self) -> None:
        self.weights.clear()

    def describe(self) -> BackendFacts:
        return BackendFacts("null", "0", "none", 0, self.refit)
