"""Operators and initializers of an ONNX file, without the package onnx: names and places, no numbers of weights.

ONNX is protobuf: a message is a row of fields, each a number, a kind and a value (protobuf.dev, "Encoding"). Only the
few fields that are read here have a name below, by onnx.proto of ONNX IR version 3 and later.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from colora.devices.errors import BundleError

MODEL_GRAPH, MODEL_OPSET = 7, 8
OPSET_DOMAIN, OPSET_VERSION = 1, 2
GRAPH_NODE, GRAPH_INITIALIZER = 1, 5
NODE_ATTRIBUTE = 5
NODE_TEXTS = NODE_INPUT, NODE_OUTPUT, NODE_NAME, NODE_OP, NODE_DOMAIN = 1, 2, 3, 4, 7
TENSOR_DIMS, TENSOR_FLOATS, TENSOR_NAME, TENSOR_RAW, TENSOR_EXTERNAL = 1, 4, 8, 9, 13
ENTRY_KEY, ENTRY_VALUE = 1, 2
ATTRIBUTE_NAME, ATTRIBUTE_INT, ATTRIBUTE_TEXT, ATTRIBUTE_INTS = 1, 3, 4, 8


@dataclass(frozen=True)
class Node:
    """An operator. An input that is left out is ""."""

    name: str
    op: str
    domain: str
    inputs: tuple[str, ...]
    outputs: tuple[str, ...]
    attributes: tuple[bytes, ...] = ()
    """each as its message"""

    def attribute(self, name: str) -> int | str | tuple[int, ...] | None:
        """A number, a text or a list of numbers; None where it is missing or of another kind."""
        sought = name.encode()
        for message in self.attributes:
            if sought not in message:  # most; reading them takes long
                continue
            fields: dict[int, list[int | bytes]] = {}
            for number, value in _fields(message):
                fields.setdefault(number, []).append(value)
            if fields.get(ATTRIBUTE_NAME) != [sought]:
                continue
            if ATTRIBUTE_INT in fields:
                return _signed(fields[ATTRIBUTE_INT][0])
            if ATTRIBUTE_TEXT in fields:
                return _message(fields[ATTRIBUTE_TEXT][0]).decode()
            if ATTRIBUTE_INTS in fields:
                return tuple(
                    _signed(x)
                    for value in fields[ATTRIBUTE_INTS]
                    for x in ([value] if isinstance(value, int) else _varints(value))
                )
        return None


@dataclass(frozen=True)
class Initializer:
    """A stored tensor, and where its numbers are."""

    shape: tuple[int, ...]
    file: str
    """beside the ONNX file; "" where the numbers are inside it"""
    offset: int
    """in bytes"""
    inside: bytes = b""
    """the numbers, where they are inside; little-endian"""
    size_bytes: int = 0
    """of those beside it, where that is said"""


@dataclass(frozen=True)
class OnnxFile:
    """The graph of a file, without those inside its operators."""

    nodes: tuple[Node, ...]
    initializers: dict[str, Initializer]
    opset: int = 0
    """version of ONNX's own operators"""


def read_onnx(path: Path) -> OnnxFile:
    """Raises: BundleError if the file can't be read or is no ONNX."""
    try:
        model = list(_fields(path.read_bytes()))
        graphs = [value for number, value in model if number == MODEL_GRAPH]
        opsets = dict(_opset(_message(value)) for number, value in model if number == MODEL_OPSET)
        fields = list(_fields(_message(graphs[0])))
        nodes = tuple(_node(_message(value)) for number, value in fields if number == GRAPH_NODE)
        stored = dict(
            _initializer(_message(value)) for number, value in fields if number == GRAPH_INITIALIZER
        )
    except (OSError, ValueError, IndexError) as e:
        raise BundleError(f"{path} can't be read as ONNX: {type(e).__name__}: {e}") from e
    return OnnxFile(nodes, stored, opsets.get("", 0))


def _opset(message: bytes) -> tuple[str, int]:
    domain, version = "", 0
    for number, value in _fields(message):
        if number == OPSET_DOMAIN:
            domain = _message(value).decode()
        elif number == OPSET_VERSION and isinstance(value, int):
            version = value
    return "" if domain == "ai.onnx" else domain, version


def _node(message: bytes) -> Node:
    texts: dict[int, list[str]] = {number: [] for number in NODE_TEXTS}
    attributes = []
    for number, value in _fields(message):
        if number in texts:
            texts[number].append(_message(value).decode())
        elif number == NODE_ATTRIBUTE:
            attributes.append(_message(value))
    name, op, domain = ("".join(texts[number]) for number in (NODE_NAME, NODE_OP, NODE_DOMAIN))
    return Node(name, op, domain, tuple(texts[NODE_INPUT]), tuple(texts[NODE_OUTPUT]), tuple(attributes))


def _initializer(message: bytes) -> tuple[str, Initializer]:
    name, shape, external, inside = "", [], {}, b""
    for number, value in _fields(message):
        if number == TENSOR_NAME:
            name = _message(value).decode()
        elif number == TENSOR_DIMS:  # one by one, or packed
            shape += [value] if isinstance(value, int) else list(_varints(value))
        elif number in (TENSOR_RAW, TENSOR_FLOATS):
            inside = _message(value)
        elif number == TENSOR_EXTERNAL:
            entry = {n: _message(v).decode() for n, v in _fields(_message(value))}
            external[entry[ENTRY_KEY]] = entry.get(ENTRY_VALUE, "")
    file, offset, size = (
        external.get("location", ""),
        external.get("offset", "0"),
        external.get("length", "0"),
    )
    return name, Initializer(tuple(shape), file, int(offset), inside, int(size))


def _fields(message: bytes) -> Iterator[tuple[int, int | bytes]]:
    """Number and value of each field. Raises: ValueError, IndexError where the bytes are no message."""
    for number, value, _ in spans(message):
        yield number, value


def spans(message: bytes) -> Iterator[tuple[int, int | bytes, slice]]:
    """The same, and where in the message the field is, number and kind included."""
    at, end = 0, len(message)
    while at < end:
        begin, tag, at = at, message[at], at + 1
        if tag > 127:  # rare, and a call takes as long as the rest
            tag, at = _varint(message, begin)
        kind = tag & 7
        if kind == 2:
            size, at = message[at], at + 1
            if size > 127:
                size, at = _varint(message, at - 1)
        elif kind == 0:
            value, at = _varint(message, at)
            yield tag >> 3, value, slice(begin, at)
            continue
        elif kind in (1, 5):
            size = 8 if kind == 1 else 4
        else:
            raise ValueError(f"a field of kind {kind} at byte {at}")
        if at + size > end:
            raise ValueError(f"a field of {size} bytes at byte {at} of {end}")
        yield tag >> 3, message[at : at + size], slice(begin, at + size)
        at += size


def _varint(message: bytes, at: int) -> tuple[int, int]:
    """A number of seven bits a byte, and where the next begins."""
    value = shift = 0
    while True:
        byte = message[at]
        value, shift, at = value | (byte & 127) << shift, shift + 7, at + 1
        if byte < 128:
            return value, at


def _varints(packed: bytes) -> Iterator[int]:
    at = 0
    while at < len(packed):
        value, at = _varint(packed, at)
        yield value


def _signed(value: int | bytes) -> int:
    """A number of ONNX, which has 64 bits and a sign."""
    if not isinstance(value, int):
        raise ValueError(f"{len(value)} bytes where a number was expected")
    return value - (value >> 63 << 64)


def _message(value: int | bytes) -> bytes:
    if isinstance(value, int):
        raise ValueError(f"a number, {value}, where text or a message was expected")
    return value
