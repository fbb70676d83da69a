"""A graph tensor under a mixture as F∘(W0 + D + B·A) less means, computed block by block of rows.

Steps of the weight program on one parameter, W0 + D + B·A with D the dense changes and B·A those of low rank, keep that
form. So a switch reads W0 once and writes the result once, and what comes between stays in the cache; D, B and A are
read where the adapter has them, and for a task no more than a vector or two of each tensor is kept ready:

| step | F | subtracted |
|---|---|---|
| `param` | 1 | |
| `scale_in γ` | γ along input channels | |
| `center_in` of 1×1 | | means of the rows over input channels, a vector |
| `scale_out s`, without `scale_in` | s along output channels | the same, times s |
| `slice_out i j` | rows i to j of all but A | |
| `phases_out n` | every n-th row of all but A, n times | |

Measured on one core of a busy machine: a number of such a kernel takes 2 to 3 ns, its reordering into blocks of
channels included; a copy takes 0.8.
"""

import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
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
FORM = ("param", "scale_in", "center_in", "scale_out", "slice_out", "phases_out")
"""Steps in the one order that is known here, each but the first may be missing."""


@dataclass(frozen=True, slots=True)
class LowRank:
    """scale·B·A."""

    b: Array
    """Rows × rank; float32 or float16."""
    a: Array
    """Rank × numbers in a row; float32 or float16."""
    scale: float = 1.0


@dataclass(frozen=True)
class Param:
    """A source parameter under a mixture: W0 + D + scale·B·A."""

    w0: Array
    """Pristine, read-only."""
    dense: Array | None
    """Of the shape of W0."""
    low_rank: LowRank | None

    def cut(
        self, rows: slice, scale_in: Array | None, center: bool, scale_out: Array | None
    ) -> tuple["Block", ...]:
        """Blocks of the form above; scales are vectors. Shapes have to fit."""
        w0, dense, low = self.w0[rows], None if self.dense is None else self.dense[rows], self.low_rank
        if low is not None:
            low = LowRank(low.b[rows], low.a, low.scale)
        scale_in = None if scale_in is None else scale_in.reshape(-1)
        scale_out = None if scale_out is None else scale_out.reshape(-1)[rows]
        means = None
        if center:
            share = np.full(w0.shape[1], 1 / w0.shape[1], np.float32)
            share = share if scale_in is None else share * scale_in
            means = np.einsum("ij,j->i", (w0 if dense is None else w0 + dense).reshape(len(w0), -1), share)
            if low is not None:
                means += low.b @ (low.a @ (share * np.float32(low.scale)))
        return tuple(_blocks(w0, dense, low, scale_in, means, scale_out))


@dataclass(frozen=True, slots=True)
class Block:
    """Some rows of a graph tensor."""

    rows: slice
    w0: Array
    dense: Array | None
    low_rank: LowRank | None
    scale_in: Array | None
    means: Array | None
    """Subtracted from each row after `scale_in`, before `scale_out`."""
    scale_out: Array | None
    joint: int
    """Rank with which reordering and low rank are one product, 0 for none: ROWS rows of a 1×1 kernel, as columns, are
    [γ∘(W0 + D); γ∘A; −1]ᵀ·[1; Bᵀ; means]."""

    @property
    def plain(self) -> bool:
        """Whether it is W0 itself."""
        changes = (self.dense, self.low_rank, self.scale_in, self.means, self.scale_out)
        return all(change is None for change in changes)

    @property
    def room(self) -> int:
        """Numbers that each half of `scratch` has to have."""
        return self.w0.size * (ROWS + self.joint) // ROWS

    def put(self, buffer: Array, scratch: Array, a: Array | None) -> None:
        """Compute the rows, put them to their place. buffer: of the whole graph tensor, see `put`. a: float32 A∘γ."""
        width = buffer.shape[1] if buffer.ndim > self.w0.ndim else 1  # of the buffer's blocks of channels
        buffer = buffer[self.rows.start // width : -(-self.rows.stop // width)]
        if not self.joint:
            put(self._whole(scratch, a), buffer)
            return
        rows, columns = self._factors(scratch[0], a)
        layers, _, inputs = rows.shape
        place = _in_memory(buffer)
        aside = place is None or place.shape != (layers, inputs, ROWS)
        if place is None or aside:
            place = scratch[1, : self.w0.size].reshape(layers, inputs, ROWS)
        step = ONE_THREAD // columns[0].size
        for i in range(0, inputs, step):
            np.matmul(rows[:, :, i : i + step].swapaxes(1, 2), columns, out=place[:, i : i + step])
        if aside:
            put(place.swapaxes(1, 2), buffer)

    def _factors(self, scratch: Array, a: Array | None) -> tuple[Array, Array]:
        """Of the joint product: layers × (ROWS + joint) × inputs, and × ROWS."""
        layers, inputs, count = len(self.w0) // ROWS, self.w0.shape[1], ROWS + self.joint
        rows = scratch[: layers * count * inputs].reshape(layers, count, inputs)
        columns = np.empty((layers, count, ROWS), np.float32)
        columns[:, :ROWS] = _identity(ROWS)
        scales = None
        if self.scale_in is not None:
            scales = np.empty((ROWS, inputs), np.float32)  # long rows are multiplied faster
            scales[...] = self.scale_in
        _sum(self.w0, self.dense, rows.reshape(layers, -1)[:, : ROWS * inputs], scales)
        if (low := self.low_rank) is not None:
            end = ROWS + len(low.a)
            b = low.b.reshape(layers, ROWS, -1).swapaxes(1, 2)
            np.multiply(b, np.float32(low.scale), out=columns[:, ROWS:end], dtype=np.float32)
            rows[:, ROWS:end] = a
        if self.means is not None:
            rows[:, -1] = -1
            columns[:, -1] = self.means.reshape(layers, ROWS)
        if self.scale_out is not None:
            columns *= self.scale_out.reshape(layers, 1, ROWS)
        return rows, columns

    def _whole(self, scratch: Array, a: Array | None) -> Array:
        """The rows: W0 itself where nothing changes it, else in `scratch`."""
        if self.plain:
            return self.w0
        total: Array = scratch[0, : self.w0.size].reshape(self.w0.shape)
        if self.low_rank is None or a is None:
            _sum(self.w0, self.dense, total)
        else:
            _product(self.low_rank, a, total.reshape(len(total), -1))
            total += self.w0
            if self.dense is not None:
                total += self.dense
        ones = [1] * (total.ndim - 1)
        if self.scale_in is not None:
            total *= self.scale_in.reshape(-1, *ones[1:])
        if self.means is not None:
            total -= self.means.reshape(-1, *ones)
        if self.scale_out is not None:
            total *= self.scale_out.reshape(-1, *ones)
        return total


def put_all(blocks: tuple[Block, ...], buffer: Array, scratch: Array) -> None:
    """Compute a graph tensor into `buffer`. scratch: two rows of the `room` of each block."""
    first = blocks[0]
    a = None  # A, in float32, and times γ where that is not multiplied in later
    if (low := first.low_rank) is not None:
        a = low.a.astype(np.float32, copy=False)
        if first.joint and first.scale_in is not None:
            a = a * first.scale_in
    for block in blocks:
        block.put(buffer, scratch, a)


def _product(low: LowRank, a: Array, out: Array) -> None:
    """scale·B·A, into `out`; a: A in float32."""
    b = np.multiply(low.b, np.float32(low.scale), dtype=np.float32)
    if len(a) == 1:  # which numpy keeps from BLAS
        np.multiply(b, a, out=out)
        return
    most = max(4, ONE_THREAD // a.size)
    height = len(b) if len(b) <= most else math.gcd(len(b), 1 << (most.bit_length() - 1))
    np.matmul(b.reshape(-1, height, len(a)), a, out=out.reshape(-1, height, out.shape[1]))


def _sum(w0: Array, dense: Array | None, out: Array, factor: Array | None = None) -> None:
    """(W0 + D)∘factor, into `out`, whose axes may be others."""
    base = w0.reshape(out.shape)
    if dense is not None:
        base = np.add(base, dense.reshape(out.shape), out=out)
    if factor is not None:
        np.multiply(base, factor.reshape(-1), out=out)
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
    phases = int(args.get("phases_out", (1,))[0])
    if not fits or phases < 1 or (phases > 1 and (end - begin) % (phases * ROWS)):
        return ()
    count, blocks = (end - begin) // phases, list[Block]()
    for phase in range(phases):
        rows = slice(begin + phase, end, phases)
        cut = param.cut(rows, scale_in, "center_in" in args, scale_out)
        first = phase * count
        if first:
            cut = tuple(replace(b, rows=slice(first + b.rows.start, first + b.rows.stop)) for b in cut)
        blocks += cut
    return tuple(blocks)


def _blocks(
    w0: Array,
    dense: Array | None,
    low: LowRank | None,
    scale_in: Array | None,
    means: Array | None,
    scale_out: Array | None,
) -> Iterator[Block]:
    step = max(ROWS, BLOCK // max(1, math.prod(w0.shape[1:])) // ROWS * ROWS)
    rank = (0 if low is None else len(low.a)) + (means is not None)
    joint = rank if rank <= JOINT_RANK and len(w0) % ROWS == 0 and w0.shape[2:] == (1, 1) else 0
    for begin in range(0, len(w0), step):
        rows = slice(begin, min(begin + step, len(w0)))
        yield Block(
            rows,
            w0[rows],
            None if dense is None else dense[rows],
            None if low is None else LowRank(low.b[rows], low.a, low.scale),
            scale_in,
            None if means is None else means[rows],
            None if scale_out is None else scale_out[rows],
            joint,
        )


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
