"""Export in int8, end to end on a tiny network: what is written, what is left in float32 and named, what is refused."""

from __future__ import annotations

import json
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from colora.devices.errors import BundleError, ImageError, ParityError
from colora.export import precision, precision_int8
from colora.export.calibration import PICTURES, task_pictures
from colora.export.parity import run_module
from colora.export.passes import TARGET_PASSES
from colora.export.pipeline import Report, export
from colora.export.precision import NOT_IN, tensor_of
from colora.export.precision_int8 import quantise
from colora.export.sensitivity import Switched
from colora.runtime.backend_ort import OrtBackend
from colora.runtime.bundle import open_bundle
from colora.runtime.manifest import ImageConvention
from colora.runtime.session import load
from colora.train.checkpoint import arrays
from colora.train.photos import Pair
from PIL import Image


def make(nafnet: Any, folder: Path, task: str = "rain", **options: Any) -> Report:
    folder.mkdir(exist_ok=True)
    adapter = nafnet.write(folder, task, 1)
    return export(backbone=str(nafnet.file), output=folder / "b", adapters=[adapter], merged=True, **options)


@pytest.fixture(autouse=True)
def small_pictures(monkeypatch: pytest.MonkeyPatch) -> None:
    """What is tested here does not need many pixels."""
    monkeypatch.setattr("colora.export.calibration.SIDE", 96)
    monkeypatch.setitem(PICTURES, "int8", 2)


@pytest.fixture(scope="module")
def plain(nafnet: Any, tmp_path_factory: pytest.TempPathFactory) -> Report:
    """The same in fp32, by the passes that int8 takes."""
    kept = [name for name in TARGET_PASSES["cpu"] if name not in NOT_IN["int8"]]
    return make(nafnet, tmp_path_factory.mktemp("plain"), passes=kept)


def test_int8_bundle_restores_and_says_what_it_lost(nafnet: Any, plain: Report, tmp_path: Path) -> None:
    report = make(nafnet, tmp_path, precision="int8")
    manifest = open_bundle(report.output).manifest
    assert (manifest.precision, manifest.kind) == ("int8", "merged")
    pooled = {"encoders.0.0.sca.1", "encoders.1.0.sca.1", "decoders.0.0.sca.1", "decoders.1.0.sca.1"}
    assert {"intro", "ending"} | pooled <= {*manifest.float_layers}  # the picture itself, and one pixel
    assert set(report.files) == {"graph.onnx", "golden.npz", "parity.json", "manifest.json"}
    (found,) = json.loads((report.output / "parity.json").read_text())["precision"]
    assert found["network"] == "rain" and found["precision"] == "int8" and found["psnr_db"] > 43
    image = np.random.default_rng(0).random((48, 64, 3), dtype=np.float32)
    with load(report.output) as low, load(plain.output) as full:
        error = low.restore(image) - full.restore(image)
    # noise is not what it was calibrated on: 43 dB would be 0.007
    assert 0 < np.sqrt(np.mean(np.square(error))) < 0.02


def test_only_convolutions_read_8_bits(nafnet: Any, plain: Report, tmp_path: Path) -> None:
    """Nor does the sum at a block's end: its other operand is what a convolution made, and so may be 8 bits."""
    graph = onnx.load(make(nafnet, tmp_path, precision="int8").output / "graph.onnx").graph
    zeros = [tensor for tensor in graph.initializer if tensor.name.endswith("zero_point")]
    # asymmetric activations: what a CPU takes, finer than TensorRT's int8 around 0
    assert any(t.data_type == onnx.TensorProto.UINT8 and onnx.numpy_helper.to_array(t).any() for t in zeros)
    makers = {name: node for node in graph.node for name in node.output}
    kernels = [n for n in graph.node if n.op_type == "Conv" and n.input[1] in makers]  # quantised
    assert len(kernels) > 4 and all(
        makers[name].op_type == "DequantizeLinear" for n in kernels for name in n.input[:2]
    )
    for node in graph.node:
        if node.op_type in ("Conv", "QuantizeLinear", "DequantizeLinear"):
            continue
        for name in node.input:
            if name in makers and makers[name].op_type == "DequantizeLinear":
                assert makers[makers[makers[name].input[0]].input[0]].op_type == "Conv"


def test_half_of_the_layers_are_tried_before_it_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The limit holds with 6 of 20 left out or more; what is aimed at, with 12."""
    layers, tried = [f"layer{i}" for i in range(20)], list[int]()

    def measured(*_: Any) -> precision.Loss:
        return precision.Loss("rain", "int8", "made up", 1, 40.0 + 0.75 * tried[-1], 30.0, 30.0)

    for name, double in (
        ("_name_convolutions", lambda *_: (layers, ())),
        ("_quantise", lambda *given: tried.append(len(given[4]))),
        ("_runner", lambda _: None),
        ("measure", measured),
        ("Switched", lambda *_: None),
        ("rank", lambda *_: layers),
        ("cut", lambda *_: 12),
    ):
        monkeypatch.setattr(precision_int8, name, double)
    pairs: Any = [1, 2]
    reference: Any = None
    loss = quantise(tmp_path / "a.onnx", tmp_path / "b.onnx", "rain", reference, pairs, symmetric=False)
    assert tried == [0, 10] and loss.left == tuple(layers[:10])
    monkeypatch.setitem(precision.LIMITS, "int8", precision.Limit(50.0, 0.2))
    with pytest.raises(
        ParityError, match=r"gives 47\.50 dB .* with half of the 20 layers .* are layer0, layer1"
    ):
        quantise(tmp_path / "a.onnx", tmp_path / "b.onnx", "rain", reference, pairs, symmetric=False)


def test_pictures_are_spread_over_all_there_are(tmp_path: Path) -> None:
    for i in range(24):
        for side, level in (("input", 100), ("target", 200)):
            (tmp_path / side).mkdir(exist_ok=True)
            Image.new("RGB", (64, 64), (level, level, i)).save(tmp_path / side / f"{i:02}.png")
    taken = [int(pair.name) for pair in task_pictures("rain", tmp_path, 16, 16)]
    assert taken == [i * 3 // 2 for i in range(16)]  # two of each three


def test_windows_of_few_photographs_differ_in_place_and_draw() -> None:
    pairs = task_pictures("rain", None, 8, 16)
    assert len(pairs) == 8 and all(pair.clean.shape == (96, 96, 3) for pair in pairs)
    assert len({pair.clean.tobytes() for pair in pairs}) == len({p.degraded.tobytes() for p in pairs}) == 8
    # ranges come from every second one: of both photographs, and so does the loss
    assert {p.name for p in pairs[::2]} == {p.name for p in pairs[1::2]} == {"gates", "motorcycle"}


def test_low_light_is_measured_on_well_exposed_photographs_as_it_was_learnt(tmp_path: Path) -> None:
    numbers = np.random.default_rng(0).random((96, 96, 3)) ** 3  # of mean 1/4
    Image.fromarray(np.rint(255 * numbers).astype(np.uint8)).save(tmp_path / "a.png")
    clean = {task: task_pictures(task, tmp_path, 1, 16)[0].clean for task in ("lowlight", "rain")}
    assert abs(clean["lowlight"].mean() / 255 - 0.46) < 0.01 and abs(clean["rain"].mean() / 255 - 0.25) < 0.01


def test_ranges_and_loss_come_from_different_pictures(
    nafnet: Any, plain: Report, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What is calibrated on grey pictures must say what it does to photographs."""
    monkeypatch.setitem(precision.LIMITS, "int8", precision.Limit(0.0, 99.0))
    photos = task_pictures("rain", None, 2, 16)
    flat = [Pair("flat", np.full_like(p.clean, 100), np.full_like(p.clean, 100)) for p in photos]
    graph = plain.output / "graph.onnx"
    reference = OrtBackend(graph, ImageConvention(), {}, False, 1).run

    def loss(pairs: list[Pair]) -> float:
        return quantise(graph, tmp_path / "int8.onnx", "rain", reference, pairs, symmetric=False).psnr_db

    assert loss([flat[0], photos[1]]) + 3 < loss(photos)


def test_switches_turn_each_layer_off_and_on(nafnet: Any, plain: Report, tmp_path: Path) -> None:
    """All on is the quantised graph, all off the plain one."""
    pairs = task_pictures("rain", None, 1, 16)
    reference = partial(run_module, nafnet.module, arrays(nafnet.module))
    image = tensor_of(pairs[0])
    source, made = plain.output / "graph.onnx", tmp_path / "int8.onnx"
    switched: list[Switched] = []
    with pytest.MonkeyPatch.context() as patch:
        patch.setitem(precision.LIMITS, "int8", precision.Limit(0.0, 99.0))
        quantise(source, made, "rain", reference, pairs, symmetric=False)
        exact = OrtBackend(source, ImageConvention(), {}, False, 1).run(image)
        low = OrtBackend(made, ImageConvention(), {}, False, 1).run(image)
        model = onnx.load(made)
        convolutions = [n for n in model.graph.node if n.op_type == "Conv"]
        made_here = {name for n in model.graph.node for name in n.output}
        layers = [n.name for n in convolutions if n.input[1] in made_here]
        named = onnx.load(source)
        for node, other in zip(
            (n for n in named.graph.node if n.op_type == "Conv"), convolutions, strict=True
        ):
            node.name = other.name
        onnx.save(named, tmp_path / "named.onnx")
        switched.append(Switched(tmp_path / "named.onnx", made, layers))
    # float32 in another order
    np.testing.assert_allclose(switched[0].run(image, ()), exact, rtol=0, atol=1e-5)
    # integer kernels and rounded float32 agree but where a number lies on the edge between two steps
    assert np.mean(np.abs(switched[0].run(image, layers) - low)) < 1e-3 < np.abs(exact - low).max()


def test_sensitive_layers_are_left_in_float32_and_named(
    nafnet: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    all_on = make(nafnet, tmp_path / "a", precision="int8").losses[0].psnr_db
    monkeypatch.setitem(precision.LIMITS, "int8", precision.Limit(all_on + 1, 0.2))
    report = make(nafnet, tmp_path / "b", precision="int8")
    (loss,) = report.losses
    assert loss.left and loss.psnr_db >= all_on + 1
    assert open_bundle(report.output).manifest.float_layers == loss.left
    graph = onnx.load(report.output / "graph.onnx").graph
    makers = {name: node for node in graph.node for name in node.output}
    floats = {
        n.name for n in graph.node if n.op_type == "Conv" and n.input[1] not in makers
    }  # the kernel itself, not what Q/DQ makes of it
    assert floats == set(loss.left)


def test_limit_that_cannot_be_kept_names_the_layers_and_writes_nothing(
    nafnet: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(precision.LIMITS, "int8", precision.Limit(110.0, 0.2))
    text = r"rain in int8 gives \d+\.\d+ dB .* with half of the \d+ layers .* most sensitive are [a-z]+.*Nothing was"
    with pytest.raises(ParityError, match=text):
        make(nafnet, tmp_path, precision="int8")
    assert not (tmp_path / "b").exists()


def test_shared_bundle_is_refused(nafnet: Any, tmp_path: Path) -> None:
    with pytest.raises(BundleError, match=r"int8 is for a merged bundle.* add --merged, or export in fp16"):
        export(
            backbone=str(nafnet.file),
            output=tmp_path / "b",
            adapters=[nafnet.write(tmp_path, "rain", 1)],
            precision="int8",
        )


def test_moments_are_refused(nafnet: Any, tmp_path: Path) -> None:
    with pytest.raises(BundleError, match=r"int8 and the pass moments.* leave moments out"):
        make(nafnet, tmp_path, precision="int8", passes=["affine", "moments"])


def test_task_of_unknown_degradation_needs_pictures(nafnet: Any, tmp_path: Path) -> None:
    with pytest.raises(ImageError, match="how 'fog-of-war' degrades pictures is not known: give --calibrate"):
        make(nafnet, tmp_path, "fog-of-war", precision="int8")


def test_command_says_precision_and_refuses_a_shared_bundle(nafnet: Any, tmp_path: Path) -> None:
    from click.testing import CliRunner
    from colora.export.cli import command

    adapter = nafnet.write(tmp_path, "rain", 1)
    options = [
        "--backbone",
        str(nafnet.file),
        "--adapter",
        str(adapter),
        "-o",
        str(tmp_path / "b"),
        "--dry-run",
    ]
    planned = CliRunner().invoke(command, [*options, "--precision", "int8", "--merged"])
    assert planned.exit_code == 0 and "(merged, int8)" in planned.output
    assert "graph.onnx" in planned.output and "graph.data" not in planned.output
    refused = CliRunner().invoke(command, [*options, "--precision", "int8"])
    assert isinstance(refused.exception, BundleError) and "add --merged" in str(refused.exception)
    unknown = CliRunner().invoke(command, [*options, "--precision", "fp8"])
    assert unknown.exit_code == 2 and "'fp8' is not one of 'fp32', 'fp16', 'int8'" in unknown.output
