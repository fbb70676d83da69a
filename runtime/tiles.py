"""From a picture of any size to tensors of sizes the graph takes, and back.

Small pictures run whole. Large ones run in overlapping tiles of one size, blended linearly where they
overlap; besides the picture and the result only one row of tiles is held, so memory does not grow with
the picture's height.
"""

from collections.abc import Callable, Iterator
from typing import Any, Protocol

import numpy as np
from colora.runtime.image import to_dtype
from colora.runtime.manifest import Pad, Shapes, Tile
from colora.runtime.weights import Array

Run = Callable[[Array], Array]
"""1×3×h×w float32 in [0, 1] → the same shape, any range."""


class Rows(Protocol):
    """Anything that gives rows of a picture: an array, or a file (runtime/bands.py)."""

    @property
    def shape(self) -> tuple[int, ...]:
        """H, W, 3."""

    @property
    def dtype(self) -> "np.dtype[Any]":
        """One of WHITE."""

    def __getitem__(self, rows: slice, /) -> Array:
        """h×W×3 RGB. Slices are asked for from top to bottom; they may overlap."""


def apply(image: Array, run: Run, shapes: Shapes, pad: Pad, tile: Tile) -> Array:
    """Run a network over H×W×3 RGB of a dtype of WHITE; same shape and dtype out, clipped."""
    result = np.empty_like(image, order="C")
    y = 0
    for band in bands(image, run, shapes, pad, tile):
        result[y : y + len(band)] = band
        y += len(band)
    return result


def bands(image: Rows, run: Run, shapes: Shapes, pad: Pad, tile: Tile) -> Iterator[Array]:
    """The result of `apply` from top to bottom, in bands h×W×3: one for each row of tiles, whole if not cut."""
    height, width = image.shape[:2]
    if max(height, width) <= tile.when_above:
        yield to_dtype(_run_padded(image[:], run, shapes, pad), image.dtype)
        return
    rows, columns = starts(height, tile), starts(width, tile)
    row_weights, column_weights = feather(height, rows, tile), feather(width, columns, tile)
    strip = np.zeros((len(row_weights[0]), width, 3), np.float32)
    for i, (y, wy) in enumerate(zip(rows, row_weights, strict=True)):
        source = image[y : y + len(wy)]
        for x, wx in zip(columns, column_weights, strict=True):
            piece = source[:, x : x + len(wx)]
            strip[:, x : x + len(wx)] += _run_padded(piece, run, shapes, pad) * np.outer(wy, wx)[:, :, None]
        done = (rows[i + 1] if i + 1 < len(rows) else height) - y
        yield to_dtype(strip[:done], image.dtype)
        strip[:-done] = strip[done:].copy()
        strip[len(strip) - done :] = 0


def starts(length: int, tile: Tile) -> list[int]:
    """First pixel of each tile along a side: steps of size - overlap, the last moved back to the border."""
    last = max(length - tile.size, 0)
    return [*range(0, last, tile.size - tile.overlap), last]


def feather(length: int, begins: list[int], tile: Tile) -> list[Array]:
    """Weight of each pixel of each tile along a side, float32: linear ramps that sum to 1 at every pixel."""
    size = min(tile.size, length)
    inward = np.minimum(np.arange(1, size + 1), np.arange(size, 0, -1))
    ramp = np.minimum(inward / (tile.overlap + 1), 1.0)
    total = np.zeros(length)
    for begin in begins:
        total[begin : begin + size] += ramp
    return [(ramp / total[begin : begin + size]).astype(np.float32) for begin in begins]


def padded(tensor: Array, shapes: Shapes, pad: Pad) -> Array:
    """1×3×h×w grown at bottom and right to the next multiple, at least to the graph's smallest shape.

    `reflect` falls back to `edge` along a side that has too few pixels to reflect.
    """
    for axis, least in ((2, shapes.min[0]), (3, shapes.min[1])):
        length = tensor.shape[axis]
        missing = max(-(-length // pad.multiple_of) * pad.multiple_of, least) - length
        if missing:
            widths = [(0, missing if a == axis else 0) for a in range(4)]
            if pad.mode == "zeros":
                tensor = np.pad(tensor, widths)
            elif pad.mode == "reflect" and missing < length:
                tensor = np.pad(tensor, widths, mode="reflect")
            else:
                tensor = np.pad(tensor, widths, mode="edge")
    return tensor


def _run_padded(image: Array, run: Run, shapes: Shapes, pad: Pad) -> Array:
    """h×w×3 → h×w×3 float32, not clipped."""
    height, width = image.shape[:2]
    tensor = np.ascontiguousarray(to_dtype(image, np.float32).transpose(2, 0, 1)[None])
    return run(padded(tensor, shapes, pad))[0, :, :height, :width].transpose(1, 2, 0)
