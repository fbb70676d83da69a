"""Export, end to end on tiny networks: what is written, what is left alone, what is refused."""

from __future__ import annotations

import errno
import signal
import subprocess
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from colora.devices.errors import BundleError, CheckpointError, ParityError, UnknownName
from colora.export import pipeline
from colora.export.pipeline import Report, export
from colora.export.tensors import MergedWeights
from colora.runtime.adapter import write_adapter
from colora.runtime.bundle import open_bundle
from colora.runtime.program import run_steps
from colora.runtime.session import load
from colora.runtime.tiles import padded
from colora.runtime.weights import Array
from colora.runtime.workload import graph_workload
from colora.train.checkpoint import arrays
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

SIZES = [(16, 16), (17, 23), (40, 24), (1, 9)]


def state(folder: Path) -> dict[str, tuple[bytes, int]]:
    """File → bytes and time of change."""
    files = [file for file in folder.rglob("*") if file.is_file()]
    return {str(file.relative_to(folder)): (file.read_bytes(), file.stat().st_mtime_ns) for file in files}


def picture(height: int, width: int, seed: int = 0) -> Array:
    return np.random.default_rng(seed).random((height, width, 3), dtype=np.float32)


@pytest.fixture
def fresh(nafnet: Any, tmp_path: Path) -> Path:
    """A shared bundle with rain that a test may change."""
    return export(
        backbone=str(nafnet.file), output=tmp_path / "b", adapters=[nafnet.write(tmp_path, "rain", 1)]
    ).output


def test_bundle_has_exactly_these_files_and_opens(bundle: Report, tiny: Any) -> None:
    opened = open_bundle(bundle.output)
    assert set(bundle.files) == set(state(bundle.output)) == {
        "graph.onnx", "graph.data", "weights.safetensors", "golden.npz", "parity.json", "manifest.json",
        "tasks/noise.safetensors", "tasks/rain.safetensors",
    }  # fmt: skip
    assert opened.tasks == ("noise", "rain")
    assert opened.manifest.backbone == tiny.backbone.name
    assert opened.manifest.backbone_sha256 == tiny.sha256
    assert opened.manifest.target == "cpu"
    counted = graph_workload(opened.path / "graph.onnx", "input", opened.manifest.shapes.opt[0])
    assert opened.manifest.activation_bytes_per_pixel == counted.activation_bytes_per_pixel


@pytest.mark.parametrize("size", SIZES)
def test_session_restores_as_pytorch_does_at_any_size(
    bundle: Report, tiny: Any, size: tuple[int, int]
) -> None:
    image = picture(*size)
    with load(bundle.output, policy="refit") as session:
        manifest = session.bundle.manifest
        tensor = padded(np.ascontiguousarray(image.transpose(2, 0, 1)[None]), manifest.shapes, manifest.pad)
        for task in ("", "rain", "noise"):
            adapter = session.bundle.read_task(task) if task else None
            expected = tiny.run(tensor, adapter)[0, :, : size[0], : size[1]].transpose(1, 2, 0)
            # 1e-4 is what exports are held to; clipping only brings outputs nearer
            np.testing.assert_allclose(
                session.restore(image, task), np.clip(expected, 0, 1), rtol=0, atol=1e-4
            )


def test_a_to_b_to_a_gives_the_same_bits(bundle: Report) -> None:
    image = picture(24, 33)
    with load(bundle.output, policy="refit") as session:
        first = session.restore(image, "rain")
        other = session.restore(image, "noise")
        bare = session.restore(image)
        assert np.array_equal(session.restore(image, "rain"), first)
        assert np.array_equal(session.restore(image), bare)
        assert not np.array_equal(first, other) and not np.array_equal(first, bare)


@settings(max_examples=4, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(seed=st.integers(0, 2**31), size=st.sampled_from([0.01, 0.1]))
def test_switching_equals_exporting_the_merged_model(
    tiny: Any, bundle: Report, seed: int, size: float
) -> None:
    """The device's way (program over W0 + ΔW, open graph) against a network that was merged in PyTorch."""
    import torch
    from colora.runtime.backend_ort import OrtBackend
    from colora.runtime.golden import golden_input
    from colora.runtime.manifest import ImageConvention

    adapter = tiny.adapter("rain", seed, size)
    program = open_bundle(bundle.output).manifest.program
    weights = MergedWeights(arrays(tiny.module), adapter)
    tensors = {name: run_steps(name, steps, weights.__getitem__) for name, steps in program.items()}

    merged = tiny.backbone.build().eval()
    deltas = {
        name: torch.from_numpy(p.delta(arrays(tiny.module)[name])) for name, p in adapter.params.items()
    }
    merged.load_state_dict({name: w + deltas[name] for name, w in tiny.module.state_dict().items()})
    source = arrays(merged)
    exported = {name: run_steps(name, steps, source.__getitem__) for name, steps in program.items()}
    for name in exported:
        np.testing.assert_allclose(
            tensors[name], exported[name], rtol=1e-5, atol=1e-7
        )  # one rounding of float32 apart

    opened = OrtBackend(bundle.output / "graph.onnx", ImageConvention(), exported, True, 1)
    opened.set_weights(tensors.items())
    result = opened.run(golden_input())
    with torch.no_grad():
        expected = merged(torch.from_numpy(golden_input())).numpy()
    # float32 sums in another order; 1e-5 of the largest output
    np.testing.assert_allclose(result, expected, rtol=0, atol=1e-5 * np.abs(expected).max() + 1e-5)


def test_merged_bundle_restores_its_task_and_holds_no_adapter(
    tiny: Any, bundle: Report, tmp_path: Path
) -> None:
    adapter = tiny.write(tmp_path, "rain", 1)
    report = export(backbone=str(tiny.file), output=tmp_path / "m", adapters=[adapter], merged=True)
    assert set(report.files) == {"graph.onnx", "graph.data", "golden.npz", "parity.json", "manifest.json"}
    assert report.switchable == 0 and {case.policy for case in report.parity.cases} == {"merged"}
    image = picture(24, 40)
    with load(report.output) as merged, load(bundle.output) as shared:
        # the same weights, other kernels: fully optimised against in place
        np.testing.assert_allclose(merged.restore(image), shared.restore(image, "rain"), rtol=0, atol=1e-4)


def test_second_task_touches_nothing_else(nafnet: Any, fresh: Path, tmp_path: Path) -> None:
    before = state(fresh)
    report = export(backbone=str(nafnet.file), output=fresh, adapters=[nafnet.write(tmp_path, "noise", 2)])
    after = state(fresh)
    assert set(report.files) == {"tasks/noise.safetensors"}
    assert {case.network for case in report.parity.cases} == {"noise"}
    assert after.keys() - before.keys() == {"tasks/noise.safetensors"}
    assert {name: after[name] for name in before} == before
    with load(fresh) as session:
        assert session.tasks == ("noise", "rain")
        session.restore(picture(16, 16), "noise")  # passes its golden check


def test_other_backbone_target_or_kind_in_the_output_is_refused(
    nafnet: Any, fresh: Path, make_tiny: Callable[[str, int], Any], tmp_path: Path
) -> None:
    before = state(fresh)
    other = make_tiny("nafnet-tiny", 5)
    rain = tmp_path / "rain.safetensors"
    with pytest.raises(
        BundleError, match=r"holds backbone nafnet-tiny .*choose another -o, or pass --replace"
    ):
        export(backbone=str(other.file), output=fresh, adapters=[other.write(tmp_path / "..", "noise", 3)])
    with pytest.raises(BundleError, match="holds a bundle for cpu, not for jetson-orin-nano-8gb"):
        export(backbone=str(nafnet.file), output=fresh, adapters=[rain], target="jetson")
    with pytest.raises(BundleError, match="holds a shared bundle, to which a merged one can't be added"):
        export(backbone=str(nafnet.file), output=fresh, adapters=[rain], merged=True)
    assert state(fresh) == before


@pytest.mark.parametrize("failure", [KeyboardInterrupt(), OSError(errno.ENOSPC, "No space left on device")])
def test_kill_or_full_disk_leaves_the_previous_bundle_whole(
    nafnet: Any, fresh: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, failure: BaseException
) -> None:
    before = state(fresh)

    def fail(*_: object) -> None:
        raise failure

    monkeypatch.setattr(pipeline, "write_tensors", fail)  # half-way: the graph is written, the rest is not
    expected = KeyboardInterrupt if isinstance(failure, KeyboardInterrupt) else BundleError
    with pytest.raises(expected):
        export(
            backbone=str(nafnet.file), output=fresh, adapters=[tmp_path / "rain.safetensors"], replace=True
        )
    assert state(fresh) == before
    assert not list(fresh.parent.glob(".*partial*"))
    open_bundle(fresh)


def test_kill_9_leaves_the_previous_bundle_whole(nafnet: Any, fresh: Path, tmp_path: Path) -> None:
    before = state(fresh)
    code = f"""
import os, signal
from pathlib import Path
from colora.export import pipeline
pipeline.write_tensors = lambda *_: os.kill(os.getpid(), signal.SIGKILL)
adapter = Path({str(tmp_path / "rain.safetensors")!r})
pipeline.export(backbone={str(nafnet.file)!r}, output=Path({str(fresh)!r}), adapters=[adapter], replace=True)
"""
    killed = subprocess.run([sys.executable, "-c", code], capture_output=True, check=False)
    assert killed.returncode == -signal.SIGKILL
    assert state(fresh) == before
    assert list(fresh.parent.glob(".*partial*"))  # half of the new one was there already
    open_bundle(fresh)


def test_parity_beyond_the_tolerance_writes_nothing(nafnet: Any, tmp_path: Path) -> None:
    adapter = nafnet.write(tmp_path, "rain", 1)
    with pytest.raises(ParityError, match="more than 1e-12"):
        export(backbone=str(nafnet.file), output=tmp_path / "b", adapters=[adapter], tolerance=1e-12)
    assert not (tmp_path / "b").exists()


def test_truncated_and_foreign_adapters_are_refused(
    nafnet: Any, make_tiny: Callable[[str, int], Any], tmp_path: Path
) -> None:
    def refused(file: Path, message: str, error: type[Exception] = CheckpointError) -> None:
        with pytest.raises(error, match=message):
            export(backbone=str(nafnet.file), output=tmp_path / "b", adapters=[file])
        assert not (tmp_path / "b").exists()

    whole = nafnet.write(tmp_path, "rain", 1)
    cut = tmp_path / "cut.safetensors"
    cut.write_bytes(whole.read_bytes()[:-100])
    refused(cut, r"cut\.safetensors is truncated or damaged")
    (tmp_path / "other").mkdir()
    refused(make_tiny("nafnet-tiny", 9).write(tmp_path / "other", "rain", 1), "was trained on backbone")
    adapter = nafnet.adapter("rain", 1)
    write_adapter(cut, replace(adapter, golden_output=adapter.golden_output + np.float32(0.01)))
    refused(cut, "differs from the golden output in the file by 0.01", ParityError)
    name, param = next((n, p) for n, p in adapter.params.items() if p.kind == "dense")
    write_adapter(cut, replace(adapter, params={f"{name}.lost": param}))
    refused(cut, f"parameter {name}.lost is .*; nafnet-tiny has none of that name")


def test_names_and_requests_that_can_t_be_met(nafnet: Any, tmp_path: Path) -> None:
    rain = nafnet.write(tmp_path, "rain", 1)
    given_file = {"backbone": str(nafnet.file), "output": tmp_path / "b"}
    with pytest.raises(UnknownName, match=r"unknown task 'rian': did you mean rain"):
        export(["rian"], adapters=[rain], **given_file)
    with pytest.raises(UnknownName, match=r"unknown target 'jetsn': did you mean jetson"):
        export(adapters=[rain], target="jetsn", **given_file)
    with pytest.raises(UnknownName, match="unknown trained backbone 'nafnet-smal'"):
        export(adapters=[rain], backbone="nafnet-smal", output=tmp_path / "b")
    (tmp_path / "other").mkdir()
    other = nafnet.write(tmp_path / "other", "rain", 2)
    with pytest.raises(
        BundleError, match=r"rain\.safetensors and .*other/rain.* are both of task 'rain'.*: give one of them"
    ):
        export(adapters=[rain, other], **given_file)
    with pytest.raises(BundleError, match="no task to export"):
        export(**given_file)
    with pytest.raises(BundleError, match="a merged bundle holds one task, got rain, noise"):
        export(adapters=[rain, nafnet.write(tmp_path, "noise", 2)], merged=True, **given_file)
    (tmp_path / "b").mkdir()
    (tmp_path / "b" / "thesis.txt").write_text("all there is")
    with pytest.raises(BundleError, match="exists and is no bundle: it was left alone"):
        export(adapters=[rain], **given_file)
    assert (tmp_path / "b" / "thesis.txt").read_text() == "all there is"


def test_repeated_task_name_beside_its_file_is_one_task(nafnet: Any, tmp_path: Path) -> None:
    plan = pipeline.make_plan(
        ["rain", "rain"],
        str(nafnet.file),
        output=tmp_path / "b",
        adapters=[nafnet.write(tmp_path, "rain", 1)],
    )
    assert [task.adapter.task for task in plan.tasks] == ["rain"]
