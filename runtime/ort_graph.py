"""An optimised graph in which operators are replaced: who makes a value, who reads it, and constants."""

from __future__ import annotations

import math
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from colora.runtime.onnx_file import Node, OnnxFile
from colora.runtime.ort_layout import DOMAIN
from colora.runtime.weights import Array

Change = tuple[Sequence[Node], Sequence[Node]]
"""Operators, the last of which makes what others read, and those that make it instead."""


def operator(op: str, inputs: Sequence[str], output: str, *attributes: bytes) -> Node:
    """One of ONNX's own."""
    return Node(output, op, "", tuple(inputs), (output,), attributes)


class OptimisedGraph:
    """Operators that are replaced, constants that are added."""

    def __init__(self, file: OnnxFile, folder: Path, block: int) -> None:
        self.block = block
        self.constants: dict[str, Array] = {}
        self.channels: dict[str, int] = {}
        """Of kernels that the graph computes: their outputs."""
        self._file, self._folder = file, folder
        self.made = {node.outputs[0]: node for node in file.nodes}
        self.readers: dict[str, list[Node]] = {}
        self._read_by(file.nodes)

    def _read_by(self, nodes: Sequence[Node]) -> None:
        for node in nodes:
            for name in node.inputs:
                self.readers.setdefault(name, []).append(node)

    def nodes(self) -> list[Node]:
        return list(self.made.values())

    def replace(self, old: Sequence[Node], new: Sequence[Node]) -> bool:
        """Whether it could be: nothing but the last of `old` may be read by others."""
        names = {node.outputs[0] for node in old}
        last = old[-1].outputs[0]
        lost = names - {node.outputs[0] for node in new} - {last}
        if any(reader.outputs[0] not in names for name in lost for reader in self.readers.get(name, ())):
            return False
        for name in {name for node in old for name in node.inputs}:
            self.readers[name] = [r for r in self.readers[name] if r.outputs[0] not in names]
        self._read_by(new)
        nodes: list[Node] = []
        for name, node in self.made.items():
            if name == last:
                nodes += new
            elif name not in names:
                nodes.append(node)
        self.made = {node.outputs[0]: node for node in nodes}
        return True

    def maker(self, name: str, op: str, domain: str = "") -> Node | None:
        node = self.made.get(name)
        return node if node is not None and (node.op, node.domain) == (op, domain) else None

    def only_reader(self, name: str, op: str, domain: str = "") -> Node | None:
        readers = self.readers.get(name, [])
        return readers[0] if [(r.op, r.domain) for r in readers] == [(op, domain)] else None

    def ordered(self, name: str) -> str:
        """What a value in order was in blocks, if it is made of one; ""."""
        node = self.maker(name, "ReorderOutput", DOMAIN)
        return node.inputs[0] if node is not None and not node.attribute("channels_last") else ""

    def shape(self, name: str) -> tuple[int, ...]:
        """Of an initializer; () where there is none."""
        found = self._file.initializers.get(name)
        return found.shape if found else ()

    def numbers(self, name: str) -> Array:
        """Of a constant of float32; none where there is none or they can't be read."""
        stored, empty = self._file.initializers.get(name), np.zeros(0, np.float32)
        if stored is None:
            return empty
        count = math.prod(stored.shape)
        if stored.file:
            numbers = np.fromfile(self._folder / stored.file, "<f4", count, offset=stored.offset)
        else:
            numbers = np.frombuffer(stored.inside, "<f4") if len(stored.inside) == 4 * count else empty
        return numbers.reshape(stored.shape) if numbers.size == count else empty

    def ints(self, *values: int) -> str:
        """A constant."""
        name = f"blocks {' '.join(map(str, values))}"
        self.constants[name] = np.array(values, np.int64)
        return name
