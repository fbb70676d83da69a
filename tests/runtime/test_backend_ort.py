"""ONNX Runtime: edits in place are seen, by proof and not by hope."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from colora.devices.errors import BackendError, MissingExtra, UnknownName
from colora.runtime import backend_ort, ort_open
from colora.runtime.backend import BACKENDS, backend_class
from colora.runtime.backend_null import NullBackend
from colora.runtime.backend_ort import OrtBackend
from colora.runtime.bundle import open_bundle
from colora.runtime.golden import golden_input
from colora.runtime.manifest import ImageConvention
from colora.runtime.merge import GraphTensors

CLOSE = 1e-5
"""float32 sums of up to 27 products of order 1, against float64."""


@pytest.fixture(autouse=True)
def empty_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))


@pytest.fixture
def pristine(ort_bundle: Path) -> Any:
    bundle = open_bundle(ort_bundle)
    tensors = GraphTensors(bundle).under((), bundle.manifest.program)
    return {name: tensor.copy() for name, tensor in tensors}


def opened(bundle: Path, weights: Any, refit: bool) -> OrtBackend:
    return OrtBackend.open(bundle / "graph.onnx", open_bundle(bundle).manifest.image, weights, refit, 1)


def test_it_computes_the_network(mini: Any, ort_bundle: Path, pristine: Any) -> None:
    expected = mini.forward(golden_input())
    for weights, refit in (({}, False), (pristine, False), (pristine, True)):
        assert np.abs(opened(ort_bundle, weights, refit).run(golden_input()) - expected).max() < CLOSE


@pytest.mark.parametrize("order", ["of the optimised graph", "their own"])
def test_every_switchable_tensor_follows_edits(
    ort_bundle: Path, pristine: Any, order: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    if order == "their own":
        monkeypatch.setattr(ort_open, "find_layout", lambda *_: ({}, None))
    backend = opened(ort_bundle, pristine, True)
    before = backend.run(golden_input())
    for name, tensor in pristine.items():
        edited = tensor * 1.5 + 0.1
        backend.set_weights([(name, edited)])
        fresh = opened(ort_bundle, pristine | {name: edited}, True).run(golden_input())
        assert np.array_equal(backend.run(golden_input()), fresh)
        assert not np.array_equal(fresh, before)
        backend.set_weights([(name, tensor)])
        assert np.array_equal(backend.run(golden_input()), before)


def test_in_place_and_merged_give_the_same_bits(ort_bundle: Path, pristine: Any) -> None:
    edited = {name: tensor * 1.5 + 0.1 for name, tensor in pristine.items()}
    backend = opened(ort_bundle, pristine, True)
    backend.set_weights(edited.items())
    merged = opened(ort_bundle, edited, False)
    assert np.array_equal(backend.run(golden_input()), merged.run(golden_input()))


@pytest.mark.parametrize("fails", [BackendError("it can't"), OSError("no space left on device")])
def test_without_the_optimised_graph_weights_stay_in_their_own_order(
    mini: Any, ort_bundle: Path, pristine: Any, fails: Exception, monkeypatch: pytest.MonkeyPatch
) -> None:
    def save(*_: Any) -> None:
        raise fails

    monkeypatch.setattr(ort_open, "save_optimised", save)
    found = opened(ort_bundle, pristine, True).run(golden_input())
    assert np.abs(found - mini.forward(golden_input())).max() < CLOSE


def test_the_backend_keeps_its_own_copy(ort_bundle: Path, pristine: Any) -> None:
    backend = opened(ort_bundle, pristine, True)
    before = backend.run(golden_input())
    for tensor in pristine.values():
        tensor[...] = 0
    assert np.array_equal(backend.run(golden_input()), before)


def test_the_probe_notices_a_session_that_ignores_edits(
    ort_bundle: Path, pristine: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Sessions over copies of the buffers stand for what full optimisation does to large convolutions."""
    real = backend_ort.open_in_order

    def deaf(graph: Path, weights: Any, threads: int) -> Any:
        opened = real(graph, weights, threads)
        copies = {name: buffer.copy() for name, buffer in opened.buffers.items()}
        return opened._replace(buffers=copies, held=opened)

    monkeypatch.setattr(backend_ort, "open_in_blocks", lambda graph, weights, threads: None)
    monkeypatch.setattr(backend_ort, "open_in_order", deaf)
    with pytest.raises(BackendError, match=r"ignores in-place changes of w1, .*: use policy='merged'"):
        opened(ort_bundle, pristine, True)


def test_a_side_that_is_too_small_for_a_graph_is_passed_over_in_silence(
    tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    """A backbone that halves five times takes no 16 px."""
    onnx = pytest.importorskip("onnx")
    pytest.importorskip("onnxruntime")
    helper = onnx.helper
    kernel = onnx.numpy_helper.from_array(np.ones((3, 3, 32, 32), np.float32), "w")
    graph = helper.make_graph(
        [helper.make_node("Conv", ["input", "w"], ["output"], strides=[32, 32])],
        "halves",
        [helper.make_tensor_value_info("input", onnx.TensorProto.FLOAT, [1, 3, "h", "w"])],
        [helper.make_tensor_value_info("output", onnx.TensorProto.FLOAT, [1, 3, "i", "j"])],
        [kernel],
    )
    onnx.save(
        helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8),
        tmp_path / "g.onnx",
    )
    backend = OrtBackend(tmp_path / "g.onnx", ImageConvention(), {}, False, 1)
    assert backend._small[0].shape == (1, 3, 32, 32)
    assert capfd.readouterr().err == ""


def test_a_weight_that_is_folded_away_is_noticed_in_place_and_right_when_merged(
    mini: Any, tmp_path: Path
) -> None:
    """output = input · -w: ONNX Runtime computes -w once, from the numbers it finds first."""
    onnx = pytest.importorskip("onnx")
    pytest.importorskip("onnxruntime")
    helper, size = onnx.helper, [1, 3, "height", "width"]
    graph = helper.make_graph(
        [helper.make_node("Neg", ["w"], ["n"]), helper.make_node("Mul", ["input", "n"], ["output"])],
        "folds",
        [helper.make_tensor_value_info("input", onnx.TensorProto.FLOAT, size)],
        [helper.make_tensor_value_info("output", onnx.TensorProto.FLOAT, size)],
        [onnx.numpy_helper.from_array(np.ones((1, 3, 1, 1), np.float32), "w")],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    path = tmp_path / "graph.onnx"
    onnx.save(model, str(path), save_as_external_data=True, location="graph.data", size_threshold=0)
    two = {"w": np.full((1, 3, 1, 1), 2, np.float32)}
    with pytest.raises(BackendError, match="ignores in-place changes of w"):
        OrtBackend.open(path, mini.manifest.image, two, True, 1)
    merged = OrtBackend.open(path, mini.manifest.image, two, False, 1)
    assert np.array_equal(merged.run(golden_input()), golden_input() * -2)


def test_the_probe_accepts_tensors_that_change_nothing(mini: Any, ort_bundle: Path, pristine: Any) -> None:
    dead = pristine | {
        "w3": np.zeros_like(pristine["w3"])
    }  # nothing before the last convolution has an effect
    backend = opened(ort_bundle, dead, True)
    backend.set_weights(pristine.items())
    assert np.abs(backend.run(golden_input()) - mini.forward(golden_input())).max() < CLOSE


def test_what_does_not_fit_is_refused(ort_bundle: Path, pristine: Any) -> None:
    backend = opened(ort_bundle, pristine, True)
    with pytest.raises(BackendError, match=r"w1 is float32 \(2,\), not float32 \(8, 3, 3, 3\)"):
        backend.set_weights([("w1", np.zeros(2, np.float32))])
    with pytest.raises(BackendError, match=r"w9 is float32 \(2,\), not one of the switchable tensors"):
        backend.set_weights([("w9", np.zeros(2, np.float32))])
    with pytest.raises(BackendError, match=r"failed on an input of \(1, 2, 8, 8\)"):
        backend.run(np.zeros((1, 2, 8, 8), np.float32))
    with pytest.raises(BackendError, match="opened without refit"):
        opened(ort_bundle, {}, False).set_weights([])
    with pytest.raises(BackendError, match="can't open it"):
        opened(ort_bundle, {"w1": np.zeros((2, 2), np.float32)}, False)
    backend.close()
    backend.close()
    with pytest.raises(BackendError, match="is closed"):
        backend.run(golden_input())


def test_facts(ort_bundle: Path, pristine: Any) -> None:
    facts = opened(ort_bundle, pristine, True).describe()
    assert (facts.name, facts.device, facts.threads, facts.refit) == ("ort", "cpu", 1, True)
    assert facts.version


def test_a_missing_package_names_its_extra(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, mini: Any
) -> None:
    monkeypatch.setitem(__import__("sys").modules, "onnxruntime", None)
    for refit in (False, True):
        with pytest.raises(
            MissingExtra, match=r"needs the package 'onnxruntime'.*pip install 'colora\[ort\]'"
        ):
            OrtBackend.open(tmp_path / "graph.onnx", mini.manifest.image, {}, refit, 0)


def test_the_table_of_backends() -> None:
    assert backend_class(next(iter(BACKENDS))) is OrtBackend
    assert backend_class("null") is NullBackend
    with pytest.raises(UnknownName, match=r"unknown backend 'rot': did you mean ort"):
        backend_class("rot")
