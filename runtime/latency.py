"""How long pictures take on this machine, copies and computing apart."""

import time
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from colora.devices.errors import BackendError
from colora.runtime import tiles
from colora.runtime.session import Session
from colora.runtime.weights import Array

MEASURED = {
    "restore": "From a picture in memory to a restored one: rounded and cut into tensors, network, put together.",
    "compute": "Of that the backend's runs, less the copies to and from a GPU that are measured alone.",
    "copies": "The rest: picture to tensor and back, padding, blending; on a GPU with the copies of each tensor to the "
    "device and back, which are measured alone, from pinned memory, since a captured graph can't be taken apart.",
    "percentiles": "Nearest rank, over all rounds after the warm-up, wall-clock.",
}
"""How the numbers came about; part of the record."""


@dataclass(frozen=True)
class Percentiles:
    """Of one time, in ms."""

    n: int
    p50_ms: float
    p95_ms: float
    p99_ms: float


@dataclass(frozen=True)
class Latency:
    """Of one picture."""

    restore: Percentiles
    compute: Percentiles
    copies: Percentiles
    device_copy_ms: float
    """Of `copies`, median of those between host and device, of all tiles; 0 on a CPU."""
    tiles: int


@dataclass(frozen=True)
class Once:
    """One picture, restored."""

    whole_ms: float
    network_ms: float
    """Of that in the backend's runs."""
    shapes: tuple[tuple[int, ...], ...]
    """Of the tensors that it was cut into."""


def once(session: Session, picture: Array, task: str) -> Once:
    """Restore a picture. picture: H×W×3 RGB. Raises: what `Session.restore` raises."""
    manifest, network = session.bundle.manifest, session.network(task)
    shapes: list[tuple[int, ...]] = []
    spent = 0.0

    def timed(tensor: Array) -> Array:
        nonlocal spent
        begin = time.perf_counter()
        result = network(tensor)
        spent += time.perf_counter() - begin
        shapes.append(tensor.shape)
        return result

    begin = time.perf_counter()
    tiles.apply(picture, timed, manifest.shapes, manifest.pad, manifest.tile)
    return Once((time.perf_counter() - begin) * 1e3, spent * 1e3, tuple(shapes))


def measure(session: Session, picture: Array, task: str, rounds: int, warmups: int = 3) -> Latency:
    """Restore one picture again and again. picture: H×W×3 RGB. Raises: what `Session.restore` raises."""
    return split(session, [once(session, picture, task) for _ in range(warmups + rounds)][warmups:])


def split(session: Session, found: Sequence[Once]) -> Latency:
    """Compute and copies apart, of pictures of one size, one or more."""
    shapes = found[0].shapes
    copied = 0.0 if on_cpu(session) else sum(device_copy_ms(shape) for shape in shapes)
    computing = [max(x.network_ms - copied, 0.0) for x in found]
    return Latency(
        restore=percentiles([x.whole_ms for x in found]),
        compute=percentiles(computing),
        copies=percentiles([x.whole_ms - ms for x, ms in zip(found, computing, strict=True)]),
        device_copy_ms=copied,
        tiles=len(shapes),
    )


def percentiles(times_ms: Sequence[float]) -> Percentiles:
    """Of at least one time, nearest rank: the least time that so many per cent are not above."""
    ranked = sorted(times_ms)

    def at(percent: int) -> float:
        return ranked[-(-percent * len(ranked) // 100) - 1]

    return Percentiles(len(ranked), at(50), at(95), at(99))


def on_cpu(session: Session) -> bool:
    """Whether tensors stay where they are."""
    return session.describe().backend.name in ("ort", "openvino", "openvino-bf16", "null")


def device_copy_ms(shape: tuple[int, ...], rounds: int = 20) -> float:
    """Median time of a copy of a float32 tensor to the GPU and one back. 0 where CUDA's library is not at hand."""
    from colora.runtime.cuda_memory import cuda

    try:
        library = cuda()
    except BackendError:
        return 0.0
    host, stream = library.pinned(shape), library.stream()
    size = 4 * int(np.prod(shape))
    device = library.malloc(size)
    try:
        found = []
        for _ in range(rounds):
            begin = time.perf_counter()
            library.copy(device, host.ctypes.data, size, stream)
            library.copy(host.ctypes.data, device, size, stream)
            library.synchronize(stream)
            found.append((time.perf_counter() - begin) * 1e3)
        return sorted(found)[rounds // 2]
    finally:
        library.free(device)
        library.free_pinned(host)
        library.destroy_stream(stream)
