"""Which ONNX a target reads."""

from __future__ import annotations

from dataclasses import replace

import onnx
import pytest
from colora.devices.catalogue import find_device
from colora.devices.errors import GraphError
from colora.export.graph import IR_VERSION, OPSET
from colora.export.opset import check_operators, check_target, newest_opset


def graph(body: str, opset: int = OPSET, ir: int = IR_VERSION) -> onnx.ModelProto:
    text = f'<ir_version: {ir}, opset_import: ["": {opset}]> g (float[1,3] input) => (float[1,3] output) {{ {body} }}'
    return onnx.parser.parse_model(text)


@pytest.mark.parametrize(
    ("tensorrt", "opset"),
    [("8.2.1", 13), ("8.4", 17), ("8.6.2", 17), ("9.0", 19), ("10.3.0", 20), ("10.16", 24), ("7.1", 0)],
)
def test_newest_opset_of_a_tensorrt(tensorrt: str, opset: int) -> None:
    assert newest_opset(tensorrt) == opset


def test_operators_are_judged_by_when_they_last_changed() -> None:
    """The graph says opset 18; what it holds is older, so that an old parser takes it."""
    xavier = find_device("jetson-agx-xavier")
    check_target(graph("output = Relu (input)"), xavier)
    with pytest.raises(GraphError, match=r"Split is Split of opset 18"):
        check_target(
            graph("a, b = Split <axis=1, num_outputs=2> (input)\n output = Concat <axis=1> (a, b)"), xavier
        )
    check_target(
        graph("a, b = Split <axis=1, num_outputs=2> (input)\n output = Concat <axis=1> (a, b)"),
        find_device("jetson"),
    )


def test_a_device_without_jetpack_reads_everything() -> None:
    check_target(graph("output = Relu (input)", ir=99), find_device("cpu"))


def test_a_container_that_no_parser_knows() -> None:
    with pytest.raises(
        GraphError, match="reads ONNX's IR versions 3 to 10, and the graph has 11: export with IR_VERSION"
    ):
        check_target(graph("output = Relu (input)", ir=11), find_device("jetson"))


def test_the_newest_jetpack_of_a_board_counts() -> None:
    orin = find_device("jetson")
    old = replace(orin, jetpacks=orin.jetpacks[:2])
    body = "axes = Constant <value_ints=[1]> ()\n output = ReduceMean (input, axes)"
    check_target(graph(body), orin)
    with pytest.raises(GraphError, match=r"TensorRT 8\.6\.2 of JetPack 6\.0 reads operators up to opset 17"):
        check_target(graph(body), old)


def test_operators_of_onnx_itself_pass() -> None:
    check_operators(graph("output = Relu (input)"))
    with pytest.raises(GraphError, match="Gelu is no operator of ONNX's opset 18"):
        check_operators(graph("output = Gelu (input)"))
