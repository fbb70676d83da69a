"""ONNX Runtime on the CPU: how its sessions are opened says runtime/ort_open.py.

`open` edits a few tensors in place and looks whether the result follows: ONNX Runtime does not promise that. Once a
graph, build of ONNX Runtime and processor, where the optimised graph can be kept (runtime/ort_kept.py).
"""

from collections.abc import Iterable, Mapping
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
from colora.devices.errors import BackendError, BackendFailed
from colora.runtime.backend import BackendFacts
from colora.runtime.golden import golden_input
from colora.runtime.heap import trim_heap
from colora.runtime.manifest import ImageConvention
from colora.runtime.ort_kept import note_probed, probed
from colora.runtime.ort_open import open_fixed, open_in_blocks, open_in_order
from colora.runtime.weights import Array

PROBED = 4
"""Switchable tensors that `open` edits, spread evenly over the graph; the export has tried each one."""
SIDES = (16, 32, 64)
"""Of what `open` looks at, in pixels: the smallest that the graph takes. All take the last."""
FATAL = 4
"""ONNX Runtime's log level."""
SHRINK = "memory.enable_memory_arena_shrinkage"


class OrtBackend:
    """See `Backend`."""

    computes = True

    def __init__(
        self, graph: Path, image: ImageConvention, weights: Mapping[str, Array], refit: bool, threads: int
    ) -> None:
        self._graph, self._image, self._refit, self._threads = graph, image, refit, threads
        self._shapes = {name: tensor.shape for name, tensor in weights.items()}
        opened = open_in_blocks(graph, weights, threads)
        if opened is None:
            opened = (open_in_order if refit else open_fixed)(graph, weights, threads)
        # Buffers of our own: the session borrows them, so they live as long as it does.
        self._session, self._buffers, self._values, self._single, self._kept = opened

    @classmethod
    def open(
        cls, graph: Path, image: ImageConvention, weights: Mapping[str, Array], refit: bool, threads: int
    ) -> "OrtBackend":
        backend = cls(graph, image, weights, refit, threads)
        if refit and not probed(backend._kept):
            backend._probe()
            note_probed(backend._kept)
        return backend

    def run(self, tensor: Array, options: Any = None) -> Array:
        if self._session is None:
            raise BackendError(f"{self._graph}: the session is closed")
        if self._single and len(tensor) > 1:
            return np.concatenate([self.run(tensor[i : i + 1]) for i in range(len(tensor))])
        try:
            result: Array = self._session.run([self._image.output], {self._image.input: tensor}, options)[0]
        except Exception as e:  # ONNX Runtime's errors have no common base class
            raise BackendFailed(
                f"{self._graph}: ONNX Runtime failed on an input of {tensor.shape}: {e}"
            ) from e
        return result

    def trim(self) -> None:
        if self._session is None:
            return
        from onnxruntime import RunOptions

        options, binding = RunOptions(), self._session.io_binding()
        options.add_run_config_entry(SHRINK, "cpu:0")  # only a run can shrink the arena
        given, _ = self._small
        output = np.empty_like(given)  # in the arena, it would hold a block of it
        binding.bind_cpu_input(self._image.input, given)
        binding.bind_output(self._image.output, "cpu", 0, np.float32, given.shape, output.ctypes.data)
        try:
            self._session.run_with_iobinding(binding, options)
        except Exception as e:  # ONNX Runtime's errors have no common base class
            raise BackendFailed(f"{self._graph}: ONNX Runtime failed on {given.shape}: {e}") from e
        trim_heap()

    def set_weights(self, tensors: Iterable[tuple[str, Array]]) -> None:
        if not self._refit:
            raise BackendError(f"{self._graph} was opened without refit: its weights can't change")
        for name, tensor in tensors:
            buffer, shape = self._buffers.get(name), self._shapes.get(name)
            if buffer is None or shape != tensor.shape or buffer.dtype != tensor.dtype:
                expected = "one of the switchable tensors" if buffer is None else f"{buffer.dtype} {shape}"
                raise BackendError(f"{self._graph}: {name} is {tensor.dtype} {tensor.shape}, not {expected}")
            buffer[...] = tensor.reshape(buffer.shape)

    def lend(self) -> Mapping[str, Array]:
        return self._buffers if self._refit else {}

    def close(self) -> None:
        self._session = None
        self._values = {}
        self._buffers = {}
        trim_heap()  # else merged graphs that come and go leave holes: 3 of a small session's 105 MB

    def describe(self) -> BackendFacts:
        import onnxruntime

        return BackendFacts("ort", onnxruntime.__version__, "cpu", self._threads, self._refit)

    @cached_property
    def _small(self) -> tuple[Array, Array]:
        """The smallest part of the golden input that the graph takes, and what it made of it. Raises: BackendFailed."""
        from onnxruntime import RunOptions

        quiet = RunOptions()
        quiet.log_severity_level = FATAL  # a side that a graph does not take is no news to a user
        for side in SIDES:
            image = np.ascontiguousarray(golden_input()[:, :, :side, :side])
            try:
                return image, self.run(image, quiet)
            except BackendFailed:
                if side == SIDES[-1]:
                    raise
        raise AssertionError

    def _probe(self) -> None:
        """Edit a few tensors in place and see whether the result follows.

        One that changes nothing is either ignored, or without influence (behind a zero, say): sessions opened anew over
        the old and the edited numbers tell which. Raises: BackendError naming the tensors whose edits are ignored.
        """
        image, before = self._small
        names = list(self._buffers)
        ignored = []
        for name in names[:: max(1, -(-len(names) // PROBED))]:
            buffer = self._buffers[name]
            pristine = buffer.copy()
            buffer[...] = pristine * 1.25 + 0.0625
            try:
                if np.array_equal(self.run(image), before):
                    now = {n: b.reshape(self._shapes[n]) for n, b in self._buffers.items()}
                    weights = (now, {**now, name: pristine.reshape(self._shapes[name])})
                    new, old = (
                        self.open(self._graph, self._image, w, False, self._threads).run(image)
                        for w in weights
                    )
                    if not np.array_equal(new, old):
                        ignored.append(name)
            finally:
                buffer[...] = pristine
        if ignored or not np.array_equal(self.run(image), before):
            self.close()
            raise BackendError(
                f"{self._graph}: ONNX Runtime ignores in-place changes of {', '.join(ignored) or 'weights'}: "
                "use policy='merged'"
            )
