"""Building engines, and knowing which fit."""

import json
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from colora.devices.errors import BackendError, BundleError, PlanError
from colora.runtime import engines as engines_module
from colora.runtime import preflight
from colora.runtime.build_progress import build_bar
from colora.runtime.bundle import open_bundle
from colora.runtime.cuda_memory import Cuda
from colora.runtime.engine import build
from colora.runtime.engines import Engines
from colora.runtime.manifest import Shapes
from colora.runtime.session import load

SHAPES = Shapes((4, 4), (48, 48), (32 * 4, 128), 4)


def made(bundle: Path, trt: Any, **options: Any) -> Any:
    build(bundle / "graph.onnx", bundle / "x.engine", SHAPES, api=trt, **options)
    return trt.builds[-1]


def the_engines(bundle: Path, trt: Any) -> Engines:
    opened = open_bundle(bundle)
    return Engines(bundle / "graph.onnx", opened.manifest, trt, Cuda(trt.gpu))


@pytest.mark.parametrize("trt", ["10.3.0", "11.4.1"], indirect=True)
def test_networks_are_strongly_typed_without_tf32(ort_bundle: Path, trt: Any) -> None:
    found = made(ort_bundle, trt)
    assert found["typed"] and found["flags"] == set() and found["refit"] == []
    assert (found["low"], found["opt"], found["high"]) == ([1, 3, 4, 4], [1, 3, 48, 48], [1, 3, 128, 128])


def test_the_profile_takes_the_golden_input(ort_bundle: Path, trt: Any) -> None:
    shapes = Shapes((80, 96), (80, 96), (80, 96), 16)
    build(ort_bundle / "graph.onnx", ort_bundle / "x.engine", shapes, api=trt)
    assert (trt.builds[0]["low"], trt.builds[0]["high"]) == ([1, 3, 64, 64], [1, 3, 80, 96])


def test_weights_take_the_place_of_the_graphs(ort_bundle: Path, trt: Any, mini: Any) -> None:
    before = (ort_bundle / "graph.data").read_bytes()
    new = {
        name: np.full_like(t, 0.5, np.float32) for name, t in mini.graph_tensors({}).items() if name != "w1"
    }
    made(ort_bundle, trt, weights=new)
    with np.load(ort_bundle / "x.engine") as stored:
        assert all(np.array_equal(stored[name], tensor) for name, tensor in new.items())
        assert np.abs(stored["w1"] - mini.weights["conv1.weight"]).max() == 0
    assert (ort_bundle / "graph.data").read_bytes() == before


@pytest.mark.parametrize(
    ("weights", "reason"),
    [
        ({"w9": np.zeros(3, np.float32)}, "w9: no such weight"),
        ({"b1": np.zeros(9, np.float32)}, r"b1: \(8,\) in 32 bytes; expected \(9,\) in 36 bytes of a file"),
        ({"b1": np.zeros(8, np.float16)}, r"b1: \(8,\) in 32 bytes; expected \(8,\) in 16 bytes of a file"),
    ],
)
def test_weights_that_the_graph_does_not_have(ort_bundle: Path, trt: Any, weights: Any, reason: str) -> None:
    with pytest.raises(BundleError, match=reason):
        made(ort_bundle, trt, weights=weights)


def test_the_refit_map_is_asserted_by_name(ort_bundle: Path, trt: Any) -> None:
    assert made(ort_bundle, trt, refit=("w1", "b1"))["refit"] == ["b1", "w1"]
    with pytest.raises(
        BackendError, match=r"1 of 2 switchable tensors are no weights .* first view_3: export"
    ):
        made(ort_bundle, trt, refit=("w1", "view_3"))
    assert len(trt.builds) == 1


@pytest.mark.parametrize(
    ("said", "told"),
    [
        ("Could not find any implementation for node conv1.", "could not build .* conv1.$"),
        (
            "Requested amount of GPU memory (1 bytes) could not be allocated.",
            "too little memory: close other programs, or export with a smaller --tile",
        ),
    ],
)
def test_a_build_that_fails_leaves_the_engine_of_before(
    ort_bundle: Path, trt: Any, said: str, told: str
) -> None:
    (ort_bundle / "x.engine").write_bytes(b"before")
    trt.faults.build = said
    with pytest.raises(BackendError, match=told):
        made(ort_bundle, trt)
    assert (ort_bundle / "x.engine").read_bytes() == b"before"
    assert not list(ort_bundle.glob(".*partial"))


def test_a_tensorrt_that_does_not_start(ort_bundle: Path, trt: Any) -> None:
    trt.faults.starts = False
    with pytest.raises(
        BackendError, match=r"TensorRT 10.3.0 does not start: CUDA initialization failure .*: 35"
    ):
        made(ort_bundle, trt)


def test_a_build_that_is_stopped_leaves_nothing(ort_bundle: Path, trt: Any) -> None:
    def stop(phase: str, share: float) -> None:
        if share > 0.3:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        made(ort_bundle, trt, progress=stop)
    assert not list(ort_bundle.glob("*engine*"))


def test_progress_is_one_share_of_all(ort_bundle: Path, trt: Any) -> None:
    seen: list[tuple[str, float]] = []
    made(ort_bundle, trt, progress=lambda phase, share: seen.append((phase, share)))
    assert [share for _, share in seen] == [0.125, 0.25, 0.375, 0.5, 0.5]
    assert seen[0][0] == "Timing tactics"


def test_a_terminal_gets_a_bar(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    pytest.importorskip("rich")
    with build_bar("engine") as progress:
        assert progress is None
    monkeypatch.setattr(sys.stderr, "isatty", lambda: True)
    with build_bar("engine") as progress:
        assert progress is not None
        progress("Timing tactics", 0.5)
    assert "engine: Timing tactics" in capsys.readouterr().err


def test_a_graph_that_can_not_be_read(ort_bundle: Path, trt: Any) -> None:
    (ort_bundle / "graph.onnx").write_bytes(b"\x3a\x00")
    with pytest.raises(BackendError, match=r"can't read it: Failed to parse the ONNX model.: export it for"):
        made(ort_bundle, trt)


def test_timings_are_kept_and_those_of_another_board_dropped(ort_bundle: Path, trt: Any) -> None:
    cache = ort_bundle / "timing.cache"
    assert made(ort_bundle, trt, timing_cache=cache)["cache"] == b""
    assert cache.read_bytes() == b"cache of 8.7"
    assert made(ort_bundle, trt, timing_cache=cache)["cache"] == b"cache of 8.7"
    cache.write_bytes(b"cache of 8.6")
    assert made(ort_bundle, trt, timing_cache=cache)["cache"] == b""


def test_an_engine_is_built_once_and_its_record_says_all(ort_bundle: Path, trt: Any) -> None:
    engines = the_engines(ort_bundle, trt)
    weights = {"b1": np.zeros(8, np.float32)}
    file = engines.obtain(weights, True)
    assert file.relative_to(ort_bundle).parts == ("engines", "jetson-orin-nano-8gb", "shared.engine")
    assert engines.obtain(weights, True) == file and len(trt.builds) == 1
    record = json.loads(file.with_suffix(".json").read_bytes())
    assert record["weight_bytes"] == 1234 and record["size_bytes"] == file.stat().st_size
    key = record["key"]
    assert (key["device"], key["compute_capability"], key["jetpack"]) == ("Orin", "8.7", "6.1-6.2")
    assert (key["tensorrt"], key["precision"], key["refit"]) == (trt.__version__, "fp32", 1)
    assert engines.obtain({"b1": np.ones(8, np.float32)}, False) != file and len(trt.builds) == 2
    assert open_bundle(ort_bundle).manifest == open_bundle(ort_bundle).manifest  # engines are no damage


def test_an_engine_of_another_version_or_board_is_told_and_built_anew(ort_bundle: Path, trt: Any) -> None:
    file = the_engines(ort_bundle, trt).obtain({}, False)
    before = trt.__version__
    trt.__version__ = "10.7.0"
    engines = the_engines(ort_bundle, trt)
    with pytest.raises(BackendError, match=rf"tensorrt '{before}', here '10.7.0': colora build"):
        engines.check(engines.key({}, False))
    assert engines.obtain({}, False) == file and len(trt.builds) == 2
    trt.gpu.capability = (8, 6)
    engines = the_engines(ort_bundle, trt)
    with pytest.raises(BackendError, match=r"compute_capability '8.7', here '8.6'"):
        engines.check(engines.key({}, False))


@pytest.mark.parametrize("damage", ["engine", "record", "no record"])
def test_a_damaged_engine_is_built_anew(ort_bundle: Path, trt: Any, damage: str) -> None:
    engines = the_engines(ort_bundle, trt)
    file = engines.obtain({}, False)
    if damage == "engine":
        content = bytearray(file.read_bytes())
        content[100] ^= 1
        file.write_bytes(content)
    elif damage == "record":
        file.with_suffix(".json").write_text("{")
    else:
        file.with_suffix(".json").unlink()
    with pytest.raises(BackendError, match=r"is damaged|no engine for Orin yet"):
        engines.check(engines.key({}, False))
    engines.obtain({}, False)
    assert len(trt.builds) == 2


def test_engines_of_a_signed_bundle_are_the_users_own(
    ort_bundle: Path, trt: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    (ort_bundle / "manifest.sig").write_bytes(b"of somebody")
    file = the_engines(ort_bundle, trt).obtain({}, False)
    assert file.is_relative_to(tmp_path / "cache" / "colora" / "engines") and file.is_file()
    assert not (ort_bundle / "engines").exists()


def test_a_link_out_of_the_bundle_is_refused(ort_bundle: Path, trt: Any, tmp_path: Path) -> None:
    engines = the_engines(ort_bundle, trt)
    engines.folder.mkdir(parents=True)
    engines.file(engines.key({}, False)).symlink_to(tmp_path / "elsewhere")
    with pytest.raises(BundleError, match="leads out of its folder"):
        engines.obtain({}, False)


def test_an_engine_that_its_own_machine_refuses_is_built_once_more(ort_bundle: Path, trt: Any) -> None:
    with load(ort_bundle, "tensorrt", policy="merged"):
        pass
    trt.faults.deserialize = 1
    with load(ort_bundle, "tensorrt", policy="merged"):
        assert len(trt.builds) == 2
    trt.faults.deserialize = 2
    with pytest.raises(BackendError, match=r"TensorRT .* can't open it: .* please rebuild"):
        load(ort_bundle, "tensorrt", policy="merged")


def test_want_of_memory_is_no_reason_to_build_anew(ort_bundle: Path, trt: Any) -> None:
    load(ort_bundle, "tensorrt").close()
    trt.faults.memory = 1
    with pytest.raises(BackendError, match=r"out of memory\); too little memory: close other programs"):
        load(ort_bundle, "tensorrt", policy="refit")
    assert len(trt.builds) == 1


def test_old_merged_engines_go(ort_bundle: Path, trt: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(engines_module, "KEPT", 2)
    engines = the_engines(ort_bundle, trt)
    files = [engines.obtain({"b1": np.full(8, i, np.float32)}, False) for i in range(4)]
    assert sorted(engines.folder.glob("merged-*.engine")) == sorted(files[-2:])


def test_too_little_memory_is_told_before_the_build(
    ort_bundle: Path, trt: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(engines_module, "available_bytes", lambda *_: 8 << 20)
    expected = (
        r"8 MiB are free; an engine for 128×128 px needs 16: 0 for weights, 16 for .*export with --tile 88 or"
    )
    with pytest.raises(PlanError, match=expected):
        the_engines(ort_bundle, trt).obtain({}, False)
    assert not trt.builds


def test_too_little_room_on_the_disk_is_told_before_the_build(
    ort_bundle: Path, trt: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    from types import SimpleNamespace

    monkeypatch.setattr(preflight.shutil, "disk_usage", lambda _: SimpleNamespace(free=2 << 20))
    with pytest.raises(BackendError, match=r"has 2 MiB free; building an engine needs 64: make room"):
        the_engines(ort_bundle, trt).obtain({}, False)
    assert not trt.builds
