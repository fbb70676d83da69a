"""Where ONNX Runtime's full optimisation puts each weight, so that it can be edited there.

At its highest level ONNX Runtime computes convolutions on blocks of channels (NCHWc), and reorders their kernels when
a session opens: an edit of the numbers it was given then changes nothing. But the optimised graph can be saved. There
a kernel is an initializer in blocks, of a known order:

    OIHWBiBo   (O/b, b, I/b, b, H, W) → (O/b, I/b, H, W, b, b)      convolutions
    OIHWBo     (O/b, b, I,   H, W)    → (O/b, I, H, W, b)           depthwise ones, and those of fewer than b channels

with b the block of this processor, channels (of biases too) padded with zeros to whole blocks. Of several blocks that
do not fill the last one nothing is said here: their tensors count as not found. A session opened on the
saved graph without further optimisation reads these initializers where they are: edits in that order are seen, at the
speed of a graph that can't change.

Nothing of this is promised, so it is looked up: the graph is optimised over numbers that tell their place, and a weight
counts as found if all of them are there, in one order or the other.
"""

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from colora.runtime.onnx_file import Initializer, Node, OnnxFile, read_onnx
from colora.runtime.weights import Array

BLOCKS = (16, 8)
"""Channels in a block: AVX-512 and others."""
DOMAIN = "com.microsoft.nchwc"
SUFFIX = "_nchwc"
"""Of an operator in blocks: the name of its output in order comes before."""


@dataclass(frozen=True)
class Place:
    """Where a graph tensor is in the optimised graph."""

    initializer: str
    shape: tuple[int, ...]
    """Of the initializer, channels padded."""
    block: int
    """Channels in a block; 0: in order."""
    inputs: bool
    """Whether input channels are in blocks too."""

    def view(self, buffer: Array, shape: tuple[int, ...]) -> Array:
        """The graph tensor of `shape` in the initializer's numbers: they share memory.

        Its channels may be two axes, blocks and channels in a block, so that a tensor goes in as
        `view[...] = tensor.reshape(view.shape)`.
        """
        if not self.block:
            return buffer[tuple(slice(size) for size in shape)]
        b, (o, i, h, w) = self.block, self.shape
        if self.inputs:
            view = buffer.reshape(o // b, i // b, h, w, b, b).transpose(0, 5, 1, 4, 2, 3)
            return view[:, : shape[0], :, : shape[1]]
        return buffer.reshape(o // b, i, h, w, b).transpose(0, 4, 1, 2, 3)[:, : shape[0]]


def find_layout(
    before: OnnxFile,
    shapes: Mapping[str, tuple[int, ...]],
    optimise: Callable[[Mapping[str, Array], Path], None],
    saved: Path,
) -> tuple[dict[str, Place], OnnxFile]:
    """Place of each float32 tensor of a graph that is found again in the optimised graph, and what that holds.

    Tensors that are not found are missing. before: what the graph's file holds.
    optimise: makes `saved`: the graph, fully optimised over the numbers given, which go into a file beside it.
    Raises: BundleError if a file can't be read; what `optimise` raises.
    """
    # No number twice within a tensor, and each tensor from another on: the optimiser merges what is equal.
    sizes = {name: math.prod(shape) for name, shape in shapes.items()}
    numbers = np.arange(len(sizes) + max(sizes.values(), default=0), dtype=np.float32) + np.float32(1.5)
    weights = {n: numbers[i : i + size].reshape(shapes[n]) for i, (n, size) in enumerate(sizes.items())}
    optimise(weights, saved)
    after = read_onnx(saved)
    made_by = {output: node for node in before.nodes for output in node.outputs}
    convolutions: dict[str, Node] = {}
    for node in before.nodes:  # an activation behind a convolution becomes part of it, under its own name
        for source in (node, *(made_by[name] for name in node.inputs if name in made_by)):
            if source.op == "Conv":
                convolutions.setdefault(f"{node.outputs[0]}{SUFFIX}", source)
    renamed = {}
    for node in after.nodes:
        if node.op == "Conv" and node.domain == DOMAIN and node.name in convolutions:
            for old, new in zip(convolutions[node.name].inputs[1:], node.inputs[1:3], strict=False):
                renamed[old] = new
    places = {}
    for name, tensor in weights.items():
        initializer = renamed.get(name, name)
        if initializer in after.initializers:
            place = _place(initializer, tensor, after.initializers[initializer], saved.parent)
            if place is not None:
                places[name] = place
    return places, after


def _place(name: str, tensor: Array, stored: Initializer, folder: Path) -> Place | None:
    """The order in which an initializer holds a tensor, if it is one of those known."""
    count = math.prod(stored.shape)
    if len(stored.shape) != tensor.ndim or not (stored.file or len(stored.inside) == 4 * count):
        return None
    if stored.file:
        numbers = np.fromfile(folder / stored.file, "<f4", count, offset=stored.offset)
    else:
        numbers = np.frombuffer(stored.inside, "<f4")
    numbers = numbers.reshape(stored.shape)
    for block, inputs in ((0, False), *((block, inputs) for block in BLOCKS for inputs in (True, False))):
        if block and (tensor.ndim != 4 or stored.shape[0] % block or (inputs and stored.shape[1] % block)):
            continue
        place = Place(name, stored.shape, block, inputs)
        view = place.view(numbers, tensor.shape)
        if view.size == tensor.size and np.array_equal(view, tensor.reshape(view.shape)):
            return place
    return None
