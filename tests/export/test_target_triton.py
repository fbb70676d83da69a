"""Triton model repositories: layout, versions, the picture of `restore`, and config.pbtxt as Triton reads it."""

from __future__ import annotations

import importlib.util
import shutil
import sys
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Any

import numpy as np
import pytest
from click.testing import CliRunner, Result
from colora.devices.errors import BundleError, ParityError
from colora.export import cli
from colora.export.target_triton import bundle_path, write_repository
from colora.runtime.bundle import add_task
from colora.runtime.session import load

PICTURE = np.random.default_rng(0).integers(0, 256, (24, 40, 3), np.uint8)


def export(nafnet: Any, folder: Path, *adapters: tuple[str, int], more: tuple[str, ...] = ()) -> Result:
    files = [str(nafnet.write(folder, task, seed)) for task, seed in adapters]
    given = [part for file in files for part in ("--adapter", file)]
    target = ["--target", "triton", "-o", str(folder / "models"), *more]
    return CliRunner().invoke(
        cli.command, ["--backbone", str(nafnet.file), *given, *target], catch_exceptions=False
    )


@pytest.fixture(scope="module")
def models(nafnet: Any, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A repository of rain and noise. Not to be changed."""
    folder = tmp_path_factory.mktemp("triton")
    result = export(nafnet, folder, ("rain", 1), ("noise", 2))
    assert result.exit_code == 0, result.output
    assert f"next: tritonserver --model-repository={folder / 'models'}" in result.output
    return folder / "models"


def test_layout_is_triton_s(models: Path) -> None:
    files = {
        f.relative_to(models).as_posix()
        for f in models.rglob("*")
        if f.is_file() and f.parent.name != "bundle"
    }
    assert files == {
        *("colora/config.pbtxt", "colora/1/model.py"),
        *("colora/1/bundle/tasks/rain.safetensors", "colora/1/bundle/tasks/noise.safetensors"),
        *("colora-rain/config.pbtxt", "colora-rain/1/model.onnx"),
        *("colora-noise/config.pbtxt", "colora-noise/1/model.onnx"),
    }


def test_one_task_s_model_gives_the_picture_of_restore_in_batches_too(models: Path) -> None:
    import onnxruntime as ort

    tensor = PICTURE.transpose(2, 0, 1)[None].astype(np.float32) / 255
    for task in ("rain", "noise"):
        session = ort.InferenceSession(
            str(models / f"colora-{task}/1/model.onnx"), providers=["CPUExecutionProvider"]
        )
        padded = np.pad(tensor, ((0, 0), (0, 0), (0, -24 % 4), (0, -40 % 4)))
        once, twice = session.run(None, {"input": np.concatenate([padded, padded])})[0][:, :, :24, :40]
        with load(models / "colora/1/bundle", policy="refit") as colora:
            expected = colora.restore(PICTURE.astype(np.float32) / 255, task)
        for found in (once, twice):
            # the same float32 sums in another order
            assert np.abs(np.clip(found, 0, 1).transpose(1, 2, 0) - expected).max() < 1e-5


def test_model_of_all_tasks_answers_as_restore_and_refuses_in_words(
    models: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    # what Triton's Python backend hands to model.py, as its README says
    triton = ModuleType("triton_python_backend_utils")
    triton.__dict__.update(
        get_input_tensor_by_name=lambda request, name: request.get(name),
        Tensor=lambda name, array: (name, array),
        TritonError=str,
        InferenceResponse=lambda tensors=(), error=None: SimpleNamespace(tensors=tensors, error=error),
    )
    monkeypatch.setitem(sys.modules, triton.__name__, triton)
    spec = importlib.util.spec_from_file_location("model", models / "colora/1/model.py")
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)

    def request(task: str, **more: Any) -> dict[str, Any]:
        arrays = {"image": PICTURE, "task": np.array([task.encode()], object), **more}
        return {name: SimpleNamespace(as_numpy=lambda array=array: array) for name, array in arrays.items()}

    model = module.TritonPythonModel()
    model.initialize({"model_name": "colora"})
    half = request("noise", strength=np.array([0.5], np.float32))
    rain, noise, refused = model.execute([request("rain"), half, request("fog")])
    model.finalize()
    with load(models / "colora/1/bundle") as session:
        assert np.array_equal(rain.tensors[0][1], session.restore(PICTURE, "rain"))
        assert np.array_equal(noise.tensors[0][1], session.restore(PICTURE, "noise", 0.5))
    assert rain.tensors[0][0] == "restored" and rain.error is None
    assert "unknown task 'fog'" in refused.error


def test_versions_grow_with_what_changed_alone(models: Path, nafnet: Any, tmp_path: Path) -> None:
    copy = tmp_path / "models"
    shutil.copytree(models, copy)
    assert not any(model.written for model in write_repository(copy))
    add_task(bundle_path(copy, False), nafnet.write(tmp_path, "rain", 3))
    served = {model.name: (model.version, model.written) for model in write_repository(copy)}
    assert served == {"colora": (1, False), "colora-rain": (2, True), "colora-noise": (1, False)}
    made_anew = bundle_path(copy, True)
    assert made_anew == copy / "colora/2/bundle"
    shutil.copytree(bundle_path(copy, False), made_anew)
    served = {model.name: (model.version, model.written) for model in write_repository(copy)}
    assert served == {"colora": (2, True), "colora-rain": (2, False), "colora-noise": (1, False)}
    for file in models.rglob("*.onnx"):
        assert (copy / file.relative_to(models)).read_bytes() == file.read_bytes()


def test_a_version_that_failed_is_not_the_newest(models: Path, nafnet: Any, tmp_path: Path) -> None:
    shutil.copytree(models, tmp_path / "models")
    with pytest.raises(ParityError):
        export(nafnet, tmp_path, ("rain", 1), more=("--replace", "--tolerance", "1e-12"))
    left = tmp_path / "models/colora/2/.bundle.1-0.partial"  # as a kill leaves it
    left.mkdir(parents=True, exist_ok=True)
    result = export(nafnet, tmp_path, ("rain", 3))
    assert result.exit_code == 0, result.output
    tasks = sorted(file.stem for file in (bundle_path(tmp_path / "models", False) / "tasks").iterdir())
    assert tasks == ["noise", "rain"]


def test_a_bundle_is_no_repository(models: Path, tmp_path: Path) -> None:
    with pytest.raises(BundleError, match="is a bundle, not a model repository: choose another -o"):
        bundle_path(models / "colora/1/bundle", False)
    (tmp_path / "file").touch()
    with pytest.raises(BundleError, match="is no folder: choose another -o"):
        bundle_path(tmp_path / "file", False)


def test_triton_s_own_message_reads_every_config(models: Path) -> None:
    if importlib.util.find_spec("tritonclient") is None:
        pytest.skip("tritonclient is not installed: pip install 'tritonclient[grpc]'")
    from google.protobuf import text_format
    from tritonclient.grpc.model_config_pb2 import ModelConfig

    read = {
        f.parent.name: text_format.Parse(f.read_text(), ModelConfig()) for f in models.glob("*/config.pbtxt")
    }
    assert {name: config.name for name, config in read.items()} == {name: name for name in read}
    rain, shared = read["colora-rain"], read["colora"]
    assert (rain.backend, rain.max_batch_size, list(rain.input[0].dims)) == ("onnxruntime", 8, [3, -1, -1])
    assert [(i.name, list(i.dims)) for i in shared.input] == [
        ("image", [-1, -1, 3]),
        ("task", [1]),
        ("strength", [1]),
    ]
    assert shared.backend == "python" and shared.instance_group[0].count == 1
    assert all(config.version_policy.latest.num_versions == 1 for config in read.values())
