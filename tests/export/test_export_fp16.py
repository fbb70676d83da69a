"""Export in fp16, end to end on tiny networks: what is written, how it switches, what is survived and refused."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from colora.benchmarks.amplified import amplified
from colora.devices.errors import BundleError, ImageError, ParityError, UnknownName
from colora.export import precision
from colora.export.compile import compile_graph
from colora.export.parity import graph_tensors
from colora.export.pipeline import Report, export
from colora.export.plan import make_plan
from colora.export.precision_fp16 import type_float16
from colora.export.rounding import RoundingEvaluator
from colora.runtime.bundle import open_bundle
from colora.runtime.golden import golden_input
from colora.runtime.session import load
from colora.runtime.weights import Array
from colora.train.checkpoint import arrays


@pytest.fixture(scope="module")
def half(tiny: Any, tmp_path_factory: pytest.TempPathFactory) -> Report:
    """A shared bundle in fp16 with rain and noise. Not to be changed."""
    folder = tmp_path_factory.mktemp("half")
    adapters = [tiny.write(folder, "rain", 1), tiny.write(folder, "noise", 2)]
    return export(backbone=str(tiny.file), output=folder / "b", adapters=adapters, precision="fp16")


def picture() -> Array:
    return np.random.default_rng(0).random((24, 33, 3), dtype=np.float32)


def test_bundle_says_fp16_in_manifest_graph_and_parity(half: Report, bundle: Report) -> None:
    manifest = open_bundle(half.output).manifest
    assert manifest.precision == "fp16" and manifest.image.dtype == "float32"
    cast = {name for name, steps in manifest.program.items() if steps[-1].op == "cast"}
    graph = onnx.load(half.output / "graph.onnx", load_external_data=False).graph
    halves = {
        t.name for t in graph.initializer if t.data_type == onnx.TensorProto.FLOAT16 and t.external_data
    }
    assert halves == cast and len(cast) > len(manifest.program) / 2
    # kernels, nearly all of the file, take half
    assert half.files["graph.data"] < 0.6 * bundle.files["graph.data"] + 64 * len(manifest.program)
    found = json.loads((half.output / "parity.json").read_text())["precision"]
    assert [loss["network"] for loss in found] == ["backbone", "rain", "noise"]
    assert all(loss["psnr_db"] > 60 and "rounded to float16" in loss["evaluator"] for loss in found)


def test_fp16_switches_in_place_and_back_to_the_same_bits(half: Report, bundle: Report) -> None:
    image = picture()
    with load(half.output, policy="refit") as low, load(bundle.output, policy="refit") as full:
        assert low.describe().precision == "fp16" and half.switchable == len(low.bundle.manifest.program)
        first, other = low.restore(image, "rain"), low.restore(image, "noise")
        assert np.array_equal(low.restore(image, "rain"), first)
        assert not np.array_equal(first, other)
        for task, found in (("rain", first), ("noise", other)):
            # some hundred roundings to 11 bits of numbers about 1, most of them averaged out: a percent is far off
            np.testing.assert_allclose(found, full.restore(image, task), rtol=0, atol=1e-2)


def test_amplified_network_survives_where_the_plain_conversion_does_not(tiny: Any, tmp_path: Path) -> None:
    """Activations above 256, whose squares float16 can't hold."""
    adapters = [tiny.write(tmp_path, "rain", 1)]
    plan = make_plan(backbone=str(tiny.file), output=tmp_path / "b", adapters=adapters, precision="fp16")
    compiled = compile_graph(plan)
    weights, image = arrays(tiny.module), golden_input()
    exact = tiny.run(image)
    large = amplified(weights, 1024.0)

    def run(statistics: bool, source: dict[str, Array]) -> tuple[float, tuple[str, ...]]:
        """Largest error, and the values that are infinite."""
        typed, program = type_float16(compiled.graph, compiled.program, statistics)
        evaluator, tensors = RoundingEvaluator(typed, 1), graph_tensors(program, source)
        return float(np.abs(evaluator.run(image, tensors) - exact).max()), evaluator.infinite(image, tensors)

    error, infinite = run(True, large)
    assert error < 1e-2 and not infinite  # the same function, as close as without
    error, infinite = run(False, weights)
    assert error < 1e-2 and not infinite  # the plain conversion is right as long as nothing is large
    error, infinite = run(False, large)
    assert error > 0.1 and infinite


def test_tasks_are_added_in_the_precision_of_the_bundle(nafnet: Any, tmp_path: Path) -> None:
    rain, noise = nafnet.write(tmp_path, "rain", 1), nafnet.write(tmp_path, "noise", 2)

    def add(adapter: Path, **options: Any) -> Report:
        return export(backbone=str(nafnet.file), output=tmp_path / "b", adapters=[adapter], **options)

    add(rain, precision="fp16")
    with pytest.raises(BundleError, match="a bundle in fp16, not in fp32: choose another -o"):
        add(noise, precision="fp32")
    report = add(noise)
    assert [loss.network for loss in report.losses] == ["noise"] and set(report.files) == {
        "tasks/noise.safetensors"
    }


def test_beyond_the_limit_nothing_is_written(
    nafnet: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(precision.LIMITS, "fp16", precision.Limit(110.0, 0.02))
    rain = nafnet.write(tmp_path, "rain", 1)
    text = r"backbone in fp16 gives \d+\.\d+ dB against fp32 .*expected at least 110 dB .*Nothing was written"
    with pytest.raises(ParityError, match=text):
        export(backbone=str(nafnet.file), output=tmp_path / "b", adapters=[rain], precision="fp16")
    assert not (tmp_path / "b").exists()


def test_unknown_precision_is_refused_by_name(nafnet: Any, tmp_path: Path) -> None:
    with pytest.raises(UnknownName, match="unknown precision 'fp61': did you mean fp16"):
        export(backbone=str(nafnet.file), output=tmp_path / "b", tasks=["rain"], precision="fp61")


def _write(path: Path, pixels: Array) -> None:
    from PIL import Image

    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(pixels).save(path)


COLOUR = np.random.default_rng(0).integers(0, 255, (80, 96, 3), dtype=np.uint8)


@pytest.mark.parametrize(
    ("files", "text"),
    [
        ({}, "no pictures found"),
        ({"a.png": COLOUR[..., 0]}, r"a\.png: grey; expected three channels"),
        ({"a.png": COLOUR.astype(np.uint16)[..., 0] * 256}, r"a\.png: uint16; expected 8 bits"),
        ({"a.png": COLOUR[:40]}, "a has 96×40 pixels; expected at least 64 a side"),
        ({"input/a.png": COLOUR}, "no folder target/ in it"),
        ({"input/a.png": COLOUR, "target/a.png": COLOUR}, "a: input and target are the same picture"),
    ],
)
def test_calibration_pictures_of_the_wrong_kind_are_refused_by_name(
    nafnet: Any, tmp_path: Path, files: dict[str, Array], text: str
) -> None:
    source = tmp_path / "pictures"
    source.mkdir()
    for name, pixels in files.items():
        _write(source / name, pixels)
    rain = nafnet.write(tmp_path, "rain", 1)
    with pytest.raises(ImageError, match=text):
        export(
            backbone=str(nafnet.file),
            output=tmp_path / "b",
            adapters=[rain],
            precision="fp16",
            calibrate=source,
        )
    assert not (tmp_path / "b").exists()


def test_clean_photographs_need_a_task_whose_degradation_is_known(
    make_tiny: Callable[[str, int], Any], tmp_path: Path
) -> None:
    tiny = make_tiny("nafnet-tiny", 0)
    _write(tmp_path / "pictures/a.png", COLOUR)
    adapter = tiny.write(tmp_path, "fog-of-war", 1)
    with pytest.raises(ImageError, match=r"how task 'fog-of-war' degrades them is not known .*give pairs"):
        export(
            backbone=str(tiny.file),
            output=tmp_path / "b",
            adapters=[adapter],
            precision="fp16",
            calibrate=tmp_path / "pictures",
        )
