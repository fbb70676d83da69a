"""A graph tensor under a mixture as F∘(W0 + D) + L·R, computed block by block of rows.

Steps of the weight program on one parameter, W0 + D + B·A with D the dense changes and B·A those of low rank, keep that
form, so that a switch reads W0 once and writes the result once; what comes between stays in the cache, and all that is
small is computed once for a task:

| step | F | L·R |
|---|---|---|
| `param` | 1 | B·A |
| `scale_in γ` | γ along input channels | B·(A∘γ) |
| `center_in` of 1×1 | | [B, −m]·[A∘γ less its mean over input channels; 1], m the means of rows of F∘(W0+D) |
| `scale_out s`, without `scale_in` | s along output channels | (s∘B)·A |
| `slice_out i j` | rows i to j of all but R | |

Measured on one core of a busy machine: a number of such a kernel takes 2 to 3 ns, its reordering into blocks of
channels included; a copy takes 0.8.
"""

import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import numpy as np
from colora.runtime.program import Steps
from colora.runtime.weights import Array

BLOCK = 1 << 16
"""Numbers computed at a time, 256 kB: with what is added to them they fit the cache of most cores."""
ROWS = 16
"""Blocks are of whole multiples: channels in a block of ONNX Runtime (runtime/ort_layout.py)."""
ONE_THREAD = 1 << 18
"""Multiplications in a matrix product that OpenBLAS, numpy's library, gives to one thread whatever its number. More
are slower here: they are woken for microseconds of work, and spin on cores that others want. It also means that the
number of threads does not change a bit of the result."""
JOINT_RANK = 32
"""Most rank that is computed while channels are put into blocks; more is a product of its own."""
FORM = ("param", "scale_in", "center_in", "scale_out", "slice_out")
"""Steps in the one order that is known here, each but the first may be missing."""


@dataclass(frozen=True)
class Param:
    """A source parameter under a mixture: W0 + D + B·A."""

    w0: Array
    """Pristine, read-only."""
    dense: Array | None
    """Of the shape of W0."""
    low_rank: tuple[Array, Array] | None
    """B, rows × rank; A, rank × numbers in a row."""

    def cut(
        self, rows: slice, scale_in: Array | None, center: bool, scale_out: Array | None
    ) -> tuple["Block", ...]:
        """Blocks of the form above; scales are vectors. Shapes have to fit."""
        w0, dense = self.w0[rows], None if self.dense is None else self.dense[rows]
        ones = [1] * (w0.ndim - 1)
        factor, left, right = None, None, None
        if self.low_rank is not None:
            left, right = self.low_rank[0][rows], self.low_rank[1]
        if scale_in is not None:
            factor = scale_in.reshape(1, -1, *ones[1:])
            if right is not None:
                right = (right.reshape(-1, *w0.shape[1:]) * factor).reshape(right.shape)
        if center:
            if left is None or right is None:
                left, right = np.zeros((len(w0), 0), np.float32), np.zeros((0, w0.shape[1]), np.float32)
            changed = w0 if dense is None else w0 + dense
            weights = np.ones(w0.shape[1], np.float32) if scale_in is None else scale_in.reshape(-1)
            means = np.einsum("ij,j->i", changed.reshape(len(w0), -1), weights / np.float32(w0.shape[1]))
            left = np.concatenate([left, -means[:, None]], axis=1)
            right = np.concatenate(
                [right - right.mean(axis=1, keepdims=True), np.ones((1, w0.shape[1]), np.float32)]
            )
        if scale_out is not None:
            factor = scale_out.reshape(-1, *ones)[rows]
            left = None if left is None else left * factor.reshape(-1, 1)
        return tuple(_blocks(w0, dense, factor, left, right))


@dataclass(frozen=True)
class Block:
    """Some rows of a graph tensor."""

    rows: slice
    w0: Array
    dense: Array | None
    factor: Array | None
    left: Array | None
    """A stack: layers × rank × ROWS where the block is `joint`, else layers × rows × rank."""
    right: Array | None
    joint: bool
    """Whether reordering and low rank are one product: ROWS rows of a 1×1 kernel, as columns, are
    [F∘(W0 + D); R]ᵀ·[1; Lᵀ]."""

    @property
    def room(self) -> int:
        """Numbers that each half of `scratch` has to have."""
        rank = 0 if self.right is None else len(self.right)
        return self.w0.size * (ROWS + rank) // ROWS if self.joint else self.w0.size

    def put(self, buffer: Array, scratch: Array) -> None:
        """Compute the rows and put them to their place. buffer: of the whole graph tensor, see `put`."""
        width = buffer.shape[1] if buffer.ndim > self.w0.ndim else 1  # of the buffer's blocks of channels
        buffer = buffer[self.rows.start // width : -(-self.rows.stop // width)]
        if not self.joint or self.left is None or self.right is None:
            put(self._plain(scratch), buffer)
            return
        layers, rank, inputs = len(self.left), len(self.right), self.right.shape[1]
        rows = scratch[0, : self.room].reshape(layers, ROWS + rank, inputs)
        columns = np.empty((layers, ROWS + rank, ROWS), np.float32)
        columns[:, :ROWS], columns[:, ROWS:] = _identity(ROWS), self.left
        factor = self.factor
        if factor is not None and len(factor) > 1:  # along outputs
            columns[:, :ROWS] *= factor.reshape(layers, 1, ROWS)
            factor = None
        elif factor is not None:  # long rows are multiplied faster
            factor = np.concatenate([factor.reshape(-1)] * ROWS)
        _scaled(self.w0, self.dense, factor, rows.reshape(layers, -1)[:, : ROWS * inputs])
        rows[:, ROWS:] = self.right
        place = _in_memory(buffer)
        if place is None or place.shape != (layers, inputs, ROWS):
            place = scratch[1, : self.w0.size].reshape(layers, inputs, ROWS)
        step = ONE_THREAD // columns[0].size
        for i in range(0, inputs, step):
            np.matmul(rows[:, :, i : i + step].swapaxes(1, 2), columns, out=place[:, i : i + step])
        if np.may_share_memory(place, scratch):
            put(place.swapaxes(1, 2), buffer)

    def _plain(self, scratch: Array) -> Array:
        """The rows: W0 itself where nothing changes it, else in `scratch`."""
        base: Array
        total: Array
        total, base = (half[: self.w0.size].reshape(self.w0.shape) for half in scratch)
        if self.dense is None and self.factor is None:
            base = self.w0
        else:
            _scaled(self.w0, self.dense, self.factor, base)
        if self.left is None or self.right is None:
            return base
        np.matmul(self.left, self.right, out=total.reshape(len(self.left), -1, self.right.shape[1]))
        total += base
        return total


def _scaled(w0: Array, dense: Array | None, factor: Array | None, out: Array) -> None:
    """F∘(W0 + D), where F has the axes of `out`."""
    base = w0.reshape(out.shape)
    if dense is not None:
        base = np.add(base, dense.reshape(out.shape), out=out)
    if factor is not None:
        np.multiply(base, factor, out=out)
    elif base is not out:
        out[...] = base


def form_of(steps: Steps, read: Callable[[str], Param], value: Callable[[str], Array]) -> tuple[Block, ...]:
    """Blocks of the graph tensor that steps make; empty where they are of another form or do not fit the parameters.

    read: a parameter under the mixture. value: its numbers.
    """
    ops = [step.op for step in steps]
    if ops[0] != "param" or [op for op in FORM if op in ops] != ops or {"scale_in", "scale_out"} <= {*ops}:
        return ()
    args = {step.op: step.args for step in steps}
    param = read(str(args["param"][0]))
    shape = param.w0.shape
    begin, end = (int(i) for i in args.get("slice_out", (0, shape[0] if shape else 0)))
    scale_in, scale_out = (
        value(str(args[op][0])) if op in args else None for op in ("scale_in", "scale_out")
    )
    fits = (
        0 <= begin < end <= (shape[0] if shape else 0)
        and (scale_in is None or (len(shape) > 1 and scale_in.size == shape[1]))
        and (scale_out is None or scale_out.size == shape[0])
        and ("center_in" not in args or (len(shape) > 1 and math.prod(shape[2:]) == 1))
    )
    return param.cut(slice(begin, end), scale_in, "center_in" in args, scale_out) if fits else ()


def _blocks(
    w0: Array, dense: Array | None, factor: Array | None, left: Array | None, right: Array | None
) -> Iterator[Block]:
    inputs = math.prod(w0.shape[1:])
    joint = right is not None and len(right) <= JOINT_RANK and len(w0) % ROWS == 0 and w0.shape[2:] == (1, 1)
    if left is not None and right is not None and len(right) == 1:
        # numpy keeps a product of one term from BLAS, and is 7 times slower then
        left = np.concatenate([left, np.zeros_like(left)], axis=1)
        right = np.concatenate([right, np.zeros_like(right)])
    step = max(ROWS, BLOCK // max(1, inputs) // ROWS * ROWS)
    for begin in range(0, len(w0), step):
        rows = slice(begin, min(begin + step, len(w0)))
        stack, ours = None, factor
        if left is not None and right is not None:
            part, most = left[rows], max(4, ONE_THREAD // right.size)
            height = len(part) if len(part) <= most else math.gcd(len(part), 1 << (most.bit_length() - 1))
            stack = part.reshape(-1, height, len(right))
            if joint:
                stack = np.ascontiguousarray(part.reshape(-1, ROWS, len(right)).swapaxes(1, 2))
        if factor is not None and factor.shape[0] == len(w0) > 1:
            ours = factor[rows]
        yield Block(rows, w0[rows], None if dense is None else dense[rows], ours, stack, right, joint)


def put(tensor: Array, buffer: Array) -> None:
    """`buffer[...] = tensor.reshape(buffer.shape)`.

    A 1×1 kernel in blocks of channels, which is what most kernels are (runtime/ort_layout.py), is O/b × I × b in
    memory: transposing b × I to I × b is one small product with the identity, which takes half the time of a copy.
    """
    place = _in_memory(buffer)
    if place is None or tensor.dtype != np.float32:
        buffer[...] = tensor.reshape(buffer.shape)
        return
    layers, inputs, width = place.shape
    rows = tensor.reshape(layers, width, inputs).swapaxes(1, 2)
    np.matmul(rows, _identity(width), out=place)


def _in_memory(buffer: Array) -> Array | None:
    """A 1×1 kernel in whole blocks of channels as it lies in memory, blocks × inputs × channels; None for others."""
    if buffer.ndim != 6 or buffer.shape[4:] != (1, 1) or buffer.dtype != np.float32:
        return None
    layers, width, blocks, inner = buffer.shape[:4]
    place = buffer.transpose(0, 2, 3, 1, 4, 5)
    if width != inner or not place.flags.c_contiguous:
        return None
    return place.reshape(layers, blocks * inner, width)


@lru_cache
def _identity(size: int) -> Any:
    return np.eye(size, dtype=np.float32)
