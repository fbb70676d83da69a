"""Changes of an ONNX file, without the package onnx: other operators, more constants, shapes of values between.

What is not named here is copied byte for byte. Numbers of fields: runtime/onnx_file.py.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

import numpy as np
from colora.runtime.onnx_file import (
    ATTRIBUTE_INT,
    ATTRIBUTE_INTS,
    ATTRIBUTE_NAME,
    GRAPH_INITIALIZER,
    GRAPH_NODE,
    MODEL_GRAPH,
    NODE_ATTRIBUTE,
    NODE_DOMAIN,
    NODE_INPUT,
    NODE_NAME,
    NODE_OP,
    NODE_OUTPUT,
    TENSOR_DIMS,
    TENSOR_NAME,
    TENSOR_RAW,
    Node,
    spans,
)
from colora.runtime.weights import Array

GRAPH_VALUE = 13
TENSOR_TYPE = 2
ATTRIBUTE_TYPE = 20
INT, INTS = 2, 7
"""Kinds of attributes."""
TYPES = {"float32": 1, "int64": 7}
"""Of tensors, by numpy's names."""

Shape = Sequence[int | str]
"""Sizes; a text stands for one that is not known, alike where it is the same."""


def rewrite(
    file: Path, nodes: Iterable[Node], constants: Mapping[str, Array], shapes: Mapping[str, Shape]
) -> None:
    """Give the graph of a file other operators. Numbers in files beside it stay there.

    nodes: all of them, each behind those it reads. constants: float32 or int64, added. shapes: value between two
    operators, float32 → its shape, instead of what the file says.
    Raises: OSError.
    """
    made = []
    model = file.read_bytes()
    for number, value, span in spans(model):
        if number == MODEL_GRAPH and isinstance(value, bytes):
            graph = [value[s] for n, v, s in spans(value) if _stays(n, v, shapes)]
            graph += [_field(GRAPH_NODE, _node(node)) for node in nodes]
            graph += [_field(GRAPH_INITIALIZER, _tensor(name, array)) for name, array in constants.items()]
            graph += [_field(GRAPH_VALUE, _value(name, shape)) for name, shape in shapes.items()]
            made.append(_field(MODEL_GRAPH, b"".join(graph)))
        else:
            made.append(model[span])
    file.write_bytes(b"".join(made))


def integers(**values: int | Sequence[int]) -> tuple[bytes, ...]:
    """Attributes of a node: name → a number or a list of them, none below 0."""
    made = []
    for name, value in values.items():
        if isinstance(value, int):
            kind, content = INT, _field(ATTRIBUTE_INT, value)
        else:
            kind, content = INTS, b"".join(_field(ATTRIBUTE_INTS, x) for x in value)
        made.append(_field(ATTRIBUTE_NAME, name.encode()) + content + _field(ATTRIBUTE_TYPE, kind))
    return tuple(made)


def _stays(number: int, value: int | bytes, shapes: Mapping[str, Shape]) -> bool:
    if number != GRAPH_VALUE or not isinstance(value, bytes):
        return number != GRAPH_NODE
    names = [v for n, v, _ in spans(value) if n == 1]
    return not any(isinstance(name, bytes) and name.decode() in shapes for name in names)


def _node(node: Node) -> bytes:
    texts = [(NODE_INPUT, name) for name in node.inputs] + [(NODE_OUTPUT, name) for name in node.outputs]
    texts += [(NODE_NAME, node.name), (NODE_OP, node.op)]
    texts += [(NODE_DOMAIN, node.domain)] if node.domain else []
    fields = [_field(number, text.encode()) for number, text in texts]
    return b"".join((*fields, *(_field(NODE_ATTRIBUTE, message) for message in node.attributes)))


def _tensor(name: str, array: Array) -> bytes:
    dims = b"".join(_field(TENSOR_DIMS, size) for size in array.shape)
    numbers = np.ascontiguousarray(array, array.dtype.newbyteorder("<")).tobytes()
    kind = _field(TENSOR_TYPE, TYPES[array.dtype.name])
    return dims + kind + _field(TENSOR_NAME, name.encode()) + _field(TENSOR_RAW, numbers)


def _value(name: str, shape: Shape) -> bytes:
    """ValueInfoProto: name, type {tensor {element type, shape {dim {size or text}}}}."""
    dims = [_field(1, size) if isinstance(size, int) else _field(2, size.encode()) for size in shape]
    tensor = _field(1, TYPES["float32"]) + _field(2, b"".join(_field(1, dim) for dim in dims))
    return _field(1, name.encode()) + _field(2, _field(1, tensor))


def _field(number: int, value: int | bytes) -> bytes:
    if isinstance(value, int):
        return _varint(number << 3) + _varint(value)
    return _varint(number << 3 | 2) + _varint(len(value)) + value


def _varint(value: int) -> bytes:
    made = bytearray()
    while value > 127:
        made.append(value & 127 | 128)
        value >>= 7
    return bytes((*made, value))
