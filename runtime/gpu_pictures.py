"""One picture after another through an execution context: pinned buffers, the shared activation block, a CUDA graph."""

import math
from collections.abc import Callable
from typing import TYPE_CHECKING

from colora.devices.errors import BackendError, BackendFailed
from colora.runtime.cuda_memory import Cuda
from colora.runtime.manifest import ImageConvention
from colora.runtime.weights import Array

if TYPE_CHECKING:
    import tensorrt as trt

GRAPH_AFTER = 3
"""Runs of one size before it is captured: TensorRT wants one after a change, and a size that does not come again is not
worth it."""


class GpuPictures:
    """Buffers of one execution context. told: what TensorRT said last. Raises: BackendError."""

    def __init__(self, cuda: Cuda, image: ImageConvention, told: Callable[[], str]) -> None:
        self._cuda, self._image, self._told = cuda, image, told
        self._stream = cuda.stream()
        self._pinned: tuple[Array, Array] | None = None
        self._device: tuple[int, int] = (0, 0)
        self._shape: tuple[int, ...] = ()
        self._needed = self._activations = self._repeats = self._graph = 0
        self._capturable = True

    def run(self, context: "trt.IExecutionContext", tensor: Array) -> Array:
        """1×3×H×W float32 → the same shape. Raises: BackendError; BackendFailed."""
        with self._cuda.activations.lock:
            if tensor.shape != self._shape or self._pinned is None:
                self._take(context, tensor.shape)
            self._lend_activations(context)
            given, result = self._pinned or (tensor, tensor)
            given[...] = tensor
            if self._repeats == GRAPH_AFTER and self._capturable:
                self._capture(context, given, result)
            if self._graph:
                self._cuda.launch(self._graph, self._stream)
            else:
                self._enqueue(context, given, result)
            self._cuda.synchronize(self._stream)
            self._repeats += 1
            return result.copy()

    def forget_graph(self) -> None:
        """What was captured holds no longer: weights, a size or an address have changed."""
        graph, self._graph, self._repeats = self._graph, 0, 0
        if graph:
            self._cuda.destroy_graph(graph)

    def release(self) -> None:
        """Give buffers and activations back; the next run takes them anew."""
        with self._cuda.activations.lock:
            self._give_back()
            self._cuda.activations.release()

    def close(self) -> None:
        """Free buffers and stream. Harmless when repeated."""
        with self._cuda.activations.lock:
            self._give_back()
            stream, self._stream = self._stream, 0
            if stream:
                self._cuda.destroy_stream(stream)

    def _take(self, context: "trt.IExecutionContext", shape: tuple[int, ...]) -> None:
        """Buffers for pictures of a shape."""
        self._give_back()
        if not context.set_input_shape(self._image.input, shape):
            raise BackendError(f"the engine takes no {shape}: {self._told()}")
        found = context.get_tensor_shape(self._image.output)
        if [found[i] for i in range(len(found))] != list(shape):
            raise BackendError(f"the engine makes {[found[i] for i in range(len(found))]} of {shape}")
        self._needed = context.update_device_memory_size_for_shapes()
        size = 4 * math.prod(shape)
        given = self._cuda.pinned(shape)
        try:
            result = self._cuda.pinned(shape)
        except BaseException:
            self._cuda.free_pinned(given)
            raise
        self._pinned = given, result
        for i, name in enumerate((self._image.input, self._image.output)):
            address = self._cuda.malloc(size)
            self._device = (address, 0) if i == 0 else (self._device[0], address)
            if not context.set_tensor_address(name, address):
                raise BackendError(f"{name} takes no address: {self._told()}")
        self._shape = shape  # now that there is all it needs

    def _lend_activations(self, context: "trt.IExecutionContext") -> None:
        address = self._cuda.activations.at_least(max(self._needed, 1))
        if address != self._activations:
            self.forget_graph()
            context.set_device_memory(address, self._cuda.activations.size)
            self._activations = address

    def _enqueue(self, context: "trt.IExecutionContext", given: Array, result: Array) -> None:
        size = given.nbytes
        self._cuda.copy(self._device[0], given.ctypes.data, size, self._stream)
        if not context.execute_async_v3(self._stream):
            raise BackendFailed(self._told())
        self._cuda.copy(result.ctypes.data, self._device[1], size, self._stream)

    def _capture(self, context: "trt.IExecutionContext", given: Array, result: Array) -> None:
        """A graph of copy, network and copy; without one where something in it can't be captured."""
        try:
            self._graph = self._cuda.capture(self._stream, lambda: self._enqueue(context, given, result))
        except BackendError:
            self._capturable = False

    def _give_back(self) -> None:
        self.forget_graph()
        pinned, device = self._pinned, self._device
        self._pinned, self._device, self._shape, self._activations = None, (0, 0), (), 0
        for array in pinned or ():
            self._cuda.free_pinned(array)
        for address in device:
            if address:
                self._cuda.free(address)
