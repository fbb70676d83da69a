"""Blocks of channels: what is written in their order is read back, and padded with zeros."""

from pathlib import Path

import numpy as np
import pytest
from colora.runtime.onnx_file import read_onnx
from colora.runtime.ort_layout import Place, find_layout
from hypothesis import given
from hypothesis import strategies as st


@given(
    block=st.sampled_from([0, 8, 16]),
    inputs=st.booleans(),
    out=st.integers(1, 16),
    into=st.integers(1, 16),
    blocks=st.integers(1, 3),
    kernel=st.sampled_from([(1, 1), (3, 3), (2, 1)]),
)
def test_written_is_there_and_nothing_else(
    block: int, inputs: bool, out: int, into: int, blocks: int, kernel: tuple[int, int]
) -> None:
    """Whole blocks of channels, or one that is not full."""
    out, into = (
        (min(c, block) if blocks == 1 else blocks * block for c in (out, into)) if block else (out, into)
    )
    padded = (max(out, block), max(into, block) if inputs else into, *kernel)
    place = Place("w", padded, block, inputs)
    tensor = np.random.default_rng(0).standard_normal((out, into, *kernel), np.float32)
    buffer = np.zeros(place.shape, np.float32)
    view = place.view(buffer, tensor.shape)
    view[...] = tensor.reshape(view.shape)
    assert np.array_equal(np.sort(buffer[buffer != 0]), np.sort(tensor, axis=None))
    assert np.array_equal(place.view(buffer, tensor.shape).reshape(tensor.shape), tensor)


def test_the_order_of_blocks() -> None:
    """Output channel 17 and input channel 9 of 3×1 pixels: the second block of outputs, within it the second."""
    place = Place("w", (32, 16, 3, 1), 16, True)
    tensor = np.zeros((32, 16, 3, 1), np.float32)
    tensor[17, 9, 2, 0] = 1
    buffer = np.zeros(place.shape, np.float32)
    view = place.view(buffer, tensor.shape)
    view[...] = tensor.reshape(view.shape)
    (index,) = np.flatnonzero(buffer)
    # blocks of outputs, blocks of inputs, height, width, input in its block, output in its block
    assert np.unravel_index(index, (2, 1, 3, 1, 16, 16)) == (1, 0, 2, 0, 9, 1)


@pytest.fixture
def graph(tmp_path: Path) -> Path:
    import onnx

    model = onnx.parser.parse_model(
        '<ir_version: 8, opset_import: ["": 18]> g (float[1,3,h,w] x, float[32,3,3,3] w, float[32] b, '
        "float[3,32,1,1] v, float[3] c, float[1,3,1,1] lost) => (float[1,3,h,w] y) "
        "{ a = Conv <pads=[1,1,1,1]> (x, w, b)\n r = Conv (a, v, c)\n s = Relu (r)\n n = Neg (lost)\n y = Mul (s, n) }"
    )
    for value in list(model.graph.input)[1:]:
        shape = [axis.dim_value for axis in value.type.tensor_type.shape.dim]
        model.graph.initializer.append(onnx.numpy_helper.from_array(np.zeros(shape, np.float32), value.name))
        model.graph.input.remove(value)
    path = tmp_path / "graph.onnx"
    onnx.save(model, path, save_as_external_data=True, location="graph.data", size_threshold=0)
    return tmp_path / "graph.onnx"


def test_what_the_optimiser_folded_is_missing(graph: Path) -> None:
    from colora.runtime.ort_open import save_optimised

    shapes = {"w": (32, 3, 3, 3), "b": (32,), "v": (3, 32, 1, 1), "c": (3,), "lost": (1, 3, 1, 1)}
    saved = graph.with_name("saved.onnx")
    places, _ = find_layout(
        read_onnx(graph), shapes, lambda weights, path: save_optimised(graph, weights, path), saved
    )
    assert places.keys() == {"w", "b", "v", "c"}
    block = places["w"].block
    if block:  # this processor has blocks: 3 channels are padded to one of them
        assert places["v"].shape == (block, 32, 1, 1) and places["c"].shape == (block,)
