"""The CUDA runtime library as far as colora calls it, with the host's memory for the device's.

Nothing that was given to a stream is done before it is waited for; a graph replays what was captured.
"""

import ctypes
from collections.abc import Callable
from typing import Any


class FakeCuda:
    """The CUDA runtime library: device memory is the host's, work waits in its stream."""

    def __init__(self) -> None:
        self.live: dict[int, Any] = {}
        self.queues: dict[int, list[Callable[[], None]]] = {}
        self.graphs: dict[int, list[Callable[[], None]]] = {}
        self.capturing: list[Callable[[], None]] | None = None
        self.launches = 0
        self.largest = 1 << 40
        """Allocations above it fail."""
        self.sizes: list[int] = []
        self.version, self.capability = 12060, (8, 7)
        self._next = 0
        self.cudaGetErrorString = lambda code: {2: b"out of memory", 35: b"no driver"}.get(code, b"odd")

    def handle(self) -> int:
        self._next += 1
        return self._next

    def give(self, stream: Any, work: Callable[[], None]) -> None:
        (self.queues[stream.value] if self.capturing is None else self.capturing).append(work)

    def cudaRuntimeGetVersion(self, out: Any) -> int:
        out._obj.value = self.version
        return 0

    def cudaGetLastError(self) -> int:
        return 0

    def cudaGetDevice(self, out: Any) -> int:
        out._obj.value = 0
        return 0

    def cudaDeviceGetAttribute(self, out: Any, attribute: int, device: Any) -> int:
        out._obj.value = self.capability[attribute - 75 and 1]
        return 0

    def cudaGetDeviceProperties(self, properties: Any, device: Any) -> int:
        properties[:5] = b"Orin\0"
        return 0

    def cudaMemGetInfo(self, free: Any, total: Any) -> int:
        free._obj.value, total._obj.value = 6 << 30, 8 << 30
        return 0

    def cudaMalloc(self, out: Any, size: Any) -> int:
        if size.value > self.largest:
            return 2
        block = ctypes.create_string_buffer(size.value + 256)
        out._obj.value = ctypes.addressof(block)
        self.live[out._obj.value] = block
        self.sizes.append(size.value)
        return 0

    def cudaHostAlloc(self, out: Any, size: Any, flags: int) -> int:
        return self.cudaMalloc(out, size)

    def cudaFree(self, address: Any) -> int:
        return 0 if self.live.pop(address.value, None) else 1

    cudaFreeHost = cudaFree

    def cudaStreamCreate(self, out: Any) -> int:
        out._obj.value = self.handle()
        self.queues[out._obj.value] = []
        return 0

    def cudaStreamDestroy(self, stream: Any) -> int:
        del self.queues[stream.value]
        return 0

    def cudaMemcpyAsync(self, to: Any, start: Any, size: Any, kind: int, stream: Any) -> int:
        assert to.value and start.value, "a copy to or from address 0"
        self.give(stream, lambda: ctypes.memmove(to.value, start.value, size.value) and None)
        return 0

    def cudaStreamSynchronize(self, stream: Any) -> int:
        for work in self.queues[stream.value]:
            work()
        self.queues[stream.value] = []
        return 0

    def cudaStreamBeginCapture(self, stream: Any, mode: int) -> int:
        self.capturing = []
        return 0

    def cudaStreamEndCapture(self, stream: Any, out: Any) -> int:
        out._obj.value, work = self.handle(), self.capturing
        self.graphs[out._obj.value], self.capturing = work or [], None
        return 0

    def cudaGraphInstantiate(self, out: Any, graph: Any, flags: Any) -> int:
        out._obj.value = self.handle()
        self.graphs[out._obj.value] = self.graphs[graph.value]
        return 0

    def cudaGraphDestroy(self, graph: Any) -> int:
        del self.graphs[graph.value]
        return 0

    cudaGraphExecDestroy = cudaGraphDestroy

    def cudaGraphLaunch(self, graph: Any, stream: Any) -> int:
        self.launches += 1
        self.queues[stream.value] += self.graphs[graph.value]
        return 0
