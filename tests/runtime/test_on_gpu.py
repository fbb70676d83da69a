"""The CUDA runtime library itself, through runtime/cuda_memory.py; the other tests have a double in its place.

Without an NVIDIA GPU what can be tested is that its absence is told.
"""

import contextlib
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import pytest
from colora.benchmarks.memory_gpu import used_bytes
from colora.devices.errors import BackendError, BackendFailed
from colora.devices.probe import probe
from colora.runtime.cuda_memory import Activations, Cuda, cuda
from colora.runtime.gpu_pictures import GRAPH_AFTER, GpuPictures
from colora.runtime.manifest import ImageConvention

MIB = 2**20


def why_not() -> str:
    """Empty where a GPU answers."""
    try:
        cuda().capability()
    except BackendError as e:
        return f"needs an NVIDIA GPU: {e}"
    return ""


WHY_NOT = why_not()
on_gpu = pytest.mark.skipif(bool(WHY_NOT), reason=WHY_NOT)


@pytest.fixture
def gpu() -> Iterator[Cuda]:
    """The library, with no activations kept from one test to the next."""
    yield cuda()
    cuda().activations.release()


@pytest.fixture
def stream(gpu: Cuda) -> Iterator[int]:
    made = gpu.stream()
    yield made
    gpu.destroy_stream(made)


@pytest.mark.skipif(not WHY_NOT, reason="there is a GPU")
def test_a_machine_without_a_gpu_says_so_and_what_to_do() -> None:
    assert "use backend='ort'" in WHY_NOT
    assert "not installed" in WHY_NOT or "no NVIDIA GPU with a driver" in WHY_NOT


@on_gpu
def test_the_device_is_the_one_the_driver_names(gpu: Cuda) -> None:
    first = probe().gpus[0]
    assert (gpu.name(), gpu.capability()) == (first.name, first.compute_capability)
    assert gpu.version // 1000 in (12, 13)
    assert first.memory_bytes and 0 < gpu.free_bytes() <= first.memory_bytes


@on_gpu
def test_numbers_come_back_from_the_device_as_they_went(gpu: Cuda, stream: int) -> None:
    given, result = gpu.pinned((3, 5, 7)), gpu.pinned((3, 5, 7))
    given[...] = np.random.default_rng(0).standard_normal(given.shape, np.float32)
    result[...] = 0
    there, beside = gpu.malloc(given.nbytes), gpu.malloc(given.nbytes)
    assert given.dtype == np.float32 and there and beside and there != beside
    gpu.copy(there, given.ctypes.data, given.nbytes, stream)
    gpu.copy(beside, there, given.nbytes, stream)
    gpu.copy(result.ctypes.data, beside, given.nbytes, stream)
    gpu.synchronize(stream)
    assert np.array_equal(result, given)
    for address in (there, beside):
        gpu.free(address)
    for array in (given, result):
        gpu.free_pinned(array)


@on_gpu
def test_a_graph_of_copies_is_run_by_launches_only(gpu: Cuda, stream: int) -> None:
    given, result = gpu.pinned((1024,)), gpu.pinned((1024,))
    there = gpu.malloc(given.nbytes)

    def there_and_back() -> None:
        gpu.copy(there, given.ctypes.data, given.nbytes, stream)
        gpu.copy(result.ctypes.data, there, given.nbytes, stream)

    given[...], result[...] = 1, 0
    graph = gpu.capture(stream, there_and_back)
    gpu.synchronize(stream)
    assert not result.any()  # what is captured is not run
    for value in (2, 3):
        given[...] = value  # a graph keeps addresses, not what is there
        gpu.launch(graph, stream)
        gpu.synchronize(stream)
        assert (result == value).all()
    gpu.destroy_graph(graph)
    gpu.free(there)
    gpu.free_pinned(given)
    gpu.free_pinned(result)


@on_gpu
def test_a_capture_that_fails_leaves_the_stream_as_it_was(gpu: Cuda, stream: int) -> None:
    with pytest.raises(BackendFailed, match="cudaStreamSynchronize: CUDA error 900, operation not permitted"):
        gpu.capture(stream, lambda: gpu.synchronize(stream))
    array = gpu.pinned((4,))
    there = gpu.malloc(array.nbytes)
    gpu.copy(there, array.ctypes.data, array.nbytes, stream)
    gpu.synchronize(stream)  # as if nothing had been
    graph = gpu.capture(stream, lambda: gpu.copy(there, array.ctypes.data, array.nbytes, stream))
    gpu.launch(graph, stream)
    gpu.synchronize(stream)
    gpu.destroy_graph(graph)
    gpu.free(there)
    gpu.free_pinned(array)


@on_gpu
def test_memory_that_is_not_there_is_told_and_forgotten(gpu: Cuda) -> None:
    told = r"cudaMalloc: CUDA error 2, out of memory: 1,125,899,906,842,624 bytes on the GPU could not be had"
    with pytest.raises(BackendError, match=told):
        gpu.malloc(2**50)
    with pytest.raises(BackendError, match=r"cudaHostAlloc: CUDA error 2, out of memory: .* bytes pinned"):
        gpu.pinned((2**48,))
    address = gpu.malloc(MIB)  # neither is reported again
    gpu.free(address)
    with pytest.raises(BackendFailed, match=r"cudaFree: CUDA error (1|17), invalid"):
        gpu.free(address + 1)
    assert gpu.free_bytes() > 0


@on_gpu
def test_what_is_taken_is_seen_by_cuda_and_by_the_driver_and_given_back(gpu: Cuda) -> None:
    size = 512 * MIB
    free, used = gpu.free_bytes(), used_bytes()
    address = gpu.malloc(size)
    held, seen = free - gpu.free_bytes(), used_bytes()
    gpu.free(address)
    back = free - gpu.free_bytes()
    # CUDA takes whole pages of 2 MiB, and others may take some meanwhile
    assert abs(held - size) < 64 * MIB and abs(back) < 64 * MIB
    assert used is not None and seen is not None and abs(seen - used - size) < 64 * MIB


@on_gpu
def test_activations_grow_and_are_shared(gpu: Cuda) -> None:
    block = Activations(gpu)
    small = block.at_least(MIB)
    assert block.at_least(MIB // 2) == small and block.size == MIB
    free = gpu.free_bytes()
    block.at_least(256 * MIB)
    assert block.size == 256 * MIB and 200 * MIB < free - gpu.free_bytes() < 300 * MIB
    with pytest.raises(BackendError, match="out of memory"):
        block.at_least(2**50)
    assert block.size == 0  # given back before, so that both need not have room
    assert block.at_least(MIB)
    block.release()
    block.release()
    assert block.size == 0


@dataclass
class Copying:
    """An execution context whose network is a copy, by way of the activations it was lent."""

    gpu: Cuda
    needed: int
    shape: tuple[int, ...] = ()
    tensors: dict[str, int] = field(default_factory=dict)
    lent: int = 0
    runs: int = 0

    def set_input_shape(self, name: str, shape: tuple[int, ...]) -> bool:
        self.shape = tuple(shape)
        return True

    def get_tensor_shape(self, name: str) -> tuple[int, ...]:
        return self.shape

    def update_device_memory_size_for_shapes(self) -> int:
        return self.needed

    def set_tensor_address(self, name: str, address: int) -> bool:
        self.tensors[name] = address
        return True

    def set_device_memory(self, address: int, size: int) -> None:
        assert size >= self.needed
        self.lent = address

    def execute_async_v3(self, stream: int) -> bool:
        image, size = ImageConvention(), 4 * int(np.prod(self.shape))
        self.gpu.copy(self.lent, self.tensors[image.input], size, stream)
        self.gpu.copy(self.tensors[image.output], self.lent, size, stream)
        self.runs += 1
        return True


@on_gpu
def test_pictures_go_through_the_device_and_a_graph_with_contexts_taking_turns(gpu: Cuda) -> None:
    rng = np.random.default_rng(1)
    contexts: list[Any] = [Copying(gpu, MIB), Copying(gpu, 8 * MIB)]
    with contextlib.ExitStack() as stack:
        pictures = [GpuPictures(gpu, ImageConvention(), lambda: "told nothing") for _ in contexts]
        for opened in pictures:
            stack.callback(opened.close)
        for shape in ((1, 3, 64, 96), (1, 3, 32, 32)):
            for _ in range(GRAPH_AFTER + 3):
                for context, opened in zip(contexts, pictures, strict=True):
                    tensor = rng.random(shape, np.float32)
                    assert np.array_equal(opened.run(context, tensor), tensor)
            assert all(opened._graph for opened in pictures)  # what else came again and again was a launch
        before = contexts[0].runs
        pictures[0].run(contexts[0], tensor)
        assert contexts[0].runs == before
        pictures[1].release()  # takes the activations of the first too: its graph holds their address
        gpu.activations.at_least(16 * MIB)
        assert np.array_equal(pictures[0].run(contexts[0], tensor), tensor)
        assert np.array_equal(pictures[1].run(contexts[1], tensor), tensor)
