"""From a picture of any size to tensors of sizes the graph takes, and back.

Small pictures run whole. Large ones run in overlapping tiles of one size, as few as cover them and no larger than that
takes, nor smaller than the graph takes, blended linearly where they overlap. Besides the picture and the result one
tile is held, and what its row has to give to the next: memory does not grow with the height, and by 12 · overlap bytes
a pixel with the width.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from itertools import pairwise
from typing import Any, Literal, Protocol

import numpy as np
from colora.runtime.image import to_dtype
from colora.runtime.manifest import Pad, Shapes, Tile
from colora.runtime.weights import Array

NUMPY_MODES: dict[str, Literal["constant", "reflect", "edge"]] = {
    "zeros": "constant",
    "reflect": "reflect",
    "edge": "edge",
}
Run = Callable[[Array], Array]
"""1×3×h×w float32 in [0, 1] → the same shape, any range."""


class Rows(Protocol):
    """Rows of a picture, from a file (runtime/bands.py)."""

    @property
    def shape(self) -> tuple[int, ...]:
        """H, W, and 3, or 4 with alpha."""

    @property
    def dtype(self) -> "np.dtype[Any]":
        """One of WHITE."""

    def __getitem__(self, rows: slice, /) -> Array:
        """h×W×3 RGB or h×W×4, which the caller owns. Slices are asked for from top to bottom; they may overlap."""


@dataclass(frozen=True)
class Cut:
    """A piece of a side, in pixels."""

    begin: int
    done: int
    """Where the next one begins, or the side ends: what lies before is complete with this piece."""
    weights: Array
    """float32, of each pixel of the piece: linear ramps that sum to 1 over all pieces."""

    @property
    def span(self) -> slice:
        """The piece."""
        return slice(self.begin, self.begin + len(self.weights))


def apply(image: Array, run: Run, shapes: Shapes, pad: Pad, tile: Tile) -> Array:
    """Run a network over H×W×3 RGB of a dtype of WHITE; same shape and dtype out, clipped. A fourth channel is kept."""
    height, width = image.shape[:2]
    result = np.empty_like(image, order="C")
    result[:, :, 3:] = image[:, :, 3:]
    if _runs_whole(height, width, shapes, tile):
        result[:, :, :3] = to_dtype(_run_padded(image, run, shapes, pad), image.dtype)
        return result
    columns = cuts(width, tile, pad.multiple_of, shapes.min[1])
    above = np.zeros((0, width, 3), np.float32)
    for row in cuts(height, tile, pad.multiple_of, shapes.min[0]):
        out = result[row.begin : row.done]
        above = _row_of_tiles(image[row.span], out, above, row, columns, run, shapes, pad)
    return result


def bands(image: Rows, run: Run, shapes: Shapes, pad: Pad, tile: Tile) -> Iterator[Array]:
    """The result of `apply` from top to bottom, in bands h×W×3 or h×W×4: one for each row of tiles, whole if not cut.

    A band lies where its rows were: drop it before asking for the next to hold one at a time.
    """
    height, width = image.shape[:2]
    if _runs_whole(height, width, shapes, tile):
        whole = image[:]
        whole[:, :, :3] = to_dtype(_run_padded(whole, run, shapes, pad), image.dtype)
        yield whole
        return
    columns = cuts(width, tile, pad.multiple_of, shapes.min[1])
    above = np.zeros((0, width, 3), np.float32)
    for row in cuts(height, tile, pad.multiple_of, shapes.min[0]):
        source = image[row.span]
        out = source[: row.done - row.begin]
        above = _row_of_tiles(source, out, above, row, columns, run, shapes, pad)
        del source
        yield out
        del out


def _row_of_tiles(
    source: Array, out: Array, above: Array, row: Cut, columns: list[Cut], run: Run, shapes: Shapes, pad: Pad
) -> Array:
    """Rows that this row of tiles completes, into `out`; returns its share in those below, float32.

    source: h×W×3 or h×W×4, all rows of these tiles. out: the rows completed, whose first three channels are written;
    may be the first of `source`, because what is written is in no later tile. above: the share of the row of tiles
    above in the first rows.
    """
    height, width = source.shape[:2]
    below = np.empty((height - len(out), width, 3), np.float32)
    beside = np.zeros((height, 0, 3), np.float32)  # the share of the tile before in the first columns
    for column in columns:
        tile = _run_padded(source[:, column.span], run, shapes, pad)
        tile = tile * np.outer(row.weights, column.weights)[:, :, None]
        tile[:, : beside.shape[1]] += beside
        complete = slice(column.begin, column.done)
        done = tile[:, : column.done - column.begin]
        done[: len(above)] += above[:, complete]
        out[:, complete, :3] = to_dtype(done[: len(out)], out.dtype)
        below[:, complete] = done[len(out) :]
        beside = tile[:, column.done - column.begin :].copy()
    return below


def cuts(length: int, tile: Tile, multiple_of: int = 1, least: int = 1) -> list[Cut]:
    """As few pieces of a side as `tile` allows, of one size that is a multiple of `multiple_of`, evenly spread.

    least: what the graph takes at least, to which smaller pieces would be padded: none is, where the side is as long.
    """
    most = max(tile.size, least)
    count = max(1, -(-(length - tile.overlap) // (most - tile.overlap)))
    needed = max(-(-(length + (count - 1) * tile.overlap) // count), least)
    size = min(-(-needed // multiple_of) * multiple_of, most, length)
    begins = [i * (length - size) // max(1, count - 1) for i in range(count)]
    inward = np.minimum(np.arange(1, size + 1), np.arange(size, 0, -1))
    ramp = np.minimum(inward / (tile.overlap + 1), 1.0)
    total = np.zeros(length)
    for begin in begins:
        total[begin : begin + size] += ramp
    return [
        Cut(begin, end, (ramp / total[begin : begin + size]).astype(np.float32))
        for begin, end in pairwise([*begins, length])
    ]


def _runs_whole(height: int, width: int, shapes: Shapes, tile: Tile) -> bool:
    """Whether a picture is not cut: small, or held by the smallest shape of the graph, to which pieces are padded."""
    return height <= max(tile.when_above, shapes.min[0]) and width <= max(tile.when_above, shapes.min[1])


def padded(tensor: Array, shapes: Shapes, pad: Pad) -> Array:
    """1×3×h×w grown at bottom and right to the next multiple, at least to the graph's smallest shape.

    `reflect` goes back and forth where more is missing than there is; a side of one pixel repeats it.
    """
    for axis, least in ((2, shapes.min[0]), (3, shapes.min[1])):
        length = tensor.shape[axis]
        missing = max(-(-length // pad.multiple_of) * pad.multiple_of, least) - length
        if missing:
            widths = [(0, missing if a == axis else 0) for a in range(4)]
            tensor = np.pad(tensor, widths, mode=NUMPY_MODES[pad.mode])
    return tensor


def _run_padded(image: Array, run: Run, shapes: Shapes, pad: Pad) -> Array:
    """h×w×3 or h×w×4 → h×w×3 float32, not clipped."""
    height, width = image.shape[:2]
    tensor = np.ascontiguousarray(to_dtype(image[:, :, :3], np.float32).transpose(2, 0, 1)[None])
    return run(padded(tensor, shapes, pad))[0, :, :height, :width].transpose(1, 2, 0)
