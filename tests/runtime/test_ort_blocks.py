"""Operators on channel blocks: each form is found, gives what it gave before, and anything a little different stays."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from colora.runtime.backend_ort import OrtBackend
from colora.runtime.manifest import ImageConvention
from colora.runtime.onnx_file import read_onnx
from colora.runtime.ort_blocks import use_blocks
from colora.runtime.ort_layout import find_layout
from colora.runtime.ort_open import save_optimised
from colora.runtime.weights import Array

C = 32
NODES = {
    "first": "f = Conv <pads=[1,1,1,1]> (input, w0)",
    "second": "g = Conv (f, w1)",
    "pool": "p = GlobalAveragePool (g)",
    "attention": "a = Conv (p, w1, b1)",
    "attended": "sa = Mul (g, a)",
    "third": "y = Conv (sa, w2)",
    "sum": "z = Add (f, y)",
    "up": "u = Conv (z, w3)",
    "shuffle": 'ds = DepthToSpace <blocksize=2, mode="DCR"> (u)',
    "through": f"t = Conv <group={C}> (ds, ones)",
    "skip": "k = ConvTranspose <kernel_shape=[2,2], strides=[2,2]> (input, wt)\n kc = Conv (k, w4)\n kk = Relu (kc)",
    "skipped": "o = Add (kk, t)",
    "last": "output = Conv (o, w5)",
}
SHAPES = {
    "w0": (C, 3, 3, 3), "w1": (C, C, 1, 1), "b1": (C,), "w2": (C, C, 1, 1), "w3": (4 * C, C, 1, 1),
    "wt": (3, 3, 2, 2), "w4": (C, 3, 1, 1), "w5": (3, C, 1, 1),
}  # fmt: skip
CONSTANTS = {
    "ones": np.ones((C, 1, 1, 1), np.float32),
}
RNG = np.random.default_rng(0)
WEIGHTS = {
    n: RNG.standard_normal(s, np.float32) / np.float32(np.sqrt(np.prod(s[1:]))) for n, s in SHAPES.items()
}
IMAGE = RNG.random((1, 3, 8, 12), np.float32)
CLOSE = {"rtol": 1e-4, "atol": 1e-5}
"""Five sums of at most 32·9 products, in another order: some roundings of 6e-8 each."""


def write(folder: Path, changed: Mapping[str, str], constants: Mapping[str, Array]) -> Path:
    """The graph with some of NODES written otherwise; weights and constants in a file beside it."""
    body = "\n ".join((NODES | changed).values())
    initializers = WEIGHTS | CONSTANTS | constants
    model = onnx.parser.parse_model(
        '<ir_version: 8, opset_import: ["": 18]> g (float[n,3,8,12] input) => (float[n,3,16,24] output) {\n '
        + body
        + "}"
    )
    for name, numbers in initializers.items():
        model.graph.initializer.append(onnx.numpy_helper.from_array(numbers, name))
    path = folder / "graph.onnx"
    onnx.save(model, path, save_as_external_data=True, location="graph.data", size_threshold=0)
    return path


def run(file: Path) -> Any:
    import onnxruntime as ort

    options = ort.SessionOptions()
    options.graph_optimization_level = ort.GraphOptimizationLevel.ORT_DISABLE_ALL
    return ort.InferenceSession(str(file), options).run(None, {"input": IMAGE})[0]


def rewritten(graph: Path) -> tuple[int, Path]:
    """Places that were rewritten in the optimised graph, and its file."""
    saved = graph.with_name("saved.onnx")
    shapes = {name: tensor.shape for name, tensor in WEIGHTS.items()}

    def optimise(weights: Mapping[str, Array], path: Path) -> None:
        save_optimised(graph, weights, path)

    places, _ = find_layout(read_onnx(graph), shapes, optimise, saved)
    block = max(place.block for place in places.values())
    if not block:
        pytest.skip("this processor has no channel blocks")
    save_optimised(graph, WEIGHTS, saved)
    return use_blocks(saved, read_onnx(saved), block), saved


def read_block(saved: Path) -> int:
    """Channels in a block of this processor: the fewest that a convolution of an optimised graph makes."""
    file = read_onnx(saved)
    kernels = [file.initializers.get(n.inputs[1]) for n in file.nodes if n.op == "Conv" and n.domain]
    return min(kernel.shape[0] for kernel in kernels if kernel)


def test_all_three_are_found_and_nothing_changes(tmp_path: Path) -> None:
    graph = write(tmp_path, {}, {})
    expected = run(graph)
    count, saved = rewritten(graph)
    assert count == 3  # the shuffle, the convolution of ones behind it, attention
    operators = [node.op for node in read_onnx(saved).nodes]
    assert "DepthToSpace" not in operators and "Transpose" in operators
    np.testing.assert_allclose(run(saved), expected, **CLOSE)


@pytest.mark.parametrize(
    ("side", "outputs", "written", "count"),
    [
        (3, 3, "pads=[1,1,1,1]", 4),
        (3, 2, "pads=[1,1,1,1]", 4),
        (3, 9, "pads=[1,1,1,1]", 3),  # 81 channels of products: not worth it
        (3, 3, "pads=[2,2,2,2], dilations=[2,2]", 3),
        (2, 3, "pads=[0,0,1,1]", 3),
        (1, 3, "pads=[0,0,0,0]", 3),
    ],
)
def test_a_convolution_to_few_channels_is_made_tap_by_tap(
    side: int, outputs: int, written: str, count: int, tmp_path: Path
) -> None:
    kernel = RNG.standard_normal((outputs, C, side, side), np.float32) / C
    bias, mix = RNG.standard_normal(outputs, np.float32), RNG.standard_normal((3, outputs, 1, 1), np.float32)
    few = f"of = Conv <{written}> (o, few, bias)\n oc = Cos (of)"
    last = {"last": f"o1 = Conv (o, w5)\n {few}\n o2 = Conv (oc, mix)\n output = Add (o1, o2)"}
    graph = write(tmp_path, last, {"few": kernel, "bias": bias, "mix": mix})
    expected = run(graph)
    found, saved = rewritten(graph)
    if count == 4 and read_block(saved) != 16:
        count = 3  # narrower blocks have less to fill
    assert found == count
    np.testing.assert_allclose(run(saved), expected, **CLOSE)


@pytest.mark.parametrize(
    ("channels", "product", "count"),
    [(1, "Mul (m, m)", 4), (2, "Mul (m, m)", 4), (C, "Mul (m, m)", 3), (1, "Mul (m, n)", 3)],
)
def test_a_square_of_few_channels_is_made_in_order(
    channels: int, product: str, count: int, tmp_path: Path
) -> None:
    mean = RNG.standard_normal((channels, C, 1, 1), np.float32) / C
    wide = RNG.standard_normal((C, channels, 1, 1), np.float32)
    norm = f"m = Conv (f, mean)\n n = Conv (g, mean)\n mm = {product}\n mc = Cos (mm)\n mw = Conv (mc, wide)"
    third = {"third": f"y1 = Conv (sa, w2)\n {norm}\n y = Add (y1, mw)"}
    graph = write(tmp_path, third, {"mean": mean, "wide": wide})
    expected = run(graph)
    found, saved = rewritten(graph)
    assert found == count
    np.testing.assert_allclose(run(saved), expected, **CLOSE)


@pytest.mark.parametrize(
    ("changed", "constants", "count"),
    [
        ({"shuffle": 'ds = DepthToSpace <blocksize=2, mode="CRD"> (u)'}, {}, 2),
        ({}, {"ones": np.full((C, 1, 1, 1), 2, np.float32)}, 2),
        ({"pool": "p = MaxPool <kernel_shape=[8,12]> (g)"}, {}, 2),  # one pixel too, but only of this size
        ({"attended": "sa = Mul (g, f)"}, {}, 2),
        ({"third": "y1 = Conv (sa, w2)\n y2 = Relu (sa)\n y = Add (y1, y2)"}, {}, 2),
        ({"third": "yy = Conv <pads=[1,1,1,1]> (sa, w2)\n y = AveragePool <kernel_shape=[3,3]> (yy)"}, {}, 2),
    ],
)  # fmt: skip
def test_what_is_a_little_different_stays(
    changed: dict[str, str], constants: dict[str, Array], count: int, tmp_path: Path
) -> None:
    graph = write(tmp_path, changed, constants)
    expected = run(graph)
    found, saved = rewritten(graph)
    assert found == count
    np.testing.assert_allclose(run(saved), expected, **CLOSE)


def test_an_older_opset_stays(tmp_path: Path) -> None:
    graph = write(tmp_path, {}, {})
    model = onnx.load(str(graph))
    model.opset_import[0].version = 14
    onnx.save(model, graph, save_as_external_data=True, location="old.data", size_threshold=0)
    before = rewritten(graph)
    assert before[0] == 0


def test_edits_are_seen_and_batches_taken_apart(tmp_path: Path) -> None:
    backend = OrtBackend(write(tmp_path, {}, {}), ImageConvention(), WEIGHTS, True, 1)
    edited = WEIGHTS | {"w2": -WEIGHTS["w2"], "w3": 2 * WEIGHTS["w3"]}
    before = backend.run(IMAGE)
    backend.set_weights([(name, edited[name]) for name in ("w2", "w3")])
    other = OrtBackend(tmp_path / "graph.onnx", ImageConvention(), edited, False, 1)
    assert np.array_equal(backend.run(IMAGE), other.run(IMAGE))
    assert not np.allclose(before, backend.run(IMAGE), **CLOSE)
    both = backend.run(np.concatenate([IMAGE, 1 - IMAGE]))
    assert np.array_equal(both[1:], backend.run(1 - IMAGE)) and len(both) == 2


def test_edits_of_a_kernel_that_is_made_tap_by_tap_are_seen(tmp_path: Path) -> None:
    few, mix = (
        RNG.standard_normal((3, C, 3, 3), np.float32) / C,
        RNG.standard_normal((3, 3, 1, 1), np.float32),
    )
    last = "o1 = Conv (o, w5)\n of = Conv <pads=[1,1,1,1]> (o, few)\n oc = Cos (of)\n o2 = Conv (oc, mix)"
    graph = write(tmp_path, {"last": f"{last}\n output = Add (o1, o2)"}, {"few": few, "mix": mix})
    weights, edited = WEIGHTS | {"few": few}, WEIGHTS | {"few": few[::-1].copy()}
    backend = OrtBackend(graph, ImageConvention(), weights, True, 1)
    before = backend.run(IMAGE)
    backend.set_weights([("few", edited["few"])])
    after = OrtBackend(graph, ImageConvention(), edited, False, 1).run(IMAGE)
    assert np.array_equal(backend.run(IMAGE), after) and not np.allclose(before, after, **CLOSE)


def test_a_graph_that_can_not_change_is_rewritten_too(tmp_path: Path) -> None:
    graph = write(tmp_path, {}, {})
    backend = OrtBackend(graph, ImageConvention(), {}, False, 1)
    np.testing.assert_allclose(backend.run(IMAGE), run(graph), **CLOSE)
    assert backend.run(np.concatenate([IMAGE, IMAGE])).shape == (2, 3, 16, 24)
    assert (backend._single, len(backend.lend())) == (True, 0)
