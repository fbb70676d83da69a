"""The last convolution of a network, from many channels to three, without the channels that fill its block.

ONNX Runtime makes whole blocks of b channels, so a k×k convolution to o of them costs b/o times its arithmetic. Here:

    W ∗ x  =  Σ_t shift_t(W_t · x)        t < k² the taps, W_t the o×C product of one tap

One 1×1 convolution makes W_t · x for all taps, o·k² channels (27 of 32 for NAFNet); a depthwise k×k convolution with a
single 1 in each kernel shifts them, zeros coming in as padding does; and a 1×1 convolution of ones adds them up. Exact
but for rounding. The 1×1 kernel is arranged from W, a few thousand numbers, when it runs: edits of W are seen.
nafnet-small at 256×256, one thread, processor time: 0.986 of without.
"""

from __future__ import annotations

import numpy as np
from colora.runtime.onnx_file import Node
from colora.runtime.onnx_write import integers
from colora.runtime.ort_graph import Change, OptimisedGraph, operator
from colora.runtime.ort_layout import DOMAIN
from colora.runtime.weights import Array

WORTH = 2
"""So many times the products have to become fewer, since there are two more pictures to write and read."""


def taps(graph: OptimisedGraph, node: Node) -> Change | None:
    """`node` puts what a k×k convolution makes in order."""
    conv, o = graph.maker(node.inputs[0], "Conv", DOMAIN), node.attribute("channels")
    if (node.op, node.domain) != ("ReorderOutput", DOMAIN) or conv is None or not isinstance(o, int):
        return None
    out, into, k, *_ = graph.shape(conv.inputs[1]) or (0, 0, 0)
    b, count = graph.block, k * k
    rows = -(-o * count // b) * b
    if out != b or into % b or WORTH * rows * (into + count + b) > count * into * b:
        return None
    alike = (
        conv.attribute("kernel_shape") in (None, (k, k)),
        conv.attribute("pads") == (k // 2,) * 4,
        conv.attribute("strides") in (None, (1, 1)),
        conv.attribute("dilations") in (None, (1, 1)),
        conv.attribute("group") in (None, 1),
        conv.attribute("activation") is None,
        len(conv.inputs) < 4,
        k % 2 == 1,
    )
    if not all(alike):
        return None
    name = conv.outputs[0]
    shifts, sums = f"taps {k} {o} shifts", f"taps {k} {o} sums"
    graph.constants[shifts] = _shifts(count, o, rows, b).reshape(rows, 1, k, k)
    graph.constants[sums] = _sums(count, o, rows, b)
    new = [
        operator(
            "Reshape", [conv.inputs[1], graph.ints(into // b, count, b, b)], f"{name} kernel"
        ),  # C/b, t, C, o
        operator("Slice", [f"{name} kernel", graph.ints(0), graph.ints(o), graph.ints(3)], f"{name} used"),
        operator("Transpose", [f"{name} used"], f"{name} by tap", *integers(perm=(1, 3, 0, 2))),
        operator("Reshape", [f"{name} by tap", graph.ints(count * o, into)], f"{name} products"),
        operator(
            "Concat", [f"{name} products", f"taps {k} {o} {into} rest"], f"{name} rows", *integers(axis=0)
        ),
        operator("Reshape", [f"{name} rows", graph.ints(rows // b, b, into // b, b)], f"{name} ordered"),
        operator("Transpose", [f"{name} ordered"], f"{name} blocks", *integers(perm=(0, 2, 3, 1))),
        operator("Reshape", [f"{name} blocks", graph.ints(rows, into, 1, 1)], f"{name} weight"),
        _conv([conv.inputs[0], f"{name} weight"], f"{name} taps"),
        _conv(
            [f"{name} taps", shifts],
            f"{name} shifted",
            *integers(group=rows, kernel_shape=(k, k), pads=(k // 2,) * 4),
        ),
        _conv([f"{name} shifted", sums, *conv.inputs[2:]], name),
        node,
    ]
    graph.constants[f"taps {k} {o} {into} rest"] = np.zeros((rows - count * o, into), np.float32)
    graph.channels[f"{name} weight"] = rows
    return [conv, node], new


def _conv(inputs: list[str], output: str, *attributes: bytes) -> Node:
    return Node(output, "Conv", DOMAIN, tuple(inputs), (output,), attributes)


def _shifts(count: int, o: int, rows: int, b: int) -> Array:
    """Kernels of the depthwise convolution: channel t·o + c has a 1 at tap t. In blocks: (rows/b, taps, b)."""
    ones = np.zeros((rows, count), np.float32)
    ones[: count * o] = np.repeat(np.eye(count, dtype=np.float32), o, axis=0)
    return np.ascontiguousarray(ones.reshape(rows // b, b, count).transpose(0, 2, 1))


def _sums(count: int, o: int, rows: int, b: int) -> Array:
    """Kernel that adds channels t·o + c to channel c. In blocks (1, rows/b, b, b), the last of which is c's."""
    ones = np.zeros((rows, b), np.float32)
    ones[: count * o, :o] = np.tile(np.eye(o, dtype=np.float32), (count, 1))
    return ones.reshape(b, rows, 1, 1)
