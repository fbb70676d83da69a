"""What ONNX Runtime's optimiser leaves in order is done on its channel blocks (NCHWc).

An N×C×H×W picture in blocks of b channels lies in memory as (N, C/b, H, W, b), and ONNX Runtime keeps the sizes N, C,
H, W for it: only its operators of the domain com.microsoft.nchwc know. So any other operator may work on such numbers
through a Reshape, which costs nothing. In an optimised graph, saved, this replaces for single pictures (N = 1):

| operators | with |
|---|---|
| order, DepthToSpace DCR, blocks | (s, s, C/b, H, W, b) → (C/b, H, s, W, s, b), whole blocks moved |
| a depthwise 1×1 convolution of ones, + y | x + y |
| order, x ∘ a per channel, blocks, 1×1 kernel W | W·diag(a), on x: W has fewer numbers than a picture |
| x + W ∗ y, sizes not known | the same, of one size by name: written over x, which is not copied first |
| m ∘ m of fewer channels than a block, order | order, m ∘ m: a norm's mean is one channel, in blocks sixteen |
| a k×k convolution to few channels, order | a product per tap, shifts, sums: runtime/ort_taps.py |

The third is exact but for rounding, since a sum of products with a·w is one of a·x with w. Weights stay the
initializers that they are, read when the graph runs: edits are seen. None of this is promised by ONNX Runtime. So each
replacement looks for exactly the operators that passes of export/ (shuffle, blocks) and the optimiser make, a
graph in which they are not found stays as it is, and golden checks compare what the graph then computes.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
from colora.runtime.onnx_file import Node, OnnxFile
from colora.runtime.onnx_write import Shape, integers, rewrite
from colora.runtime.ort_graph import Change, OptimisedGraph, operator
from colora.runtime.ort_layout import DOMAIN
from colora.runtime.ort_taps import taps

OPSET = 15
"""Whose operators are written here; graphs of an older one stay as they are."""


def use_blocks(saved: Path, file: OnnxFile, block: int) -> int:
    """Rewrite an optimised graph in place; returns how many places were.

    file: what it holds. block: channels in a block of this processor. Raises: OSError.
    """
    if file.opset < OPSET or not any(node.domain == DOMAIN for node in file.nodes):
        return 0
    graph = OptimisedGraph(file, saved.parent, block)
    count = 0
    for find in (_shuffle, _ones, _attention, _square, taps):
        for name in [node.outputs[0] for node in graph.nodes()]:
            change = find(graph, graph.made[name]) if name in graph.made else None
            if change and graph.replace(*change):
                count += 1
    if count:
        rewrite(saved, graph.nodes(), graph.constants, _sums(graph))
    return count


def _plain(conv: Node) -> bool:
    """Whether it is a product per pixel, and nothing else has become part of it."""
    steps, pads = (conv.attribute("strides") or (1, 1)), (conv.attribute("pads") or (0, 0, 0, 0))
    return (steps, pads, conv.attribute("activation")) == ((1, 1), (0, 0, 0, 0), None)


def _shuffle(graph: OptimisedGraph, node: Node) -> Change | None:
    if (node.op, node.domain, node.attribute("mode")) != ("DepthToSpace", "", "DCR"):
        return None
    order, size = graph.maker(node.inputs[0], "ReorderOutput", DOMAIN), node.attribute("blocksize")
    back = graph.only_reader(node.outputs[0], "ReorderInput", DOMAIN)
    if order is None or back is None or order.attribute("channels_last") or back.attribute("channels_last"):
        return None
    channels, b = order.attribute("channels"), graph.block
    if not isinstance(size, int) or not isinstance(channels, int) or channels % (size * size * b):
        return None
    x, out, count = order.inputs[0], back.outputs[0], channels // size**2
    new = [
        operator("Shape", [x], f"{out} size", *integers(start=2)),
        operator(
            "Concat",
            [graph.ints(size, size, count // b), f"{out} size", graph.ints(b)],
            f"{out} phases",
            *integers(axis=0),
        ),
        operator("Reshape", [x, f"{out} phases"], f"{out} apart"),
        operator("Transpose", [f"{out} apart"], f"{out} joined", *integers(perm=(2, 3, 0, 4, 1, 5))),
        operator("Mul", [f"{out} size", graph.ints(size, size)], f"{out} larger"),
        operator("Concat", [graph.ints(1, count), f"{out} larger"], f"{out} sizes", *integers(axis=0)),
        operator("Reshape", [f"{out} joined", f"{out} sizes"], out),
    ]
    return [order, node, back], new


def _ones(graph: OptimisedGraph, node: Node) -> Change | None:
    if (node.op, node.domain) != ("Conv", DOMAIN) or len(node.inputs) != 4 or node.inputs[2]:
        return None
    kernel = graph.numbers(node.inputs[1])
    group = node.attribute("group")
    if kernel.shape != (group, 1, 1, 1) or not _plain(node) or not np.all(kernel == 1):
        return None
    return [node], [operator("Add", [node.inputs[0], node.inputs[3]], node.outputs[0])]


def _attention(graph: OptimisedGraph, node: Node) -> Change | None:
    if (node.op, node.domain) != ("Mul", "") or not all(map(graph.ordered, node.inputs)):
        return None
    back = graph.only_reader(node.outputs[0], "ReorderInput", DOMAIN)
    conv = graph.only_reader(back.outputs[0], "Conv", DOMAIN) if back is not None else None
    if back is None or conv is None or back.attribute("channels_last") or not _plain(conv):
        return None
    out, into, *kernel = graph.shape(conv.inputs[1]) or (0, 0)
    if kernel != [1, 1] or conv.attribute("group") not in (None, 1) or conv.inputs[0] != back.outputs[0]:
        return None
    for picture, factor in (node.inputs, node.inputs[::-1]):
        x, a = graph.ordered(picture), graph.ordered(factor)
        if not _per_channel(graph, a):
            continue
        name, b = conv.outputs[0], graph.block
        if out % b or into % b:
            return None
        new = [
            operator("Reshape", [conv.inputs[1], graph.ints(out // b, into // b, b, b)], f"{name} kernel"),
            operator("Reshape", [a, graph.ints(1, into // b, b, 1)], f"{name} factors"),
            operator("Mul", [f"{name} kernel", f"{name} factors"], f"{name} scaled"),
            operator("Reshape", [f"{name} scaled", graph.ints(out, into, 1, 1)], f"{name} weight"),
            Node(
                conv.name,
                "Conv",
                DOMAIN,
                (x, f"{name} weight", *conv.inputs[2:]),
                conv.outputs,
                conv.attributes,
            ),
        ]
        graph.channels[f"{name} weight"] = out
        orders = [graph.made[input] for input in node.inputs if len(graph.readers[input]) == 1]
        return [*orders, node, back, conv], new
    return None


def _square(graph: OptimisedGraph, node: Node) -> Change | None:
    channels, made = node.attribute("channels"), graph.maker(node.inputs[0], "Mul")
    if (node.op, node.domain) != ("ReorderOutput", DOMAIN) or made is None or node.attribute("channels_last"):
        return None
    value, again = made.inputs
    if value != again or not isinstance(channels, int) or channels >= graph.block:
        return None
    ordered, out = f"{value} ordered", node.outputs[0]
    order = Node(ordered, node.op, DOMAIN, (value,), (ordered,), node.attributes)
    return [made, node], [order, operator("Mul", [ordered, ordered], out)]


def _per_channel(graph: OptimisedGraph, name: str) -> bool:
    """Whether a value in blocks is 1×1: a mean over the picture, or convolutions behind it."""
    while (conv := graph.maker(name, "Conv", DOMAIN)) is not None:
        if not _plain(conv) or graph.shape(conv.inputs[1])[2:] != (1, 1):
            return False
        name = conv.inputs[0]
    return graph.maker(name, "GlobalAveragePool", DOMAIN) is not None


def _sums(graph: OptimisedGraph) -> dict[str, Shape]:
    """Values that are summed on and on, by the name of their size: what comes in and what goes out are alike.

    Measured with two threads at 512×512, in one run: 0.58 of the plain session's time with these names, 0.63 without.
    """
    names: dict[str, Shape] = {}
    for node in graph.nodes():
        if (node.op, node.domain, len(node.inputs)) == ("Conv", DOMAIN, 4) and node.inputs[3]:
            kernel = node.inputs[1]
            channels = graph.channels.get(kernel) or (graph.shape(kernel) or (0,))[0]
            total = node.inputs[3]
            size = names.setdefault(total, (1, channels, f"height {total}", f"width {total}"))
            names[node.outputs[0]] = size
    return names
