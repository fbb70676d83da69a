"""What is missing is told with what brings it."""

import dataclasses
import sys
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pytest
from colora.devices.errors import BackendError, BackendFailed, MissingExtra
from colora.devices.probe import Machine
from colora.runtime.cuda_memory import Cuda
from colora.runtime.preflight import available_bytes, tensorrt

BOARD = Machine(machine="aarch64", python="3.10.12", modules=("p3767-0005",), l4t="36.4.3")
"""An Orin Nano with JetPack 6.2, and nothing of it installed."""


@pytest.mark.parametrize(
    ("changes", "told"),
    [
        (
            {},
            r"TensorRT 10.3 or later for this Python .*: TensorRT's Python module: sudo apt install python3-libnvinfer",
        ),
        (
            {"tensorrt": "10.3.0.30-1+cuda12.5", "python": "3.12.1"},
            r"is installed for Python 3.10, and this Python 3.12.1 can't import tensorrt: python3.10 -m venv",
        ),
        ({"l4t": "35.4.1"}, r"TensorRT 10.3: JetPack 5.1 has 8.5.2: flash JetPack 6.1-6.2"),
        ({"l4t": "32.7.1", "modules": ("p3448-0000",)}, r"no JetPack for this board brings it"),
        (
            {"l4t": "", "modules": (), "machine": "x86_64"},
            r"pip install tensorrt, on a machine with an NVIDIA GPU",
        ),
    ],
)
def test_no_tensorrt(monkeypatch: pytest.MonkeyPatch, changes: dict[str, Any], told: str) -> None:
    monkeypatch.setitem(sys.modules, "tensorrt", None)
    with pytest.raises(MissingExtra, match=told) as raised:
        tensorrt(dataclasses.replace(BOARD, **changes))
    assert str(raised.value).endswith("meanwhile ONNX Runtime serves: backend='ort'")


def test_a_tensorrt_that_is_too_old(monkeypatch: pytest.MonkeyPatch) -> None:
    old = ModuleType("tensorrt")
    old.__version__, old.Builder = "8.6.2", object  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "tensorrt", old)
    with pytest.raises(
        BackendError, match=r"TensorRT 8.6.2 is installed; .* 10.3 or later: .*flash JetPack 6.1-6.2"
    ):
        tensorrt(dataclasses.replace(BOARD, l4t="36.3.0"))


def test_a_folder_of_that_name_is_no_tensorrt(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "tensorrt", ModuleType("tensorrt"))
    with pytest.raises(MissingExtra, match="a folder of that name is no TensorRT"):
        tensorrt(BOARD)


def test_a_jetson_counts_what_linux_can_free(gpu: Any, tmp_path: Path) -> None:
    (tmp_path / "meminfo").write_text("MemTotal: 7990000 kB\nMemAvailable:    5000000 kB\n")
    cuda = Cuda(gpu)
    assert available_bytes(cuda, BOARD, tmp_path / "meminfo") == 5_000_000 * 1024
    assert available_bytes(cuda, dataclasses.replace(BOARD, l4t=""), tmp_path / "meminfo") == 6 << 30


def test_cuda_that_is_too_old(gpu: Any) -> None:
    gpu.version = 11040
    with pytest.raises(
        BackendError, match=r"CUDA 11.4 is here; expected 12.0 or later: flash JetPack 6.1 or later"
    ):
        Cuda(gpu)


@pytest.mark.parametrize(
    ("code", "kind", "told"),
    [
        (35, BackendError, "cudaStreamCreate: CUDA error 35, no driver: no NVIDIA GPU with a driver"),
        (700, BackendFailed, "cudaStreamCreate: CUDA error 700, odd"),
    ],
)
def test_errors_of_cuda(gpu: Any, code: int, kind: type[Exception], told: str) -> None:
    gpu.cudaStreamCreate = lambda out: code
    with pytest.raises(kind, match=told):
        Cuda(gpu).stream()


def test_pinned_memory_is_an_array(gpu: Any) -> None:
    cuda = Cuda(gpu)
    array = cuda.pinned((2, 3))
    array[...] = np.arange(6).reshape(2, 3)
    stream, other = cuda.stream(), cuda.pinned((2, 3))
    cuda.copy(other.ctypes.data, array.ctypes.data, array.nbytes, stream)
    cuda.synchronize(stream)
    assert np.array_equal(other, [[0, 1, 2], [3, 4, 5]])
    cuda.free_pinned(array)
    assert len(gpu.live) == 1
