"""Named tensors on disk: safetensors in, safetensors out, never pickle.

A file is judged by its first bytes before anything of the declared size is allocated. The container is
the published one (8 bytes little-endian header length, JSON header, data), so any safetensors reader
opens what is written here. Adapters, which are copied in while others run, are read; a backbone, which
is big and belongs to a bundle that is not changed in place, is mapped.
"""

import hashlib
import json
import math
import mmap
import os
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
import numpy.typing as npt
from colora.devices.errors import CheckpointError, ColoraError
from colora.runtime.atomic import atomic_file

Array = npt.NDArray[Any]

DTYPES = {
    "F64": "<f8", "F32": "<f4", "F16": "<f2", "I64": "<i8", "I32": "<i4", "I16": "<i2", "I8": "i1", "U8": "u1",
    "BOOL": "?",
}  # fmt: skip
"""The format's names → numpy's."""
MADV_POPULATE_READ = 22  # linux/mman.h
HEADER_MAX_BYTES = 100_000_000  # the published limit of the format
PICKLE_MAGIC = (b"PK\x03\x04", b"\x80\x02", b"\x80\x03", b"\x80\x04", b"\x80\x05")


@dataclass(frozen=True)
class Header:
    """What a file says about itself, checked against its size."""

    shapes: Mapping[str, tuple[int, ...]]
    metadata: Mapping[str, str]
    dtypes: Mapping[str, np.dtype[Any]]
    """As stored, little-endian."""
    offsets: Mapping[str, int]
    """Of the first byte of each tensor in the file."""
    size_bytes: int
    """Of the file."""

    def tensor(self, name: str, data: Any) -> Array:
        """A view into `data`, the bytes of the whole file, as stored. Raises: KeyError."""
        return np.ndarray(self.shapes[name], self.dtypes[name], data, self.offsets[name])


class MappedTensors:
    """Tensors of a safetensors file that are read where they lie. Any thread may read them.

    The file must not be changed in place meanwhile; one that is replaced as a whole is still read as it was.
    Raises: `error` naming file and reason.
    """

    def __init__(self, path: str | os.PathLike[str], error: type[ColoraError] = CheckpointError) -> None:
        with _opened(path, error) as file:
            header = _read_header(file, path, error)
            try:
                self._map = mmap.mmap(file.fileno(), header.size_bytes, access=mmap.ACCESS_READ)
            except ValueError as e:
                raise error(f"{path} can't be mapped: {e}") from e
        self._tensors = {name: header.tensor(name, self._map) for name in header.shapes}

    def __getitem__(self, name: str) -> Array:
        """Read-only float32 of what is stored. Raises: KeyError."""
        return self._tensors[name].astype(np.float32, copy=False)

    def populate(self) -> None:
        """Map all pages at once, where the system can (Linux 5.14): less work than one by one as they are read."""
        if sys.platform == "linux":
            with suppress(OSError):
                self._map.madvise(MADV_POPULATE_READ)

    def release(self) -> None:
        """Give the pages read so far back to the system, where it takes them (Linux, macOS); they can be read again."""
        if hasattr(mmap, "MADV_DONTNEED"):
            self._map.madvise(mmap.MADV_DONTNEED)


def read_tensors(
    path: str | os.PathLike[str], error: type[ColoraError] = CheckpointError
) -> tuple[dict[str, Array], dict[str, str]]:
    """Every tensor of a safetensors file, and its metadata.

    float16 comes as float32; other dtypes as stored. The caller owns the arrays.
    Raises: `error` naming file and reason, for missing, truncated, damaged, foreign and pickled files.
    """
    with _opened(path, error) as file:
        header = _read_header(file, path, error)
        file.seek(0)
        data = file.read(header.size_bytes)  # not mapped: a file that shrinks meanwhile would end the process
    if len(data) != header.size_bytes:
        raise error(f"{path} is truncated or damaged: {len(data)} bytes of {header.size_bytes}")
    tensors = {name: header.tensor(name, data) for name in header.shapes}
    return {
        name: tensor.astype(np.float32 if tensor.dtype == np.float16 else tensor.dtype.newbyteorder("="))
        for name, tensor in tensors.items()
    }, dict(header.metadata)


def read_header(path: str | os.PathLike[str], error: type[ColoraError] = CheckpointError) -> Header:
    """Names, shapes and metadata; reads the header only.

    Raises: `error` if the header or the sizes it declares do not fit the file.
    """
    with _opened(path, error) as file:
        return _read_header(file, path, error)


@contextmanager
def _opened(path: str | os.PathLike[str], error: type[ColoraError]) -> Iterator[BinaryIO]:
    try:
        with Path(path).open("rb") as file:
            yield file
    except OSError as e:
        raise error(f"{path} can't be read: {e.strerror or e}") from e


def _read_header(file: BinaryIO, path: str | os.PathLike[str], error: type[ColoraError]) -> Header:
    size = os.fstat(file.fileno()).st_size
    start = file.read(8)
    length = int.from_bytes(start, "little")
    if size < 8 or length > min(size - 8, HEADER_MAX_BYTES):
        if start.startswith(PICKLE_MAGIC):
            raise error(
                f"{path} is a pickle (PyTorch .pth or the like), which can run code when opened: "
                "convert it to safetensors first"
            )
        raise error(
            f"{path} is truncated or no safetensors file: {size} bytes, "
            f"but its header alone claims {length if size >= 8 else 'at least 8'}"
        )
    try:
        entries = json.loads(file.read(length))
        metadata = entries.pop("__metadata__", {})
        shapes = {name: tuple(entry["shape"]) for name, entry in entries.items()}
        spans = sorted((*entry["data_offsets"], name) for name, entry in entries.items())
        end = 0
        dtypes = {}
        for begin, stop, name in spans:
            kind, shape = entries[name]["dtype"], shapes[name]
            if kind not in DTYPES:
                known = ", ".join(DTYPES)
                raise error(f"{path}: tensor {name} is {kind}; expected one of {known}: store it as F32")
            dtypes[name] = np.dtype(DTYPES[kind])
            if any(type(n) is not int or n < 0 for n in shape):
                raise ValueError(f"tensor {name} has shape {shape}")
            if begin != end or stop - begin != math.prod(shape) * dtypes[name].itemsize:
                raise ValueError(f"tensor {name} of shape {shape} {kind} claims bytes {begin}..{stop}")
            end = stop
        if not all(isinstance(v, str) for v in metadata.values()):
            raise ValueError("metadata values are not text")
    except (ValueError, TypeError, KeyError, AttributeError, RecursionError) as e:
        raise error(f"{path} is damaged or no safetensors file: {e}") from e
    if 8 + length + end != size:
        raise error(f"{path} is truncated or damaged: {size} bytes; tensors end at byte {8 + length + end}")
    offsets = {name: 8 + length + begin for begin, _, name in spans}
    return Header(shapes, metadata, dtypes, offsets, size)


def write_tensors(
    path: str | os.PathLike[str],
    tensors: Mapping[str, Array],
    metadata: Mapping[str, str],
    error: type[ColoraError] = CheckpointError,
) -> None:
    """Write a safetensors file, whole or not at all: after any failure the file of before is still there.

    Raises: `error` naming file and reason (folder missing, disk full, …).
    """
    from safetensors import SafetensorError
    from safetensors.numpy import save_file

    contiguous = {name: np.asarray(tensors[name], order="C") for name in sorted(tensors)}
    try:
        with atomic_file(path) as partial:
            partial.touch()
            mode = partial.stat().st_mode
            save_file(contiguous, partial, dict(metadata))
            partial.chmod(mode)  # safetensors 0.8 leaves a file that its owner alone may read
    except (SafetensorError, OSError) as e:
        raise error(f"{path} was not written: {e}; what was there before is unchanged") from e


def weights_sha256(tensors: Mapping[str, Array]) -> str:
    """Hash of the numbers, whatever the container.

    For each name in sorted order: JSON `[name, shape]`, then the values as little-endian float32 in C
    order.
    """
    digest = hashlib.sha256()
    for name in sorted(tensors):
        tensor = np.asarray(tensors[name])
        digest.update(json.dumps([name, list(tensor.shape)]).encode())
        digest.update(np.asarray(tensor, dtype="<f4").tobytes())
    return digest.hexdigest()
