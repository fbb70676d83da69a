"""CUDA memory, copies and graphs, by ctypes over the CUDA runtime library.

Of the ways to it, this one needs nothing installed: libcudart comes with JetPack's TensorRT and with pip's. cuda-python
is not on JetPack, has to match CUDA's version, and changed its interface from 12 to 13; what is used here, some twenty
C functions, has been the same since CUDA 12 (CUDA Runtime API reference). torch is not wanted on a device.
"""

import ctypes
import importlib.util
from collections.abc import Callable, Sequence
from contextlib import suppress
from functools import cache
from pathlib import Path
from threading import RLock
from typing import Any

import numpy as np
from colora.devices.errors import BackendError, BackendFailed
from colora.runtime.weights import Array

LIBRARIES = ("libcudart.so.13", "libcudart.so.12", "libcudart.so")
"""Newest first; a name that the loader does not know is then looked for in pip's packages."""
OLDEST = 12000
"""CUDA 12.0 as the library numbers it: JetPack 6, and the oldest that TensorRT 10.3 is made for with graphs as here."""
NO_MEMORY, NO_DRIVER, NO_DEVICE = 2, 35, 100  # cudaError_t
MAJOR, MINOR = 75, 76  # cudaDeviceAttr
ANY_DIRECTION = 4  # cudaMemcpyDefault: the addresses tell
ONE_THREAD = 1  # cudaStreamCaptureModeThreadLocal: other threads may go on allocating
NAME_BYTES = 256
PROPERTIES_BYTES = 1 << 16
"""More than any version of cudaDeviceProp, whose first field is the name."""


class Cuda:
    """The runtime library on the device in use. library: as `ctypes.CDLL` gives it. Raises: BackendError."""

    def __init__(self, library: Any) -> None:
        self._library = library
        self.activations = Activations(self)
        number = ctypes.c_int()
        self._call("cudaRuntimeGetVersion", ctypes.byref(number))
        self.version = number.value
        """12060 for 12.6."""
        if self.version < OLDEST:
            raise BackendError(
                f"CUDA {self.version // 1000}.{self.version % 1000 // 10} is here; expected 12.0 or later: "
                "flash JetPack 6.1 or later"
            )

    def capability(self) -> str:
        """Compute capability, e.g. `8.7`."""
        device, parts = ctypes.c_int(), []
        self._call("cudaGetDevice", ctypes.byref(device))
        for attribute in (MAJOR, MINOR):
            value = ctypes.c_int()
            self._call("cudaDeviceGetAttribute", ctypes.byref(value), attribute, device)
            parts.append(str(value.value))
        return ".".join(parts)

    def name(self) -> str:
        """What CUDA calls the device, e.g. `Orin`."""
        device, properties = ctypes.c_int(), ctypes.create_string_buffer(PROPERTIES_BYTES)
        self._call("cudaGetDevice", ctypes.byref(device))
        self._call("cudaGetDeviceProperties", properties, device)
        return properties.raw[:NAME_BYTES].partition(b"\0")[0].decode(errors="replace")

    def free_bytes(self) -> int:
        """Memory that the driver says can be had now. On a Jetson pages that Linux would give back are not in it."""
        free, total = ctypes.c_size_t(), ctypes.c_size_t()
        self._call("cudaMemGetInfo", ctypes.byref(free), ctypes.byref(total))
        return free.value

    def malloc(self, size: int) -> int:
        """Address of new memory on the device."""
        address = ctypes.c_void_p()
        self._call(
            "cudaMalloc", ctypes.byref(address), ctypes.c_size_t(size), what=f"{size:,} bytes on the GPU"
        )
        return address.value or 0

    def free(self, address: int) -> None:
        """Give memory of `malloc` back."""
        self._call("cudaFree", ctypes.c_void_p(address))

    def pinned(self, shape: Sequence[int]) -> Array:
        """A float32 array in memory that the device copies from and to without a stop; for `free_pinned`."""
        address, count = ctypes.c_void_p(), int(np.prod(shape))
        size = ctypes.c_size_t(4 * count)
        self._call("cudaHostAlloc", ctypes.byref(address), size, 0, what=f"{4 * count:,} bytes pinned")
        numbers = (ctypes.c_float * count).from_address(address.value or 0)
        return np.ctypeslib.as_array(numbers).reshape(tuple(shape))

    def free_pinned(self, array: Array) -> None:
        """Give memory of `pinned` back; the array must not be used afterwards."""
        self._call("cudaFreeHost", ctypes.c_void_p(array.ctypes.data))

    def stream(self) -> int:
        """A new stream: work given to it is done in order, beside that of others."""
        made = ctypes.c_void_p()
        self._call("cudaStreamCreate", ctypes.byref(made))
        return made.value or 0

    def destroy_stream(self, stream: int) -> None:
        """End a stream."""
        self._call("cudaStreamDestroy", ctypes.c_void_p(stream))

    def copy(self, to: int, start: int, size: int, stream: int) -> None:
        """Begin to copy `size` bytes between addresses, on the host or the device."""
        addresses = ctypes.c_void_p(to), ctypes.c_void_p(start)
        self._call(
            "cudaMemcpyAsync", *addresses, ctypes.c_size_t(size), ANY_DIRECTION, ctypes.c_void_p(stream)
        )

    def synchronize(self, stream: int) -> None:
        """Wait until the work of a stream is done. Raises: BackendFailed for what failed in it."""
        self._call("cudaStreamSynchronize", ctypes.c_void_p(stream))

    def capture(self, stream: int, work: Callable[[], None]) -> int:
        """A graph of what `work` gives to a stream, which is not run. For `launch` and `destroy_graph`.

        Raises: BackendError where something in it can't be captured; the stream is as before.
        """
        graph, made = ctypes.c_void_p(), ctypes.c_void_p()
        self._call("cudaStreamBeginCapture", ctypes.c_void_p(stream), ONE_THREAD)
        try:
            work()
        except BaseException:
            with suppress(BackendError):
                self._call("cudaStreamEndCapture", ctypes.c_void_p(stream), ctypes.byref(graph))
            self._library.cudaGetLastError()
            raise
        self._call("cudaStreamEndCapture", ctypes.c_void_p(stream), ctypes.byref(graph))
        try:
            self._call("cudaGraphInstantiate", ctypes.byref(made), graph, ctypes.c_ulonglong(0))
        finally:
            self._call("cudaGraphDestroy", graph)
        return made.value or 0

    def launch(self, graph: int, stream: int) -> None:
        """Begin to run a graph."""
        self._call("cudaGraphLaunch", ctypes.c_void_p(graph), ctypes.c_void_p(stream))

    def destroy_graph(self, graph: int) -> None:
        """Free a graph."""
        self._call("cudaGraphExecDestroy", ctypes.c_void_p(graph))

    def _call(self, name: str, *arguments: Any, what: str = "") -> None:
        code = getattr(self._library, name)(*arguments)
        if code == 0:
            return
        self._library.cudaGetLastError()  # forget it, or a later call reports it again
        told = self._library.cudaGetErrorString
        told.restype = ctypes.c_char_p
        reason = f"{name}: CUDA error {code}, {(told(code) or b'unknown').decode()}"
        if code == NO_MEMORY:
            raise BackendError(
                f"{reason}: {what or 'memory'} could not be had: close other programs, or export with a smaller --tile"
            )
        if code in (NO_DRIVER, NO_DEVICE):
            raise BackendError(f"{reason}: no NVIDIA GPU with a driver can be used here: use backend='ort'")
        raise BackendFailed(reason)


class Activations:
    """One block of device memory for the activations of all engines of the process, which run one after another.

    Two at a time are slower on a small GPU than in turn. Hold `lock` from `at_least` until the run is done.
    """

    def __init__(self, cuda: Cuda) -> None:
        self.lock = RLock()
        self._cuda, self._address, self.size = cuda, 0, 0

    def at_least(self, size: int) -> int:
        """Address of the block, made anew where it is smaller. Raises: BackendError."""
        if size > self.size:
            self.release()  # first, so that both need not have room
            self._address = self._cuda.malloc(size)
            self.size = size
        return self._address

    def release(self) -> None:
        """Give the block back; the next run takes one anew."""
        with self.lock:
            if self.size:
                address, self._address, self.size = self._address, 0, 0
                self._cuda.free(address)


@cache
def cuda() -> Cuda:
    """The one of the process. Raises: BackendError where there is no library; without a GPU the first call does."""
    tried = []
    for name in LIBRARIES:
        for path in (name, *_in_packages(name)):
            try:
                return Cuda(ctypes.CDLL(path))
            except OSError as e:
                tried.append(str(e))
    raise BackendError(
        f"the CUDA runtime is not installed ({tried[0]}): on a Jetson sudo apt install nvidia-jetpack, "
        "elsewhere pip install nvidia-cuda-runtime; or use backend='ort'"
    )


def _in_packages(name: str) -> list[str]:
    """Where pip has put a library, e.g. site-packages/nvidia/cuda_runtime/lib."""
    spec = importlib.util.find_spec("nvidia")
    folders = list(spec.submodule_search_locations or ()) if spec else []
    return [str(file) for folder in folders for file in sorted(Path(folder).glob(f"*/lib/{name}"))]
