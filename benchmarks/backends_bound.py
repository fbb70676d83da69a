"""How fast a network's convolutions could be on this machine if each is run by itself: a roofline.

A convolution takes at least its arithmetic at the rate of the fastest matrix product, and at least a copy of as many
bytes as it reads and writes once. What stands between convolutions, their order in memory and the corners of pictures
count as free, and the copy finds its bytes in the cache as far as they fit: nothing that runs convolutions one by one
is faster. Only two of them made one, so that what is between them never leaves the registers, could be.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import cache
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import onnx

NUMBER = 4
"""Bytes of a float32."""
COPIES = 7
"""The fastest of so many counts."""


@dataclass(frozen=True)
class Bound:
    """Of the convolutions of one kind; times in ms."""

    count: int = 0
    flops: int = 0
    bytes: int = 0
    """read and written"""
    ms_arithmetic: float = 0.0
    ms_memory: float = 0.0
    ms: float = 0.0
    """for each convolution the longer of the two"""

    def __add__(self, other: Bound) -> Bound:
        return Bound(*(a + b for a, b in zip(vars(self).values(), vars(other).values(), strict=True)))


def bounds(model: onnx.ModelProto, gflops: float, copy_ms: Callable[[int], float]) -> dict[str, Bound]:
    """Kind (`1×1`, `3×3, depthwise`, …) → what its convolutions take at least.

    model: of fixed shapes. gflops: of the fastest product, 10⁹ operations a second, a product with its sum being two.
    copy_ms: time in ms in which so many bytes are read and written together.
    """
    import onnx

    graph = onnx.shape_inference.infer_shapes(model).graph
    shapes = {
        value.name: tuple(axis.dim_value for axis in value.type.tensor_type.shape.dim)
        for value in (*graph.input, *graph.value_info, *graph.output)
    } | {tensor.name: tuple(tensor.dims) for tensor in graph.initializer}
    found: dict[str, Bound] = {}
    for node in graph.node:
        if node.op_type != "Conv":
            continue
        kernel, output = shapes[node.input[1]], shapes[node.output[0]]
        moved = NUMBER * sum(math.prod(shapes[name]) for name in (*node.input, *node.output) if name)
        flops = 2 * math.prod(output) * math.prod(kernel[1:])
        arithmetic, memory = flops / gflops / 1e6, copy_ms(moved)
        depthwise = ", depthwise" if kernel[1] == 1 < kernel[0] == shapes[node.input[0]][1] else ""
        kind = f"{kernel[2]}×{kernel[3]}{depthwise}"
        one = Bound(1, flops, moved, arithmetic, memory, max(arithmetic, memory))
        found[kind] = found.get(kind, Bound()) + one
    return found


def copies(threads: int) -> Callable[[int], float]:
    """The time in ms of torch's copy that reads and writes so many bytes together. threads: 0 for torch's choice."""
    import torch

    if threads:
        torch.set_num_threads(threads)

    @cache
    def copy_ms(moved: int) -> float:
        source = torch.ones(max(1, moved // 2 // NUMBER))
        target, times = torch.empty_like(source), []
        for _ in range(COPIES):
            begin = time.perf_counter()
            target.copy_(source)
            times.append(time.perf_counter() - begin)
        return 1e3 * min(times)

    return copy_ms


def told(found: Mapping[str, Bound]) -> list[tuple[str, ...]]:
    """Heading and lines of a table, the last of all kinds together."""
    lines: list[tuple[str, ...]] = [
        ("convolutions", "n", "GFLOP", "MB", "arithmetic, ms", "memory, ms", "at least, ms", "% of product")
    ]
    for kind, x in {**found, "all": sum(found.values(), Bound())}.items():
        numbers = (x.flops / 1e9, x.bytes / 1e6, x.ms_arithmetic, x.ms_memory, x.ms)
        share = 100 * x.ms_arithmetic / x.ms if x.ms else 0.0
        lines.append((kind, str(x.count), *(f"{value:.2f}" for value in numbers), f"{share:.0f}"))
    return lines
