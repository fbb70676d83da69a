"""A session over TensorRT engines: what the double computes is the network, whatever goes wrong on the way."""

import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from colora.devices.errors import BackendError, BackendFailed
from colora.runtime import fastest
from colora.runtime.backend import backend_class
from colora.runtime.bundle import open_bundle
from colora.runtime.golden import golden_input
from colora.runtime.merge import GraphTensors
from colora.runtime.session import load

CLOSE = 1e-5
"""float32 weights and results against float64."""


def loaded(bundle: Path, **options: Any) -> Any:
    return load(bundle, "tensorrt", **options)


def check(session: Any, mini: Any, *mixtures: dict[str, float]) -> None:
    for mixture in mixtures:
        x = golden_input()
        found = session.network(mixture)(x)
        assert np.abs(found - mini.forward(x, mixture)).max() < CLOSE, mixture


@pytest.mark.parametrize("trt", ["10.3.0", "11.4.1"], indirect=True)
def test_tasks_and_mixtures_are_what_they_are(mini: Any, ort_bundle: Path, trt: Any) -> None:
    with loaded(ort_bundle) as session:
        assert session.describe().policy == "refit", session.describe().why
        check(session, mini, {"rain": 1.0}, {"noise": 1.0}, {"rain": 0.5, "noise": 0.25}, {"rain": 1.0})
        assert session.describe().backend.device == "Orin (SM 8.7)"


def test_back_and_forth_gives_the_same_bits(ort_bundle: Path, trt: Any) -> None:
    with loaded(ort_bundle) as session:
        first = session.network("rain")(golden_input())
        session.network("noise")(golden_input())
        assert np.array_equal(session.network("rain")(golden_input()), first)


def test_later_switches_refit_the_union_of_touched_layers(ort_bundle: Path, trt: Any) -> None:
    with loaded(ort_bundle) as session:
        for task in ("rain", "noise"):
            session.network(task)(golden_input())
        before = len(trt.refits)
        session.network("rain")(golden_input())
        assert trt.refits[before:] == [frozenset(("w1", "b1", "w2a", "b2a", "w2b", "b2b", "w3", "b3"))]
        session.network({})(golden_input())
        assert trt.refits[before + 1 :] == [
            frozenset(("w1", "b1", "w3", "b3", "w2b"))
        ]  # w2b is folded with b3


def test_a_new_strength_sets_every_weight(ort_bundle: Path, trt: Any) -> None:
    with loaded(ort_bundle) as session:
        session.network("rain", 0.25)(golden_input())
        assert len(trt.refits[-1]) == 8


def test_a_half_refit_is_mended_from_the_file(mini: Any, ort_bundle: Path, trt: Any) -> None:
    with loaded(ort_bundle) as session:
        check(session, mini, {"rain": 1.0}, {"noise": 1.0})
        loads = trt.loads
        trt.faults.half_refit = 1
        check(session, mini, {"rain": 1.0}, {"noise": 1.0}, {"rain": 1.0})
        assert trt.loads == loads + 1 and session.metrics().reopens == 0


def test_folded_weights_that_are_forgotten_show_in_the_golden_output(
    mini: Any, ort_bundle: Path, trt: Any
) -> None:
    with loaded(ort_bundle) as session:
        check(session, mini, {"rain": 1.0})
        loads = trt.loads
        trt.faults.forgets_folded = 1
        check(session, mini, {}, {"rain": 1.0})
        assert trt.loads == loads + 1


def test_an_engine_that_goes_on_failing_is_given_up(mini: Any, ort_bundle: Path, trt: Any) -> None:
    with loaded(ort_bundle, reopen_limit=0) as session:
        trt.faults.half_refit = 10
        with pytest.raises(
            BackendFailed, match=r"refit of .* failed: Refit failed; loaded again from its file: "
        ):
            session.network("rain")(golden_input())
        trt.faults.half_refit = 0
        check(session, mini, {"rain": 1.0})


def test_a_run_that_fails_is_tried_again_with_a_new_engine(mini: Any, ort_bundle: Path, trt: Any) -> None:
    with loaded(ort_bundle) as session:
        check(session, mini, {"rain": 1.0})
        trt.faults.execute = 2  # as it is captured, and as it is run
        check(session, mini, {"rain": 1.0})
        assert session.metrics().reopens == 1


@pytest.mark.parametrize(
    ("fault", "why"),
    [
        ({"hidden": "w3"}, "w3 is not among its 7 refittable weights"),
        (
            {"prototype": "b1"},
            "b1 is DataType.HALF × 8 there, float32 × 8 here|b1 is 1 × 8 there, float32 × 8 here",
        ),
        ({"bias": 0.01}, "it is off its golden output by 0.01, more than 0.001"),
    ],
)
def test_where_refit_does_not_work_tasks_are_merged(
    mini: Any, ort_bundle: Path, trt: Any, fault: dict[str, Any], why: str
) -> None:
    vars(trt.faults).update(fault)
    with pytest.raises(BackendError, match=why):
        loaded(ort_bundle, policy="refit")
    with loaded(ort_bundle) as session:
        assert session.describe().policy == "merged"
        assert "weights can't be changed in place here" in session.describe().why
        check(session, mini, {"rain": 1.0}, {"noise": 1.0}, {"rain": 0.5})


def test_merged_engines_share_one_block_of_activations(
    mini: Any, ort_bundle: Path, trt: Any, gpu: Any
) -> None:
    with loaded(ort_bundle, policy="merged", hot_tasks=3) as session:
        check(session, mini, {"rain": 1.0}, {"noise": 1.0}, {"rain": 1.0}, {})
        activations = [size for size in gpu.sizes if size == 64 * 64 * 64]
        blocks = [block for block in gpu.live.values() if len(block) == 64 * 64 * 64 + 256]
        assert len(blocks) == 1 and len(activations) == 1 + 1  # anew after the trim at the start


def test_a_second_session_builds_nothing(ort_bundle: Path, trt: Any) -> None:
    for _ in range(2):
        with loaded(ort_bundle, policy="merged") as session:
            session.network("rain")(golden_input())
    assert len(trt.builds) == 2  # the backbone and rain


def test_a_size_that_comes_again_runs_as_a_graph(mini: Any, ort_bundle: Path, trt: Any, gpu: Any) -> None:
    x = np.random.default_rng(0).random((1, 3, 32, 48), dtype=np.float32)
    with loaded(ort_bundle) as session:
        run = session.network("rain")
        results = [run(x) for _ in range(6)]
        assert gpu.launches == 3
        assert all(np.array_equal(result, results[0]) for result in results)
        assert np.abs(results[-1] - mini.forward(x, {"rain": 1.0})).max() < CLOSE
        other = session.network("noise")(x)  # what was captured had other weights
        assert np.abs(other - mini.forward(x, {"noise": 1.0})).max() < CLOSE
        assert gpu.launches == 3


def test_what_can_not_be_captured_runs_layer_by_layer(ort_bundle: Path, trt: Any, gpu: Any) -> None:
    trt.faults.capture = True
    with loaded(ort_bundle) as session:
        results = [session.network("rain")(golden_input()) for _ in range(6)]
        assert gpu.launches == 0 and all(np.array_equal(result, results[0]) for result in results)


def test_sizes_in_turn(mini: Any, ort_bundle: Path, trt: Any) -> None:
    rng = np.random.default_rng(1)
    with loaded(ort_bundle) as session:
        for height, width in ((4, 4), (128, 96), (32, 32), (128, 96)):
            x = rng.random((1, 3, height, width), dtype=np.float32)
            assert np.abs(session.network("rain")(x) - mini.forward(x, {"rain": 1.0})).max() < CLOSE


def test_a_size_outside_the_profile_is_refused(ort_bundle: Path, trt: Any) -> None:
    expected = r"takes 4×4 to 128×128 px, and was given \(1, 3, 256, 64\)"
    with loaded(ort_bundle) as session, pytest.raises(BackendError, match=expected):
        session.network("rain")(np.zeros((1, 3, 256, 64), np.float32))


def test_memory_that_is_short_says_so_and_nothing_is_lost(
    mini: Any, ort_bundle: Path, trt: Any, gpu: Any
) -> None:
    with loaded(ort_bundle) as session:
        check(session, mini, {"rain": 1.0})
        gpu.largest = 500_000
        with pytest.raises(
            BackendError, match=r"1,048,576 bytes on the GPU could not be had: close other programs"
        ):
            session.network("rain")(np.zeros((1, 3, 128, 128), np.float32))
        check(session, mini, {"rain": 1.0}, {"noise": 1.0})


@pytest.mark.parametrize("after", [0, 1], ids=["none", "half"])
def test_buffers_that_were_had_in_part_are_not_used(
    mini: Any, ort_bundle: Path, trt: Any, gpu: Any, monkeypatch: pytest.MonkeyPatch, after: int
) -> None:
    x = np.random.default_rng(1).random((1, 3, 32, 32), dtype=np.float32)
    with loaded(ort_bundle) as session:
        check(session, mini, {"rain": 1.0})
        had, real = iter(range(after)), gpu.cudaMalloc
        with monkeypatch.context() as patch:
            patch.setattr(gpu, "cudaHostAlloc", lambda out, size, flags: real(out, size))
            patch.setattr(
                gpu, "cudaMalloc", lambda out, size: 2 if next(had, None) is None else real(out, size)
            )
            with pytest.raises(BackendError, match="could not be had"):
                session.network("rain")(x)
        assert np.abs(session.network("rain")(x) - mini.forward(x, {"rain": 1.0})).max() < CLOSE


def test_closing_gives_all_memory_back(ort_bundle: Path, trt: Any, gpu: Any) -> None:
    session = loaded(ort_bundle)
    for _ in range(5):
        session.network("rain")(golden_input())
    session.trim()
    assert not gpu.live
    session.network("noise")(golden_input())
    session.close()
    backend_blocks = [block for block in gpu.live.values() if len(block) != 64 * 64 * 64 + 256]
    assert not backend_blocks and not gpu.queues and not gpu.graphs
    with pytest.raises(BackendError, match="is closed"):
        session.network("rain")(golden_input())


def test_auto_takes_tensorrt_once_its_engines_are_built(
    mini: Any, ort_bundle: Path, trt: Any, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.setattr(fastest, "AUTO", ("ort", "tensorrt"))
    monkeypatch.setattr(fastest, "find_spec", lambda package: package)
    monkeypatch.setattr(fastest, "_measure", lambda bundle, name, *_: {"ort": 100.0, "tensorrt": 10.0}[name])
    with load(ort_bundle) as session:
        assert session.describe().backend.name == "ort" and not trt.builds
        assert "tensorrt has no engine of this bundle here yet: colora build" in session.describe().why
        check(session, mini, {"rain": 1.0})
    loaded(ort_bundle).close()
    with load(ort_bundle) as session:
        assert session.describe().backend.name == "tensorrt"
        check(session, mini, {"rain": 1.0})
    with load(ort_bundle, policy="merged") as session:
        assert session.describe().backend.name == "ort"


def test_auto_goes_on_without_tensorrt(ort_bundle: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "tensorrt", None)
    monkeypatch.setattr(fastest, "AUTO", ("ort", "tensorrt"))
    monkeypatch.setattr(fastest, "find_spec", lambda package: package)
    with load(ort_bundle) as session:
        assert session.describe().backend.name == "ort"
        assert "backend ort: backend tensorrt needs TensorRT 10.3 or later" in session.describe().why


def test_a_poisoned_engine_computes_nothing_more(ort_bundle: Path, trt: Any) -> None:
    manifest = open_bundle(ort_bundle).manifest
    weights = dict(GraphTensors(open_bundle(ort_bundle)).under((), manifest.program))
    backend = backend_class("tensorrt").open(ort_bundle / "graph.onnx", manifest.image, weights, True, 0)
    trt.faults.half_refit = 2
    with pytest.raises(BackendFailed, match="loaded again from its file"):
        backend.set_weights([("b1", weights["b1"] + 1)])
    for use in (lambda: backend.run(golden_input()), lambda: backend.set_weights([("b1", weights["b1"])])):
        with pytest.raises(BackendFailed, match=r"can't be trusted: .* refit of .* failed"):
            use()
    backend.close()
    with pytest.raises(BackendError, match="is closed"):
        backend.run(golden_input())
