"""Ways of holding N tasks, and what one process of each takes as it grows: `grow` runs in a fresh process.

colora's two policies, and N fully tuned models in ONNX Runtime, OpenVINO and PyTorch. Nothing here loads torch but the
holders of memory_torch.py.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import asdict
from typing import TYPE_CHECKING, Any, Protocol

from colora.benchmarks.large_run import CLEAR_REFS
from colora.benchmarks.memory_gpu import used_bytes
from colora.benchmarks.memory_systems import (
    CUDA_MERGED,
    CUDA_ORT,
    EVERY,
    MERGED,
    OPENVINO,
    ORT_SETTINGS,
    REFIT,
    TENSORRT,
    TORCH,
    TORCH_CUDA,
    TORCH_IN_PLACE,
    System,
)
from colora.benchmarks.resident import memory_now
from colora.benchmarks.scenarios import INPUT, OUTPUT, Peer, open_model, picture, tensor_of
from colora.devices.errors import unknown

if TYPE_CHECKING:
    from colora.runtime.weights import Array


class Holder(Protocol):
    """Holds tasks by number, in the order of the files it was opened with."""

    def restore(self, number: int) -> object:
        """One picture by that task, which is loaded if it was not, and then held."""


class _Colora:
    def __init__(self, bundle: str, tasks: list[str], system: System, size: int, threads: int) -> None:
        from colora.runtime.session import load

        policy, hot = ("merged", len(tasks)) if system.whole else ("refit", None)
        self._session, self._tasks = (
            load(bundle, system.backend, policy, threads=threads, hot_tasks=hot),
            tasks,
        )
        self._image = picture(size)

    def restore(self, number: int) -> object:
        return self._session.restore(self._image, self._tasks[number])


class _Models:
    """Whole models, each opened by `open_one` when it is first used; all stay open, or only the last."""

    def __init__(
        self, models: list[str], open_one: Callable[[str], Callable[[], object]], keep: bool
    ) -> None:
        self._models, self._open, self._keep = models, open_one, keep
        self._opened: dict[int, Callable[[], object]] = {}

    def restore(self, number: int) -> object:
        if number not in self._opened:
            if not self._keep:
                self._opened.clear()
            self._opened[number] = self._open(self._models[number])
        return self._opened[number]()


def _ort(peer: Peer, tensor: Array, threads: int) -> Callable[[str], Callable[[], object]]:
    def open_one(model: str) -> Callable[[], object]:
        session = open_model(model, peer, threads)
        return lambda: session.run([OUTPUT], {INPUT: tensor})

    return open_one


def _cuda(tensor: Array, threads: int) -> Callable[[str], Callable[[], object]]:
    import onnxruntime as ort
    from colora.devices.errors import BackendError
    from colora.runtime.backend_ort_gpu import CUDA, cuda_options

    def open_one(model: str) -> Callable[[], object]:
        options = ort.SessionOptions()
        options.intra_op_num_threads = threads
        if CUDA not in ort.get_available_providers():
            raise BackendError(f"this onnxruntime has no {CUDA}: pip install onnxruntime-gpu")
        session = ort.InferenceSession(model, options, providers=[cuda_options()])
        if session.get_providers()[0] != CUDA:
            raise BackendError(f"{CUDA} did not start: CUDA or cuDNN is missing or of another version")
        return lambda: session.run([OUTPUT], {INPUT: tensor})

    return open_one


def _openvino(tensor: Array, threads: int) -> Callable[[str], Callable[[], object]]:
    import ctypes

    from colora.runtime.backend_openvino import _core
    from colora.runtime.heap import share_heap

    options: dict[str, Any] = {
        "INFERENCE_PRECISION_HINT": "f32",
        "PERFORMANCE_HINT": "LATENCY",
        "NUM_STREAMS": "1",
    }
    if threads:
        options["INFERENCE_NUM_THREADS"] = str(threads)
    core, libc = _core(), ctypes.CDLL("libc.so.6")
    core.set_property({"ENABLE_MMAP": True})
    share_heap()

    def open_one(model: str) -> Callable[[], object]:
        compiled = core.compile_model(model, "CPU", options)

        def run() -> object:
            result = compiled.create_infer_request().infer({INPUT: tensor}, share_inputs=True)[OUTPUT].copy()
            compiled.release_memory()
            libc.malloc_trim(0)
            return result

        return run

    return open_one


def open_holder(
    system: str, bundle: str, backbone: str, tasks: list[str], models: list[str], size: int, threads: int
) -> Holder:
    """backbone: name in BACKBONES, or a checkpoint of its layout. Raises: UnknownName; what the package raises."""
    tensor = tensor_of(picture(size))
    if system in (REFIT, MERGED, TENSORRT, CUDA_MERGED):
        return _Colora(bundle, tasks, EVERY[system], size, threads)
    if system == CUDA_ORT:
        return _Models(models, _cuda(tensor, threads), True)
    if system in ORT_SETTINGS:
        return _Models(models, _ort(ORT_SETTINGS[system], tensor, threads), ORT_SETTINGS[system].all_open)
    if system == OPENVINO:
        return _Models(models, _openvino(tensor, threads), True)
    if system in (TORCH, TORCH_CUDA, TORCH_IN_PLACE):
        from colora.benchmarks.memory_torch import InPlace, one_by_one

        if system == TORCH_IN_PLACE:
            return InPlace(bundle, backbone, tasks, tensor, threads, "cuda")
        device = "cuda" if EVERY[system].gpu else "cpu"
        return _Models(models, one_by_one(backbone, tensor, threads, device), True)
    raise unknown("system", system, EVERY)


def empty(package: str) -> dict[str, int]:
    """Memory of a process that imported numpy and the package, no more; of PyTorch all code is read too."""
    import importlib

    if package == "openvino":
        from colora.runtime.backend_openvino import _core

        _core()
    elif package == "torch":
        from colora.benchmarks.memory_torch import read_all_code

        read_all_code()
    else:
        importlib.import_module(package)
    return asdict(memory_now())


def grow(
    system: str, bundle: str, backbone: str, tasks: str, models: str, counts: str, size: str, threads: str,
    seconds: str,
) -> list[dict[str, int | None]]:  # fmt: skip
    """Memory of this process whenever it holds one of `counts` tasks, after each restored its pictures.

    Peaks: of everything up to there, loading included; and of one change of task with its picture, from the newest to
    the first (0 for one task alone). It stops, with what it has, after `seconds`.
    """
    names, numbers = tasks.split(","), [int(n) for n in counts.split(",")]
    begin, highest = time.monotonic(), 0
    readings: list[dict[str, int | None]] = []
    gpu = used_bytes() if EVERY[system].gpu else None
    holder = open_holder(system, bundle, backbone, names, models.split(","), int(size), int(threads))
    for number in range(max(numbers)):
        if time.monotonic() - begin > float(seconds):
            break
        for _ in range(EVERY[system].pictures):
            holder.restore(number)
        if number + 1 not in numbers:
            continue
        now, used = memory_now(), None if gpu is None else used_bytes()
        highest = max(highest, now.peak_rss_bytes)
        switch = 0
        if number:
            CLEAR_REFS.write_text("5")
            holder.restore(0)
            switch = memory_now().peak_rss_bytes
            highest = max(highest, switch)
            holder.restore(number)
        reading: dict[str, int | None] = {**asdict(now), "peak_rss_bytes": highest, "switch_bytes": switch}
        more = None if gpu is None or used is None else used - gpu
        readings.append(reading | {"tasks": number + 1, "gpu_bytes": more})
    return readings
