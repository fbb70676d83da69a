"""Pairs on disk: a folder with input/ and target/, or a list of files."""

import csv
from collections.abc import Sequence
from pathlib import Path

from colora.devices.errors import ImageError
from colora.train.photos import Pair, picture_files, read_rgb, to_float, to_tensor
from torch import Tensor

HEADERS = ({"degraded", "clean"}, {"input", "target"})
"""first lines of a list that name its columns"""


def read_pairs(source: Path) -> list[Pair]:
    """Pairs of a folder, `source`/input and `source`/target, matched by path without suffix and sorted by it; or of a
    list, a text file with a line "degraded,clean" per pair, paths relative to the list; lines that begin with # are
    comments.

    Raises ImageError for a picture without its partner, a line of another kind, a picture that can't be used, and
    pairs of unequal size.
    """
    files = _from_folder(source) if source.is_dir() else _from_list(source)
    pairs = [Pair(name, read_rgb(degraded), read_rgb(clean)) for name, degraded, clean in files]
    for pair in pairs:
        if pair.degraded.shape != pair.clean.shape:
            sizes = [f"{p.shape[1]}×{p.shape[0]}" for p in (pair.degraded, pair.clean)]
            raise ImageError(
                f"{source}: {pair.name}: the degraded picture has {sizes[0]} pixels and the clean one {sizes[1]}; "
                "expected equal sizes, aligned: cut them to the part that both show"
            )
    return pairs


def _from_folder(folder: Path) -> list[tuple[str, Path, Path]]:
    sides = []
    for side in ("input", "target"):
        if not (folder / side).is_dir():
            raise ImageError(
                f"{folder}: no folder {side}/ in it; expected input/ with the degraded and target/ with the clean "
                "pictures, or give a list of files instead"
            )
        named: dict[str, Path] = {}
        for file in picture_files(folder / side):
            name = file.relative_to(folder / side).with_suffix("").as_posix()
            if name in named:
                raise ImageError(
                    f"{file} and {named[name].name}: two pictures of one name; expected one, remove one"
                )
            named[name] = file
        sides.append(named)
    degraded, clean = sides
    if alone := sorted(degraded.keys() ^ clean.keys()):
        raise ImageError(
            f"{folder}: {len(degraded)} pictures in input/ and {len(clean)} in target/, {len(alone)} without a partner "
            f"of the same name, first {alone[0]!r}: add what is missing, or remove these"
        )
    return [(name, degraded[name], clean[name]) for name in sorted(degraded)]


def _from_list(file: Path) -> list[tuple[str, Path, Path]]:
    try:
        lines = file.read_text("utf-8-sig").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise ImageError(
            f"{file}: not a list of pairs ({error}); expected text, 'degraded,clean' on each line"
        ) from error
    found = []
    for number, line in enumerate(lines, 1):
        if line.startswith("#"):
            continue
        try:
            cells = [cell.strip() for cell in next(csv.reader([line], skipinitialspace=True), [])]
        except csv.Error as error:
            raise ImageError(
                f"{file}: line {number} is not a pair ({error}); expected 2 columns: degraded,clean"
            ) from error
        if not any(cells) or (number == 1 and {c.lower() for c in cells} in HEADERS):
            continue
        if len(cells) != 2:
            raise ImageError(f"{file}: line {number} has {len(cells)} columns; expected 2: degraded,clean")
        degraded, clean = (file.parent / cell for cell in cells)
        for path in (degraded, clean):
            if not _is_file(path):
                raise ImageError(
                    f"{file}: line {number}: {path}: no such file; paths are relative to the list"
                )
        found.append((Path(cells[0]).with_suffix("").as_posix(), degraded, clean))
    if not found:
        raise ImageError(f"{file}: no pairs in it; expected 'degraded,clean' on each line")
    return found


def _is_file(path: Path) -> bool:
    try:
        return path.is_file()
    except OSError:  # of a name that no file can have
        return False


def middle(shape: tuple[int, ...], side: int, multiple_of: int) -> tuple[slice, slice]:
    """The part of an H×W×3 picture around its centre, sides at most `side` and multiples of `multiple_of`."""
    sizes = [min(n, side) // multiple_of * multiple_of for n in shape[:2]]
    y, x = ((n - size) // 2 for n, size in zip(shape[:2], sizes, strict=True))
    return slice(y, y + sizes[0]), slice(x, x + sizes[1])


def centres(pairs: Sequence[Pair], side: int, multiple_of: int) -> list[tuple[Tensor, Tensor]]:
    """(degraded, clean) of each pair's `middle`, both (1, 3, h, w) float32 in [0, 1]."""
    cut = []
    for pair in pairs:
        window = middle(pair.clean.shape, side, multiple_of)
        cut.append((to_tensor([to_float(pair.degraded[window])]), to_tensor([to_float(pair.clean[window])])))
    return cut
