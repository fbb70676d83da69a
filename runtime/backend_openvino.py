"""OpenVINO on the CPU.

otherwise: the weights it was opened with become constants, which OpenVINO packs for its kernels.
refit: they become inputs of the graph over buffers of our own, so that there is no edit to be overlooked, and are
packed at every run. A bias is then an operator of its own.
Height and width stay symbolic: a size fixed is a few per cent faster and a graph compiled for every size.

The precision is always said: left alone OpenVINO takes bfloat16 wherever the CPU multiplies it, and golden outputs
would not be met. bf16 keeps 8 significant bits of each number in memory and adds up in float32.
"""

import sys
from collections.abc import Iterable, Mapping
from functools import cache
from importlib import import_module
from pathlib import Path
from typing import Any

import numpy as np
from colora.devices.errors import BackendError, BackendFailed, missing_extra
from colora.runtime.backend import BackendFacts
from colora.runtime.manifest import ImageConvention
from colora.runtime.openvino_norm import operators, rewrite_norms
from colora.runtime.weights import Array

CONVERTER = "openvino.tools.ovc"


class OpenvinoBackend:
    """See `Backend`."""

    computes = True
    name, hint = "openvino", "f32"

    def __init__(
        self, graph: Path, image: ImageConvention, weights: Mapping[str, Array], refit: bool, threads: int
    ) -> None:
        self._graph, self._image, self._refit, self._threads = graph, image, refit, threads
        self._buffers: dict[str, Array] = {}
        core = _core()
        options = {"INFERENCE_PRECISION_HINT": self.hint, "PERFORMANCE_HINT": "LATENCY"}
        if threads:
            options["INFERENCE_NUM_THREADS"] = str(threads)
        try:
            model = core.read_model(graph)
            found = constants(model)
            if lost := sorted(weights.keys() - found.keys()):
                raise BackendError(f"{graph}: OpenVINO knows no tensors {', '.join(lost)}: export it again")
            rewrite_norms(model)
            if refit:
                self._buffers = {name: np.array(tensor, order="C") for name, tensor in weights.items()}
                model.add_parameters([_as_input(found[name], name, b) for name, b in self._buffers.items()])
            else:
                for name, tensor in weights.items():
                    _as_constant(found[name], tensor)
            model.validate_nodes_and_infer_types()
            self._request: Any = core.compile_model(model, "CPU", options).create_infer_request()
            for name, buffer in self._buffers.items():
                self._request.set_tensor(name, _openvino().Tensor(buffer, shared_memory=True))
        except BackendError:
            raise
        except Exception as e:  # OpenVINO raises whatever its C++ core throws
            raise BackendError(f"{graph}: OpenVINO can't open it: {e}") from e

    @classmethod
    def open(
        cls, graph: Path, image: ImageConvention, weights: Mapping[str, Array], refit: bool, threads: int
    ) -> "OpenvinoBackend":
        return cls(graph, image, weights, refit, threads)

    def run(self, tensor: Array) -> Array:
        if self._request is None:
            raise BackendError(f"{self._graph}: the session is closed")
        try:
            self._request.infer({self._image.input: np.asarray(tensor, order="C")}, share_inputs=True)
            result: Array = self._request.get_tensor(self._image.output).data.copy()
        except Exception as e:
            raise BackendFailed(f"{self._graph}: OpenVINO failed on an input of {tensor.shape}: {e}") from e
        return result

    def set_weights(self, tensors: Iterable[tuple[str, Array]]) -> None:
        if not self._refit:
            raise BackendError(f"{self._graph} was opened without refit: its weights can't change")
        for name, tensor in tensors:
            buffer = self._buffers.get(name)
            if buffer is None or buffer.shape != tensor.shape or buffer.dtype != tensor.dtype:
                expected = (
                    "one of the switchable tensors" if buffer is None else f"{buffer.dtype} {buffer.shape}"
                )
                raise BackendError(f"{self._graph}: {name} is {tensor.dtype} {tensor.shape}, not {expected}")
            buffer[...] = tensor

    def lend(self) -> Mapping[str, Array]:
        return self._buffers

    def trim(self) -> None:
        if self._request is not None:
            self._request.get_compiled_model().release_memory()

    def close(self) -> None:
        self._request = None
        self._buffers = {}

    def describe(self) -> BackendFacts:
        version = _openvino().__version__.partition("-")[0]
        return BackendFacts(self.name, version, "cpu", self._threads, self._refit)


class OpenvinoBf16Backend(OpenvinoBackend):
    """The same in bfloat16. Raises: BackendError when opened on a CPU that does not multiply it."""

    name, hint = "openvino-bf16", "bf16"

    def __init__(
        self, graph: Path, image: ImageConvention, weights: Mapping[str, Array], refit: bool, threads: int
    ) -> None:
        known = capabilities()
        if "BF16" not in known:
            raise BackendError(
                f"this CPU does not multiply bfloat16 (OpenVINO finds {', '.join(known)}): use backend='openvino'"
            )
        super().__init__(graph, image, weights, refit, threads)


def capabilities() -> tuple[str, ...]:
    """What OpenVINO finds this CPU to be good at: `FP32`, `BF16`, `INT8`, … Raises: MissingExtra."""
    return tuple(_core().get_property("CPU", "OPTIMIZATION_CAPABILITIES"))


def constants(model: Any) -> dict[str, Any]:
    """Constants of an `openvino.Model` by the name of the ONNX initializer."""
    ops = (op for op in model.get_ordered_ops() if op.get_type_name() == "Constant")
    return {op.get_friendly_name(): op for op in ops}


def _as_input(constant: Any, name: str, buffer: Array) -> Any:
    """The new input that all read in place of `constant`."""
    _fits(constant, name, buffer)
    parameter = operators().parameter(list(buffer.shape), buffer.dtype.type, name)
    parameter.output(0).get_tensor().set_names({name})
    replace(constant, parameter)
    return parameter


def _as_constant(constant: Any, tensor: Array) -> None:
    name = constant.get_friendly_name()
    _fits(constant, name, tensor)
    new = operators().constant(np.asarray(tensor, order="C"))
    new.set_friendly_name(name)
    replace(constant, new)


def _fits(constant: Any, name: str, tensor: Array) -> None:
    """Raises: BackendError."""
    shape = tuple(constant.get_output_shape(0))
    if shape != tensor.shape:
        raise BackendError(f"{name} is {tensor.shape}, not {shape} as in the graph: export it again")


def replace(old: Any, new: Any) -> None:
    """Every reader of an operator's first output reads that of another."""
    for reader in old.output(0).get_target_inputs():
        reader.replace_source_output(new.output(0))


@cache
def _core() -> Any:
    """The one of the process: it holds the plugins, and what they share."""
    return _openvino().Core()


def _openvino() -> Any:
    """The package, without its model converter: importing that reports the use to its makers over the network."""
    blocked = "openvino" not in sys.modules and CONVERTER not in sys.modules
    if blocked:
        sys.modules[CONVERTER] = None  # type: ignore[assignment]  # Python's own mark of what can't be imported
    try:
        return import_module("openvino")
    except ImportError as e:
        raise missing_extra("openvino", "openvino", "the OpenVINO backend") from e
    finally:
        if blocked:
            del sys.modules[CONVERTER]
