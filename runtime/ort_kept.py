"""Optimised graphs, kept from one start to the next.

Looking up where ONNX Runtime puts each weight (runtime/ort_layout.py) optimises the graph in a session of its own, for
which the first picture waits. So the optimised graph is kept in the machine's cache, without the numbers
of the weights, which each session brings: they are a hole in the file beside it. A graph is found again by all
that it depends on: the ONNX file, its constants, names and shapes of the weights, this build of ONNX Runtime and this
processor. A digest of everything that is read back tells damage; what is damaged is made anew. That the graph then
computes what it should is for the golden checks, as without a cache, and where nothing can be written nothing is kept.
"""

import hashlib
import json
import os
import secrets
import shutil
import time
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any

from colora.devices.errors import BundleError
from colora.runtime.machine import cache_folder, cpu_facts
from colora.runtime.onnx_file import Initializer, OnnxFile
from colora.runtime.ort_layout import BLOCKS, Place

FORMAT = 3
"""Raised when what is kept is made in another way."""
KEPT = 32
"""Graphs, those used last; each 0.3 MB of disk for NAFNet."""
GRAPH, NOTE, PROBED = "optimised.onnx", "places.json", "probed"

Places = dict[str, Place]


def folder_of(graph: Path, read: OnnxFile, shapes: Mapping[str, tuple[int, ...]], build: str) -> Path:
    """Where a graph is kept. read: what it holds. shapes: of the tensors to be edited. build: of ONNX Runtime.

    Raises: OSError if a constant can't be read, BundleError if it is not beside the graph.
    """
    constants = [_numbers(graph.parent, x) for name, x in read.initializers.items() if name not in shapes]
    facts = [FORMAT, list(shapes.items()), build, cpu_facts()]
    digest = hashlib.sha256(json.dumps(facts).encode())
    for data in (graph.read_bytes(), *constants):
        digest.update(hashlib.sha256(data).digest())
    return cache_folder() / "graphs" / digest.hexdigest()


def recall(folder: Path) -> tuple[Path, Places]:
    """The optimised graph in a folder, and where its weights are.

    Raises: OSError, ValueError, TypeError, KeyError, AttributeError or RecursionError where nothing is kept or it is
    damaged; BundleError.
    """
    note = json.loads((folder / NOTE).read_bytes())
    if note["digest"] != _digest(folder, note["places"], note["constants"]):
        raise ValueError(f"{folder} is damaged")
    _used(folder)
    return folder / GRAPH, {
        name: Place(str(initializer), tuple(shape), BLOCKS[BLOCKS.index(block)] if block else 0, bool(inputs))
        for name, (initializer, shape, block, inputs) in note["places"].items()
    }


def keep(saved: Path, read: OnnxFile, places: Places, folder: Path) -> None:
    """Keep an optimised graph; harmless where that can't be. read: initializers in files beside it, as it has them."""
    weights = {place.initializer for place in places.values()}
    stored = read.initializers
    constants = [(x.file, x.offset, x.size_bytes) for n, x in stored.items() if x.file and n not in weights]
    if not all(size for _, _, size in constants):
        return  # ONNX allows that, ONNX Runtime always tells
    files = {x.file for x in stored.values() if x.file}
    told = {name: list(vars(place).values()) for name, place in places.items()}
    partial = folder.with_name(f".{secrets.token_hex(8)}.partial")
    try:
        partial.mkdir(parents=True)
        shutil.copyfile(saved, partial / GRAPH)
        for file in files:
            with (partial / file).open("wb") as data:
                data.truncate((saved.parent / file).stat().st_size)
        for file, offset, size in constants:
            with (saved.parent / file).open("rb") as source, (partial / file).open("r+b") as data:
                source.seek(offset)
                data.seek(offset)
                data.write(source.read(size))
        note = {"digest": _digest(partial, told, constants), "places": told, "constants": constants}
        (partial / NOTE).write_text(json.dumps(note))
        shutil.rmtree(folder, ignore_errors=True)  # damaged, or it would have been taken
        partial.rename(folder)
        _used(folder)
        _forget(folder.parent)
    except OSError:
        shutil.rmtree(partial, ignore_errors=True)


def probed(folder: Path | None) -> bool:
    """Whether a graph kept there was seen to follow its edits."""
    return folder is not None and (folder / PROBED).exists()


def note_probed(folder: Path | None) -> None:
    """Say so; harmless where nothing is kept."""
    with suppress(OSError):
        if folder is not None:
            (folder / PROBED).touch()
            _used(folder)


def _used(folder: Path) -> None:
    """Now, to the nanosecond: a file system's own clock can give uses that follow each other the same time."""
    os.utime(folder, ns=(time.time_ns(),) * 2)


def _digest(folder: Path, places: Any, constants: Any) -> str:
    digest = hashlib.sha256((folder / GRAPH).read_bytes())
    digest.update(json.dumps([places, constants]).encode())
    for file, offset, size in constants:
        digest.update(_numbers(folder, Initializer((), file, offset, size_bytes=size)))
    return digest.hexdigest()


def _numbers(folder: Path, stored: Initializer) -> bytes:
    """Of an initializer; none where they are inside the ONNX file. Raises: BundleError if they are elsewhere."""
    if not stored.file:
        return b""
    path = folder / stored.file
    if Path(stored.file).name != stored.file or path.is_symlink() or not path.is_file():
        raise BundleError(f"{folder} keeps numbers in {stored.file!r:.80}; expected a file beside the graph")
    with path.open("rb") as data:
        data.seek(stored.offset)
        return data.read(stored.size_bytes or -1)


def _forget(root: Path) -> None:
    """Remove all but the graphs used last, and what killed processes have left."""
    found = sorted(root.iterdir(), key=lambda path: path.stat().st_mtime_ns, reverse=True)
    for old in found[KEPT:]:
        with suppress(OSError):
            shutil.rmtree(old)
