"""TensorRT on an Orin Nano, as the doubles beside this file have it."""

import importlib.util
from pathlib import Path
from typing import Any

import pytest
from colora.devices.probe import Machine
from colora.runtime import atomic, backend_tensorrt, engine, engines
from colora.runtime.cuda_memory import Cuda

ORIN = Machine(
    machine="aarch64",
    python="3.10.12",
    model="NVIDIA Jetson Orin Nano Engineering Reference Developer Kit Super",
    modules=("p3767-0005",),
    l4t="36.4.3",
    memory_bytes=8 * 10**9,
    tensorrt="10.3.0.30-1+cuda12.5",
    packages=("onnxruntime", "tensorrt"),
)


def double(name: str) -> Any:
    """A module beside this file, which is no package."""
    spec = importlib.util.spec_from_file_location(name, Path(__file__).with_name(f"{name}.py"))
    assert spec and spec.loader
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


CUDA, TENSORRT = double("cuda_double"), double("tensorrt_double")


@pytest.fixture(autouse=True)
def unflushed(monkeypatch: pytest.MonkeyPatch) -> None:
    """Nobody pulls the plug here, and waiting for the disk is most of what these tests would take."""
    monkeypatch.setattr(atomic, "flush", lambda path: None)


@pytest.fixture
def gpu() -> Any:
    """The CUDA runtime of an Orin."""
    return CUDA.FakeCuda()


@pytest.fixture
def trt(request: pytest.FixtureRequest, gpu: Any, monkeypatch: pytest.MonkeyPatch) -> Any:
    """TensorRT, which `load(backend="tensorrt")` finds: the oldest version that will do."""
    double, cuda = TENSORRT.Double(getattr(request, "param", "10.3.0"), gpu), Cuda(gpu)
    monkeypatch.setattr(engine, "_loggers", {})
    monkeypatch.setattr(backend_tensorrt, "tensorrt", lambda: double)
    monkeypatch.setattr(backend_tensorrt, "cuda", lambda: cuda)
    monkeypatch.setattr(engines, "machine_here", lambda: ORIN)
    return double
