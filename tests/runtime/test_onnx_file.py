"""What is read of an ONNX file is what the package onnx reads; anything else is refused by name."""

from pathlib import Path

import numpy as np
import onnx
import pytest
from colora.devices.errors import BundleError
from colora.runtime.onnx_file import Initializer, Node, read_onnx
from hypothesis import given
from hypothesis import strategies as st


@pytest.fixture
def file(tmp_path: Path) -> Path:
    model = onnx.parser.parse_model(
        '<ir_version: 8, opset_import: ["": 18, "com.microsoft.nchwc": 1]>\n'
        "g (float[1,3,h,w] x) => (float[1,300,h,w] y) {\n"
        "[first] a = Conv <pads=[1,1,1,1]> (x, weight, bias)\n"
        "[second] y = com.microsoft.nchwc.Conv (a, other, , a) }"
    )
    for name, shape in (("weight", (300, 3, 3, 3)), ("bias", (300,)), ("inside", (2, 2))):
        model.graph.initializer.append(onnx.numpy_helper.from_array(np.ones(shape, np.float32), name))
    path = tmp_path / "graph.onnx"
    onnx.save(model, path, save_as_external_data=True, location="numbers", size_threshold=64)
    return path


def test_it_is_what_onnx_reads(file: Path) -> None:
    read, expected = read_onnx(file), onnx.load(str(file), load_external_data=False).graph
    assert read.nodes == tuple(
        Node(
            n.name,
            n.op_type,
            n.domain,
            tuple(n.input),
            tuple(n.output),
            tuple(attribute.SerializeToString() for attribute in n.attribute),
        )
        for n in expected.node
    )
    assert read.nodes[1] == Node("second", "Conv", "com.microsoft.nchwc", ("a", "other", "", "a"), ("y",))
    assert read.nodes[0].attribute("pads") == (1, 1, 1, 1) and read.nodes[0].attribute("group") is None
    assert read.opset == 18
    for tensor in expected.initializer:
        place = {entry.key: entry.value for entry in tensor.external_data}
        inside = b"" if place else onnx.numpy_helper.to_array(tensor).tobytes()
        found = Initializer(
            tuple(tensor.dims),
            place.get("location", ""),
            int(place.get("offset", 0)),
            inside,
            int(place.get("length", 0)),
        )
        assert read.initializers[tensor.name] == found
    assert read.initializers["bias"].offset > 0 and read.initializers["inside"].file == ""


def test_dimensions_one_by_one_or_packed(tmp_path: Path) -> None:
    one_by_one, packed = b"\x08\x05\x08\xac\x02", b"\x0a\x03\x05\xac\x02"  # 5, 300 as field 1
    for dims in (one_by_one, packed):
        tensor = dims + b"\x42\x01w"
        graph = b"\x2a" + bytes([len(tensor)]) + tensor
        (tmp_path / "x.onnx").write_bytes(b"\x3a" + bytes([len(graph)]) + graph)
        assert read_onnx(tmp_path / "x.onnx").initializers == {"w": Initializer((5, 300), "", 0)}


@given(cut=st.integers(0, 400), flip=st.integers(0, 400), bit=st.integers(0, 7))
def test_damage_is_refused_or_read(
    tmp_path_factory: pytest.TempPathFactory, cut: int, flip: int, bit: int
) -> None:
    tensor = b"\x08\x05\x42\x01w"
    graph = (b"\x0a\x08\x0a\x01x\x12\x01y\x22\x00" + b"\x2a" + bytes([len(tensor)]) + tensor) * 8
    model = bytearray(b"\x3a" + bytes([len(graph) & 127 | 128, len(graph) >> 7]) + graph)
    model[flip % len(model)] ^= 1 << bit
    path = tmp_path_factory.mktemp("damaged") / "x.onnx"
    path.write_bytes(model[: cut or None])
    try:
        read_onnx(path)
    except BundleError as e:
        assert f"{path} can't be read as ONNX" in str(e)


def test_no_file(tmp_path: Path) -> None:
    with pytest.raises(BundleError, match=r"none\.onnx can't be read as ONNX: FileNotFoundError"):
        read_onnx(tmp_path / "none.onnx")
