"""What a graph computes, moves and holds, counted by hand beside."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

SIZE = 32


@pytest.fixture(scope="module")
def graph(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """3×3 convolution to 8 channels, ReLU, depthwise 3×3 with stride 2, transposed 2×2 back to 3; + input."""
    onnx = pytest.importorskip("onnx")
    helper, kind = onnx.helper, onnx.TensorProto.FLOAT
    shapes = {"w1": (8, 3, 3, 3), "w2": (8, 1, 3, 3), "w3": (8, 3, 2, 2)}
    weights = [
        helper.make_tensor(n, kind, s, [0.0] * len(range(s[0] * s[1] * s[2] * s[3])))
        for n, s in shapes.items()
    ]
    nodes = [
        helper.make_node("Conv", ["x", "w1"], ["a"], pads=[1, 1, 1, 1]),
        helper.make_node("Relu", ["a"], ["b"]),
        helper.make_node("Conv", ["b", "w2"], ["c"], pads=[1, 1, 1, 1], strides=[2, 2], group=8),
        helper.make_node("ConvTranspose", ["c", "w3"], ["d"], strides=[2, 2]),
        helper.make_node("Add", ["d", "x"], ["y"]),
    ]
    side = ["h", "w"]
    image = [helper.make_tensor_value_info(n, kind, [1, 3, *side]) for n in ("x", "y")]
    path = tmp_path_factory.mktemp("graph") / "graph.onnx"
    model = helper.make_model(helper.make_graph(nodes, "g", image[:1], image[1:], weights))
    model.ir_version = 10
    onnx.save(model, path)
    return path


def test_operations_are_those_of_the_layers(graph: Path) -> None:
    from colora.runtime.workload import graph_workload

    first, relu, depthwise = 2 * 8 * 3 * 9, 8, 2 * 8 * 9 / 4
    transposed, add = 2 * 3 * 8, 3  # each output pixel of a 2×2 stride-2 kernel has one tap
    assert (
        graph_workload(graph, "x", SIZE).operations_per_pixel == first + relu + depthwise + transposed + add
    )
    assert graph_workload(graph, "x", SIZE).products_per_pixel == first + transposed


def test_bytes_are_those_of_the_tensors(graph: Path) -> None:
    from colora.runtime.workload import graph_workload

    found = graph_workload(graph, "x", SIZE)
    assert found.weight_bytes == 4 * (8 * 3 * 9 + 8 * 9 + 8 * 3 * 4)
    x, a, b, c, d, y = (4 * n for n in (3, 8, 8, 8 / 4, 3, 3))
    assert found.fused_bytes_per_pixel == x + a + b + c + c + d
    assert found.moved_bytes_per_pixel == found.fused_bytes_per_pixel + (a + b) + (d + x + y)
    assert found.operators == (
        *((x + a, 4 * 8 * 3 * 9), (a + b, 0), (b + c, 4 * 8 * 9)),
        *((c + d, 4 * 8 * 3 * 4), (d + x + y, 0)),
    )
    assert found.activation_bytes_per_pixel == x + a + b  # at the ReLU; x is needed to the end


def test_per_pixel_figures_do_not_depend_on_the_size(graph: Path) -> None:
    from colora.runtime.workload import graph_workload

    assert graph_workload(graph, "x", 64) == graph_workload(graph, "x", 32)


def test_shapes_computed_by_the_graph_are_followed(tmp_path: Path) -> None:
    """As exporters write a pixel unshuffle: the new sides are divisions of the old, which ONNX does not propagate."""
    onnx = pytest.importorskip("onnx")
    from colora.runtime.workload import graph_workload

    helper, numpy_helper, kind = onnx.helper, onnx.numpy_helper, onnx.TensorProto.FLOAT
    constants = {"one": [1], "three": [3], "two": [2], "order": [0, 1, 3, 5, 2, 4], "twelve": [12]}
    weights = [
        numpy_helper.from_array(np.array(values, np.int64), name) for name, values in constants.items()
    ]
    weights.append(numpy_helper.from_array(np.zeros((4, 12, 1, 1), np.float32), "w"))
    nodes = [
        helper.make_node("Shape", ["x"], ["height"], start=2, end=3),
        helper.make_node("Shape", ["x"], ["width"], start=3, end=4),
        helper.make_node("Div", ["height", "two"], ["h2"]),
        helper.make_node("Div", ["width", "two"], ["w2"]),
        helper.make_node("Concat", ["one", "three", "h2", "two", "w2", "two"], ["six"], axis=0),
        helper.make_node("Reshape", ["x", "six"], ["blocks"]),
        helper.make_node("Transpose", ["blocks"], ["moved"], perm=[0, 1, 3, 5, 2, 4]),
        helper.make_node("Concat", ["one", "twelve", "h2", "w2"], ["four"], axis=0),
        helper.make_node("Reshape", ["moved", "four"], ["packed"]),
        helper.make_node("Conv", ["packed", "w"], ["y"]),
    ]
    image = [helper.make_tensor_value_info(n, kind, [1, c, "h", "w"]) for n, c in (("x", 3), ("y", 4))]
    model = helper.make_model(helper.make_graph(nodes, "g", image[:1], image[1:], weights))
    model.ir_version = 10
    onnx.save(model, tmp_path / "graph.onnx")
    found = graph_workload(tmp_path / "graph.onnx", "x", 32)
    assert found.operations_per_pixel == 2 * 4 * 12 / 4  # a quarter of the pixels
    assert found.fused_bytes_per_pixel == 4 * (12 + 4) / 4
    assert found.weight_bytes == 4 * 4 * 12 + 8 * (1 + 1 + 1 + 6 + 1)  # the file's, not what was folded


def test_a_graph_without_shapes_is_refused(tmp_path: Path) -> None:
    onnx = pytest.importorskip("onnx")
    from colora.devices.errors import BundleError
    from colora.runtime.workload import graph_workload

    helper, kind = onnx.helper, onnx.TensorProto.FLOAT
    image = [helper.make_tensor_value_info(n, kind, [1, 3, "h", "w"]) for n in ("x", "y")]
    nodes = [helper.make_node("NonZero", ["x"], ["n"]), helper.make_node("Identity", ["x"], ["y"])]
    model = helper.make_model(helper.make_graph(nodes, "g", image[:1], image[1:]))
    onnx.save(model, tmp_path / "graph.onnx")
    with pytest.raises(BundleError, match="shapes of 1 tensors can't be told at 32×32 px, first n"):
        graph_workload(tmp_path / "graph.onnx", "x", 32)
