"""ONNX Runtime's providers for NVIDIA GPUs, as far as a machine without one goes: options, folders, errors."""

import sys
from importlib.machinery import ModuleSpec
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pytest
from colora.devices.errors import BackendError
from colora.devices.probe import Machine
from colora.runtime import backend_ort_gpu
from colora.runtime.backend_ort_gpu import (
    OrtCudaBackend,
    OrtTensorrtBackend,
    cache_folder,
    remedy,
    tensorrt_options,
)
from colora.runtime.bundle import open_bundle
from colora.runtime.session import load


class FakeSession:
    """Takes the first provider, or goes on with the CPU as ONNX Runtime does."""

    started = True

    def __init__(self, graph: str, options: Any, providers: list[Any]) -> None:
        self.options, self.providers = options, providers

    def disable_fallback(self) -> None:
        pass

    def get_providers(self) -> list[str]:
        return [name for name, _ in self.providers] if self.started else ["CPUExecutionProvider"]

    def run(self, names: list[str], given: dict[str, Any]) -> list[Any]:
        return list(given.values())


@pytest.fixture
def ort(monkeypatch: pytest.MonkeyPatch) -> Any:
    """An onnxruntime with both providers."""
    fake: Any = ModuleType("onnxruntime")
    fake.__version__, fake.__spec__ = "1.23.0", ModuleSpec("onnxruntime", None)
    fake.get_available_providers = lambda: [
        "TensorrtExecutionProvider",
        "CUDAExecutionProvider",
        "CPUExecutionProvider",
    ]
    fake.SessionOptions = type(
        "SessionOptions",
        (),
        {"add_external_initializers": lambda self, *given: setattr(self, "given", given)},
    )
    fake.OrtValue = type("OrtValue", (), {"ortvalue_from_numpy": staticmethod(lambda array: array)})
    fake.InferenceSession = type("Session", (FakeSession,), {})
    monkeypatch.setitem(sys.modules, "onnxruntime", fake)
    return fake


def opened(kind: type[OrtCudaBackend], bundle: Path, weights: Any, refit: bool = False) -> Any:
    return kind.open(bundle / "graph.onnx", open_bundle(bundle).manifest.image, weights, refit, 1)


def test_each_set_of_weights_has_engines_of_its_own(null_bundle: Path, ort: Any) -> None:
    paths = []
    for value in (0.0, 1.0, 0.0):
        backend = opened(OrtTensorrtBackend, null_bundle, {"b1": np.full(8, value, np.float32)})
        (name, options), (fallback, _) = backend._session.providers
        assert (name, fallback) == ("TensorrtExecutionProvider", "CUDAExecutionProvider")
        paths.append(options["trt_engine_cache_path"])
        assert Path(paths[-1]).is_dir() and Path(paths[-1]).is_relative_to(null_bundle / "engines" / "ort")
        assert backend._session.options.given[0] == ["b1"]
    assert paths[0] == paths[2] != paths[1]


def test_engines_depend_on_versions(null_bundle: Path) -> None:
    manifest, graph = open_bundle(null_bundle).manifest, null_bundle / "graph.onnx"
    assert cache_folder(graph, manifest, {}, "1.23.0 10.3") != cache_folder(
        graph, manifest, {}, "1.23.0 10.7"
    )


def test_one_profile_that_takes_the_golden_input(null_bundle: Path) -> None:
    _, options = tensorrt_options(open_bundle(null_bundle).manifest, null_bundle)
    assert options["trt_profile_min_shapes"] == "input:1x3x4x4"
    assert options["trt_profile_opt_shapes"] == "input:1x3x64x64"
    assert options["trt_profile_max_shapes"] == "input:1x3x128x128"
    assert options["trt_fp16_enable"] == "0"


@pytest.mark.parametrize("kind", [OrtCudaBackend, OrtTensorrtBackend])
def test_weights_do_not_change_in_place(null_bundle: Path, ort: Any, kind: Any) -> None:
    with pytest.raises(BackendError, match=rf"backend {kind.name} keeps weights on the device"):
        opened(kind, null_bundle, {}, refit=True)


def test_a_provider_that_does_not_start_is_no_silent_cpu(null_bundle: Path, ort: Any) -> None:
    ort.InferenceSession.started = False
    with pytest.raises(
        BackendError, match=r"CUDAExecutionProvider did not start .* took CPUExecutionProvider: "
    ):
        opened(OrtCudaBackend, null_bundle, {})


@pytest.mark.parametrize(
    ("backend", "provider"),
    [("ort-cuda", "CUDAExecutionProvider"), ("ort-tensorrt", "TensorrtExecutionProvider")],
)
def test_an_onnxruntime_without_it_names_the_package(ort_bundle: Path, backend: str, provider: str) -> None:
    import onnxruntime

    if provider in onnxruntime.get_available_providers():
        pytest.skip("this onnxruntime has the provider")
    expected = rf"backend {backend} needs {provider}; this onnxruntime .* has .*CPUExecutionProvider: .*onnxruntime-gpu"
    with pytest.raises(BackendError, match=expected):
        load(ort_bundle, backend)


def test_a_jetson_needs_a_wheel_of_its_jetpack(monkeypatch: pytest.MonkeyPatch) -> None:
    board = Machine(machine="aarch64", python="3.10.12", l4t="36.4.3")
    assert "onnxruntime-gpu for JetPack 6.1-6.2, CUDA 12.6 and Python 3.10" in remedy(board)


def test_old_engines_go(null_bundle: Path, ort: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(backend_ort_gpu, "KEPT", 2)
    for i in range(4):
        opened(OrtTensorrtBackend, null_bundle, {"b1": np.full(8, i, np.float32)})
    assert len(list((null_bundle / "engines" / "ort").iterdir())) == 2
