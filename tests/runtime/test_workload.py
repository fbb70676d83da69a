"""What a graph computes, moves and holds, counted by hand beside."""

from __future__ import annotations

from pathlib import Path

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


def test_bytes_are_those_of_the_tensors(graph: Path) -> None:
    from colora.runtime.workload import graph_workload

    found = graph_workload(graph, "x", SIZE)
    assert found.weight_bytes == 4 * (8 * 3 * 9 + 8 * 9 + 8 * 3 * 4)
    x, a, b, c, d, y = (4 * n for n in (3, 8, 8, 8 / 4, 3, 3))
    assert found.fused_bytes_per_pixel == x + a + b + c + c + d
    assert found.moved_bytes_per_pixel == found.fused_bytes_per_pixel + (a + b) + (d + x + y)
    assert found.activation_bytes_per_pixel == x + a + b  # at the ReLU; x is needed to the end


def test_per_pixel_figures_do_not_depend_on_the_size(graph: Path) -> None:
    from colora.runtime.workload import graph_workload

    assert graph_workload(graph, "x", 64) == graph_workload(graph, "x", 32)


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
