"""OpenVINO: the network as ONNX Runtime computes it, merged and edited in place, in fp32 and in bf16."""

import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from colora.devices.errors import BackendError, MissingExtra
from colora.runtime import backend_openvino
from colora.runtime.backend_openvino import OpenvinoBackend, OpenvinoBf16Backend, capabilities
from colora.runtime.bundle import open_bundle
from colora.runtime.golden import golden_input
from colora.runtime.program import run_steps
from colora.runtime.session import GOLDEN_TOLERANCE, load

pytest.importorskip("onnx")
if find_spec("openvino") is None:  # not imported here: that would report the use to its makers
    pytest.skip("openvino is not installed", allow_module_level=True)

CLOSE = 1e-5
"""float32 sums of up to 27 products of order 1, against float64."""


@pytest.fixture
def pristine(mini: Any) -> Any:
    program = mini.manifest.program
    return {name: run_steps(name, steps, mini.weights.__getitem__).copy() for name, steps in program.items()}


def opened(bundle: Path, weights: Any, refit: bool, kind: Any = OpenvinoBackend) -> Any:
    return kind.open(bundle / "graph.onnx", open_bundle(bundle).manifest.image, weights, refit, 1)


def test_it_computes_the_network_at_any_size(mini: Any, ort_bundle: Path, pristine: Any) -> None:
    images = [golden_input(), np.random.default_rng(0).random((1, 3, 20, 48), dtype=np.float32)]
    for weights, refit in (({}, False), (pristine, False), (pristine, True)):
        backend = opened(ort_bundle, weights, refit)
        for image in images:
            assert np.abs(backend.run(image) - mini.forward(image)).max() < CLOSE


def test_every_switchable_tensor_follows_edits(ort_bundle: Path, pristine: Any) -> None:
    backend = opened(ort_bundle, pristine, True)
    before = backend.run(golden_input())
    for name, tensor in pristine.items():
        edited = tensor * 1.5 + 0.1
        backend.set_weights([(name, edited)])
        fresh = opened(ort_bundle, pristine | {name: edited}, False).run(golden_input())
        assert np.abs(backend.run(golden_input()) - fresh).max() < CLOSE
        assert np.abs(fresh - before).max() > 100 * CLOSE
        backend.lend()[name][...] = tensor
        assert np.array_equal(backend.run(golden_input()), before)


def test_a_merged_graph_lends_nothing_and_stays_as_it_is(ort_bundle: Path, pristine: Any) -> None:
    backend = opened(ort_bundle, pristine, False)
    before = backend.run(golden_input())
    for tensor in pristine.values():
        tensor[...] = 0
    backend.trim()
    assert np.array_equal(backend.run(golden_input()), before)
    assert backend.lend() == {}
    with pytest.raises(BackendError, match="opened without refit"):
        backend.set_weights([])


def test_the_result_belongs_to_the_caller(ort_bundle: Path) -> None:
    backend = opened(ort_bundle, {}, False)
    first = backend.run(golden_input())
    kept = first.copy()
    backend.run(np.zeros_like(golden_input()))
    assert np.array_equal(first, kept)
    turned = np.asfortranarray(golden_input())
    assert np.array_equal(backend.run(turned), kept)


@pytest.mark.skipif("BF16" not in capabilities(), reason="this CPU does not multiply bfloat16")
def test_bf16_is_near_and_fp32_is_not_bf16(mini: Any, ort_bundle: Path, pristine: Any) -> None:
    expected = mini.forward(golden_input())
    for refit in (False, True):
        error = np.abs(
            opened(ort_bundle, pristine, refit, OpenvinoBf16Backend).run(golden_input()) - expected
        )
        assert CLOSE < error.max() < GOLDEN_TOLERANCE["bf16"]


def test_bf16_is_refused_where_the_cpu_has_none(ort_bundle: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(backend_openvino, "capabilities", lambda: ("FP32", "INT8"))
    with pytest.raises(
        BackendError, match=r"not multiply bfloat16 \(OpenVINO finds FP32, INT8\): use backend='openvino'"
    ):
        load(ort_bundle, "openvino-bf16")


@pytest.mark.parametrize("policy", ["refit", "merged", "auto"])
def test_a_session_switches_and_comes_back(mini: Any, ort_bundle: Path, picture: Any, policy: str) -> None:
    with load(ort_bundle, "openvino", policy, threads=1) as session:
        image = picture(40, 56)
        rain = session.restore(image, "rain")
        noise = session.restore(image, "noise")
        assert np.array_equal(session.restore(image, "rain"), rain)
        assert not np.array_equal(rain, noise)
        facts = session.describe()
        assert facts.backend.name == "openvino" and facts.backend.version
        assert facts.policy == ("merged" if policy == "merged" else "refit")


def test_what_does_not_fit_is_refused(ort_bundle: Path, pristine: Any, tmp_path: Path) -> None:
    backend = opened(ort_bundle, pristine, True)
    with pytest.raises(BackendError, match=r"w1 is float32 \(2,\), not float32 \(8, 3, 3, 3\)"):
        backend.set_weights([("w1", np.zeros(2, np.float32))])
    with pytest.raises(BackendError, match=r"w9 is float32 \(2,\), not one of the switchable tensors"):
        backend.set_weights([("w9", np.zeros(2, np.float32))])
    with pytest.raises(BackendError, match=r"OpenVINO failed on an input of \(1, 2, 8, 8\)"):
        backend.run(np.zeros((1, 2, 8, 8), np.float32))
    for refit in (False, True):
        with pytest.raises(BackendError, match=r"w1 is \(2, 2\), not \(8, 3, 3, 3\) as in the graph"):
            opened(ort_bundle, {"w1": np.zeros((2, 2), np.float32)}, refit)
    with pytest.raises(BackendError, match=r"graph.onnx: OpenVINO knows no tensors w8, w9"):
        opened(ort_bundle, {"w9": pristine["w1"], "w8": pristine["w1"]}, False)
    (tmp_path / "graph.onnx").write_bytes(b"no graph")
    with pytest.raises(BackendError, match=r"graph.onnx: OpenVINO can't open it: "):
        OpenvinoBackend.open(tmp_path / "graph.onnx", open_bundle(ort_bundle).manifest.image, {}, False, 0)
    backend.close()
    backend.close()
    with pytest.raises(BackendError, match="is closed"):
        backend.run(golden_input())


def test_a_missing_package_names_its_extra(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, mini: Any
) -> None:
    backend_openvino._core.cache_clear()
    monkeypatch.setitem(sys.modules, "openvino", None)
    with pytest.raises(
        MissingExtra, match=r"'openvino', which is not installed: pip install 'colora\[openvino\]'"
    ):
        OpenvinoBackend.open(tmp_path / "graph.onnx", mini.manifest.image, {}, False, 0)


def test_importing_it_tells_nobody() -> None:
    """Its model converter sends a usage event when it is imported; later imports of that must still work."""
    code = (
        "import sys\nfrom colora.runtime.backend_openvino import _openvino\n_openvino().Core()\n"
        "print(*(name for name in sys.modules if 'telemetry' in name or name == 'openvino.tools.ovc'))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert (done.returncode, done.stdout.strip()) == (0, ""), done.stderr
