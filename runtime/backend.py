"""What runs a graph. A backend is one file with one class; heavy packages are imported when it is opened."""

import importlib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from colora.devices.errors import unknown
from colora.runtime.manifest import ImageConvention
from colora.runtime.weights import Array


@dataclass(frozen=True)
class BackendFacts:
    """What a backend says about itself."""

    name: str
    version: str
    """Of the package that runs the graph."""
    device: str
    threads: int
    """0: the package's own choice."""
    refit: bool
    """Whether weights of the open graph can be changed in place."""


class Backend(Protocol):
    """One open graph. Not thread-safe: the session serialises calls."""

    computes: bool
    """False for a backend that does not run the network, so that golden checks make no sense."""

    @classmethod
    def open(
        cls, graph: Path, image: ImageConvention, weights: Mapping[str, Array], refit: bool, threads: int
    ) -> "Backend":
        """Open a graph.

        weights: switchable graph tensors, to be used in place of those in the graph; the backend may keep
        them.
        refit: prepare for `set_weights`, and prove on the spot that it works.
        threads: for one run; 0 leaves it to the package.
        Raises: MissingExtra; BackendError if the graph can't be opened, or `refit` is asked for and does
        not work.
        """
        ...

    def run(self, tensor: Array) -> Array:
        """1×3×H×W float32 → 1×3×H×W float32. The caller owns the result. Raises: BackendFailed."""
        ...

    def set_weights(self, tensors: Iterable[tuple[str, Array]]) -> None:
        """Change switchable tensors, one after another.

        Raises: BackendError for tensors it does not have; BackendFailed; some may be changed by then.
        """
        ...

    def lend(self) -> Mapping[str, Array]:
        """Switchable tensors by name, where the open graph reads them: C-contiguous, to be written to between runs.

        Empty where that is not possible; weights are then changed by `set_weights`.
        """
        ...

    def trim(self) -> None:
        """Give the memory of activations back to the system; the next run takes it anew. Raises: BackendFailed."""
        ...

    def close(self) -> None:
        """Free the graph and its memory. Harmless when repeated."""
        ...

    def describe(self) -> BackendFacts:
        """Facts for reports."""
        ...


@dataclass(frozen=True)
class BackendEntry:
    """A line of BACKENDS."""

    where: str
    """module:class"""
    package: str = ""
    """What it imports when it is opened."""
    precision: str = ""
    """What it computes in where that is not the graph's own: a key of GOLDEN_TOLERANCE."""


BACKENDS = {
    "ort": BackendEntry("colora.runtime.backend_ort:OrtBackend", "onnxruntime"),
    "openvino": BackendEntry("colora.runtime.backend_openvino:OpenvinoBackend", "openvino"),
    "openvino-bf16": BackendEntry("colora.runtime.backend_openvino:OpenvinoBf16Backend", "openvino", "bf16"),
    "tensorrt": BackendEntry("colora.runtime.backend_tensorrt:TensorrtBackend", "tensorrt"),
    "ort-tensorrt": BackendEntry("colora.runtime.backend_ort_gpu:OrtTensorrtBackend", "onnxruntime"),
    "ort-cuda": BackendEntry("colora.runtime.backend_ort_gpu:OrtCudaBackend", "onnxruntime"),
    "null": BackendEntry("colora.runtime.backend_null:NullBackend"),
}
"""Name → what is known before it is imported. For `auto` see runtime/fastest.py."""


def backend_class(name: str) -> type[Backend]:
    """Class of a backend. Raises: UnknownName with the nearest names."""
    if name not in BACKENDS:
        raise unknown("backend", name, [*BACKENDS, "auto"])
    module, _, attribute = BACKENDS[name].where.partition(":")
    found: type[Backend] = getattr(importlib.import_module(module), attribute)
    return found
