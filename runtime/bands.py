"""TIFF pictures larger than memory: read, restored and written in bands of rows.

tifffile reads and writes strips and tiles one by one and decides nothing about memory itself; the
compressions that Python lacks come with imagecodecs. What can't be read in bands is decoded whole by
runtime/image.py, which limits its size.
"""

import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from colora.devices.errors import ImageError, missing_extra
from colora.runtime.atomic import atomic_file
from colora.runtime.features import SIDE, starts
from colora.runtime.image import MAX_PIXELS, as_image, rgb_profile
from colora.runtime.manifest import Tile
from colora.runtime.session import Session
from colora.runtime.tiles import bands
from colora.runtime.weights import Array

if TYPE_CHECKING:
    from tifffile import TiffFile

SUFFIXES = (".tif", ".tiff")
STRIP_ROWS = 64
"""Of the results, and of one read from strips that can be read in parts."""
BIG_BYTES = 2**32 - 2**25
"""Larger results are written as BigTIFF; compressed they may be smaller, never much larger."""
ORIENTATION, ICC_PROFILE = 274, 34675
"""Tags."""
UPRIGHT_GREY, UPRIGHT_RGB, UPRIGHT_YCBCR = 1, 2, 6
"""Photometric interpretations: black is 0, RGB, YCbCr."""
JPEG = 7
"""Compression, whose decoder turns YCbCr into RGB."""
UNSPECIFIED, ASSOCIATED = 0, 1
"""Samples beyond colour that are no alpha, and alpha that is multiplied into the colours."""


class TiffRows:
    """Rows of the first picture of a TIFF file, as `tiles.Rows`. Memory: the segments that a slice touches.

    Raises: ImageError naming the file and why it can't be read in bands.
    """

    def __init__(self, file: "TiffFile") -> None:
        self.name = str(file.filehandle.path)
        self._file = file.filehandle
        try:
            page: Any = file.pages[0]
            reason = _unfit(page)
            self.icc = rgb_profile(page.tags[ICC_PROFILE].value if ICC_PROFILE in page.tags else b"")
        except Exception as e:  # tags of a broken file have any type, or none
            raise ImageError(f"{self.name} can't be read as TIFF: {type(e).__name__} {e}") from e
        self._page: Any = page
        if reason:
            raise ImageError(f"{self.name} can't be read in row bands: {reason}")
        self.dtype = np.dtype(page.dtype).newbyteorder("=")
        self.shape = (int(page.imagelength), int(page.imagewidth), 4 if _has_alpha(page) else 3)
        self._plain = _plain(page)
        self._rows = STRIP_ROWS if self._plain else _segment_rows(page)
        self._kept: dict[int, Array] = {}  # last rows of segments

    def __getitem__(self, rows: slice) -> Array:
        """h×W×3 RGB or h×W×4 of the file's dtype, which the caller owns. Raises: ImageError for a damaged file.

        The last eighth is kept for a next slice that overlaps, and what was read beyond.
        """
        begin, end, _ = rows.indices(self.shape[0])
        joined = np.empty((end - begin, *self.shape[1:]), self.dtype)
        kept, self._kept = self._kept, {}
        for n in range(begin // self._rows, (end - 1) // self._rows + 1):
            last = min((n + 1) * self._rows, self.shape[0])
            band = kept.pop(n, None)
            if band is None or last - len(band) > max(begin, n * self._rows):
                band = as_image(self._read(n))[:, :, : self.shape[2]]
            first = last - len(band)
            low, high = max(first, begin), min(last, end)
            joined[low - begin : high - begin] = band[low - first : high - first]
            if (left := last - max(first, end - (end - begin) // 8)) > 0:
                self._kept[n] = band[-left:] if left == len(band) else band[-left:].copy()
        return joined

    def _read(self, number: int) -> Array:
        """h×W×samples: the `number`th row of segments, or STRIP_ROWS rows of plain data."""
        page = self._page
        height = min(self._rows, self.shape[0] - number * self._rows)
        band = np.zeros((height, self.shape[1], page.samplesperpixel), self.dtype)
        try:
            if self._plain:
                row_bytes = band.nbytes // height
                self._file.seek(page.dataoffsets[0] + number * self._rows * row_bytes)
                stored = np.dtype(page.dtype).newbyteorder(page.parent.byteorder)
                data = self._file.read(band.nbytes)
                band[:] = np.frombuffer(data, stored).reshape(band.shape)
                return band
            across = -(-self.shape[1] // page.tilewidth) if page.is_tiled else 1
            down = -(-self.shape[0] // self._rows)
            planes = page.samplesperpixel if page.planarconfig == 2 else 1
            tables = {"jpegtables": page.jpegtables} if page.jpegtables is not None else {}
            filled = 0
            for plane in range(planes):
                for column in range(across):
                    index = (plane * down + number) * across + column
                    self._file.seek(page.dataoffsets[index])
                    data = self._file.read(page.databytecounts[index])
                    piece, (_, _, _, x, _), (_, h, w, _) = page.decode(data or None, index, **tables)
                    if piece is not None:
                        own = slice(plane, plane + 1) if planes > 1 else slice(None)
                        part = band[:h, x : x + w, own]  # tiles reach over the borders
                        part[:] = piece[0, : part.shape[0], : part.shape[1]]
                        filled += part.size
            if filled != band.size:
                raise ValueError(f"{filled} of {band.size} samples are stored")
        except Exception as e:  # decoders raise whatever a broken file leads them to
            raise ImageError(
                f"{self.name} can't be read as a picture at row {number * self._rows}: {e}"
            ) from e
        return band


def why_whole(source: Path, target: Path, tile: Tile) -> str:
    """Why a picture can't go, or need not go, from file to file in row bands; empty if it can."""
    if any(path.suffix.lower() not in SUFFIXES for path in (source, target)):
        return "only TIFF is read and written in row bands"
    try:
        import tifffile
    except ImportError:
        return str(missing_extra("tifffile", "tiff", "reading in row bands"))
    try:
        with tifffile.TiffFile(source) as file:
            rows = TiffRows(file)
            small = max(rows.shape) <= tile.when_above
            return "it is small enough to run whole" if small else ""
    except Exception as e:  # the reader of whole pictures will say what is wrong
        return str(e)


def restore_bands(
    session: Session, source: Path, target: Path, task: str = "", strength: float = 1.0
) -> None:
    """`session.restore` from a TIFF file to a TIFF file, pixel for pixel, in memory for a row of tiles.

    Read: the first picture of a file; grey or RGB, with or without alpha, of 8 or 16 bits, in strips or tiles
    of any compression. Written: RGB, and alpha, of the same depth and ICC profile, in strips, Deflate. Whole or not
    at all.
    Raises: ImageError naming the file and the reason; MissingExtra; what `Session.restore` raises.
    """
    try:
        import tifffile
    except ImportError as e:
        raise missing_extra("tifffile", "tiff", "restoring in row bands") from e
    manifest = session.bundle.manifest
    run = session.network(task, strength)
    try:
        opened = tifffile.TiffFile(source)
    except Exception as e:  # whatever a broken file leads it to
        raise ImageError(f"{source} can't be read as TIFF: {e}") from e
    with opened as file:
        rows = TiffRows(file)
        big = int(np.prod(rows.shape)) * rows.dtype.itemsize > BIG_BYTES
        restored = bands(rows, run, manifest.shapes, manifest.pad, manifest.tile)
        try:
            with (
                atomic_file(target) as partial,
                tifffile.TiffWriter(partial, bigtiff=big, byteorder="<") as out,
            ):
                out.write(
                    map(_deflated, _strips(restored)),
                    shape=rows.shape,
                    dtype=rows.dtype,
                    photometric="rgb",
                    extrasamples=["unassalpha"] * (rows.shape[2] - 3),
                    compression="zlib",
                    predictor=True,
                    rowsperstrip=STRIP_ROWS,
                    iccprofile=rows.icc or None,
                    metadata=None,
                )
        except OSError as e:
            raise ImageError(f"{target} was not written: {e}") from e


def spread_rows(source: Path) -> Array:
    """H×W×3: the rows of a TIFF file that `choice.choose` would look at, which chooses the same from them alone.

    Memory: these rows, at most a few hundred. Raises: ImageError, MissingExtra, as `restore_bands`.
    """
    try:
        import tifffile
    except ImportError as e:
        raise missing_extra("tifffile", "tiff", "reading in row bands") from e
    with tifffile.TiffFile(source) as file:
        rows = TiffRows(file)
        return np.concatenate([rows[y : y + SIDE] for y in starts(rows.shape[0])])


def _strips(pieces: Iterator[Array]) -> Iterator[Array]:
    """The same rows in pieces of STRIP_ROWS, the last as it comes. Holds one piece at a time."""
    rest: list[Array] = []  # fewer than STRIP_ROWS rows
    while (piece := next(pieces, None)) is not None:
        begin = STRIP_ROWS - len(rest[0]) if rest else 0
        if begin > len(piece):
            rest = [np.concatenate([*rest, piece])]
            continue
        if rest:
            yield np.concatenate([*rest, piece[:begin]])
        last = begin + (len(piece) - begin) // STRIP_ROWS * STRIP_ROWS
        for y in range(begin, last, STRIP_ROWS):
            yield piece[y : y + STRIP_ROWS]
        rest = [piece[last:].copy()] if last < len(piece) else []
        del piece  # before the next is asked for
    yield from rest


def _deflated(strip: Array) -> bytes:
    """TIFF's Deflate over horizontal differences (predictor 2), little-endian."""
    differences = strip.copy()
    differences[:, 1:] -= strip[:, :-1]
    return zlib.compress(differences.astype(strip.dtype.newbyteorder("<")).tobytes())


def _unfit(page: Any) -> str:
    """Why a page can't be read in bands; empty if it can."""
    if page.dtype not in (np.uint8, np.uint16) or page.bitspersample not in (8, 16):
        return f"it holds {page.bitspersample}-bit {page.dtype}"
    as_rgb = page.photometric == UPRIGHT_YCBCR and page.compression == JPEG
    if not (page.photometric in (UPRIGHT_GREY, UPRIGHT_RGB) or as_rgb) or page.imagedepth != 1:
        return f"its colours are stored as {getattr(page.photometric, 'name', page.photometric)}"
    samples = (1, 2) if page.photometric == UPRIGHT_GREY else (3, 4)
    if ASSOCIATED in page.extrasamples:
        return "its colours are multiplied by alpha"
    if page.samplesperpixel not in samples or page.planarconfig not in (1, 2):
        return f"it has {page.samplesperpixel} samples a pixel in planar configuration {page.planarconfig}"
    if ORIENTATION in page.tags and page.tags[ORIENTATION].value != 1:
        return "it is turned: store it upright"
    if min(_segment_rows(page), page.imagewidth, page.tilewidth if page.is_tiled else 1) < 1:
        return "its segments have no rows or no columns"
    if not _plain(page) and _segment_rows(page) * page.imagewidth > MAX_PIXELS:
        return f"it is stored in strips of {_segment_rows(page)} rows: store it in tiles"
    return ""


def _has_alpha(page: Any) -> bool:
    """Is there a sample beyond colour that is alpha? Files that do not say what it is mean that."""
    return page.samplesperpixel in (2, 4) and UNSPECIFIED not in page.extrasamples


def _plain(page: Any) -> bool:
    """Are the samples of all rows one after another in the file, as they are?"""
    together = page.planarconfig == 1 or page.samplesperpixel == 1
    return bool(
        page.is_contiguous and not page.is_tiled and together and page.predictor == 1 and page.fillorder == 1
    )


def _segment_rows(page: Any) -> int:
    return min(int(page.tilelength if page.is_tiled else page.rowsperstrip), int(page.imagelength))
