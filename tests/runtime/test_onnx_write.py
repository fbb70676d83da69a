"""What is written is what the package onnx reads, and what is not named is as it was."""

from pathlib import Path

import numpy as np
import onnx
from colora.runtime.onnx_file import Node, read_onnx
from colora.runtime.onnx_write import integers, rewrite
from hypothesis import given
from hypothesis import strategies as st

TEXT = """<ir_version: 8, opset_import: ["": 18]>
g (float[1,300,h,w] x) => (float[1,300,h,w] y) <float[1,2,3] a> { a = Relu (x)\n y = Neg (a) }"""


def test_operators_constants_and_shapes(tmp_path: Path) -> None:
    path = tmp_path / "graph.onnx"
    model = onnx.parser.parse_model(TEXT)
    model.graph.initializer.append(onnx.numpy_helper.from_array(np.ones(300, np.float32), "w"))
    model.doc_string, model.producer_version = "told", "1"
    onnx.save(model, path)
    nodes = (
        *read_onnx(path).nodes[:1],
        Node("new", "Transpose", "some.domain", ("a", "", "w"), ("y",), integers(perm=(0, 3, 300), axis=129)),
    )
    constants = {"i": np.array([[1, -1]], np.int64), "f": np.array(0.5, np.float32)}
    rewrite(path, nodes, constants, {"a": (1, 300, "height", "width"), "b": (2**40,)})
    made = onnx.load(str(path))
    assert (made.graph.node[0].op_type, list(made.graph.node[0].output)) == ("Relu", ["a"])
    new = made.graph.node[1]
    assert (new.name, new.op_type, new.domain) == ("new", "Transpose", "some.domain")
    assert (list(new.input), list(new.output)) == (["a", "", "w"], ["y"])
    assert {a.name: onnx.helper.get_attribute_value(a) for a in new.attribute} == {
        "perm": [0, 3, 300],
        "axis": 129,
    }
    assert read_onnx(path).nodes == nodes
    stored = {t.name: onnx.numpy_helper.to_array(t) for t in made.graph.initializer}
    assert stored.keys() == {"w", *constants}
    assert all(np.array_equal(stored[n], x) and stored[n].dtype == x.dtype for n, x in constants.items())
    shapes = {
        v.name: [d.dim_param or d.dim_value for d in v.type.tensor_type.shape.dim]
        for v in made.graph.value_info
    }
    assert shapes == {"a": [1, 300, "height", "width"], "b": [2**40]}
    made.graph.ClearField("node")
    made.graph.ClearField("value_info")
    del made.graph.initializer[1:]
    model.graph.ClearField("node")
    model.graph.ClearField("value_info")
    assert made == model


@given(st.integers(0, 2**63 - 1))
def test_any_number(value: int) -> None:
    attribute = onnx.AttributeProto.FromString(integers(n=value)[0])
    assert (attribute.name, attribute.i, attribute.type) == ("n", value, onnx.AttributeProto.INT)
    assert Node("", "", "", (), (), integers(n=value, other=[value])).attribute("other") == (value,)
