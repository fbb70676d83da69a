"""Named tensors on disk: safetensors in, safetensors out, never pickle.

A file is judged by its first bytes before anything of the declared size is allocated. The container is
the published one (8 bytes little-endian header length, JSON header, data), so any safetensors reader
opens what is written here.
"""

import hashlib
import json
import math
import os
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from colora.devices.errors import CheckpointError, ColoraError
from colora.runtime.atomic import atomic_file

Array = npt.NDArray[Any]

DTYPE_BYTES = {"F64": 8, "F32": 4, "F16": 2, "I64": 8, "I32": 4, "I16": 2, "I8": 1, "U8": 1, "BOOL": 1}
HEADER_MAX_BYTES = 100_000_000  # the published limit of the format
PICKLE_MAGIC = (b"PK\x03\x04", b"\x80\x02", b"\x80\x03", b"\x80\x04", b"\x80\x05")


@dataclass(frozen=True)
class Header:
    """What a file says about itself, checked against its size."""

    shapes: Mapping[str, tuple[int, ...]]
    metadata: Mapping[str, str]


def read_tensors(
    path: str | os.PathLike[str], error: type[ColoraError] = CheckpointError
) -> tuple[dict[str, Array], dict[str, str]]:
    """Every tensor of a safetensors file, and its metadata.

    float16 comes as float32; other dtypes as stored. The caller owns the arrays.
    Raises: `error` naming file and reason, for missing, truncated, damaged, foreign and pickled files.
    """
    header = read_header(path, error)
    with open_tensors(path, error) as read:
        return {name: read(name) for name in header.shapes}, dict(header.metadata)


def read_header(path: str | os.PathLike[str], error: type[ColoraError] = CheckpointError) -> Header:
    """Names, shapes and metadata; reads the header only.

    Raises: `error` if the header or the sizes it declares do not fit the file.
    """
    path = Path(path)
    try:
        size = path.stat().st_size
        with path.open("rb") as file:
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
            raw = file.read(length)
    except OSError as e:
        raise error(f"{path} can't be read: {e.strerror or e}") from e
    try:
        entries = json.loads(raw)
        metadata = entries.pop("__metadata__", {})
        shapes = {name: tuple(entry["shape"]) for name, entry in entries.items()}
        spans = sorted((*entry["data_offsets"], name) for name, entry in entries.items())
        end = 0
        for begin, stop, name in spans:
            kind, shape = entries[name]["dtype"], shapes[name]
            if kind not in DTYPE_BYTES:
                known = ", ".join(DTYPE_BYTES)
                raise error(f"{path}: tensor {name} is {kind}; expected one of {known}: store it as F32")
            if any(type(n) is not int or n < 0 for n in shape):
                raise ValueError(f"tensor {name} has shape {shape}")
            if begin != end or stop - begin != math.prod(shape) * DTYPE_BYTES[kind]:
                raise ValueError(f"tensor {name} of shape {shape} {kind} claims bytes {begin}..{stop}")
            end = stop
        if not all(isinstance(v, str) for v in metadata.values()):
            raise ValueError("metadata values are not text")
    except (ValueError, TypeError, KeyError, AttributeError, RecursionError) as e:
        raise error(f"{path} is damaged or no safetensors file: {e}") from e
    if 8 + length + end != size:
        raise error(f"{path} is truncated or damaged: {size} bytes; tensors end at byte {8 + length + end}")
    return Header(shapes, metadata)


@contextmanager
def open_tensors(
    path: str | os.PathLike[str], error: type[ColoraError] = CheckpointError
) -> Iterator[Callable[[str], Array]]:
    """Map a safetensors file for the length of the block and yield `name -> tensor`.

    Each call copies one tensor (float16 as float32), which the caller owns; the pages go with the block.

    Raises: `error` naming file and reason.
    """
    from safetensors import SafetensorError, safe_open

    try:
        file = safe_open(str(path), framework="np")
    except (SafetensorError, OSError) as e:
        raise error(f"{path} is damaged: {e}") from e

    def get(name: str) -> Array:
        try:
            tensor: Array = file.get_tensor(name)  # type: ignore[no-untyped-call]
        except (SafetensorError, OSError) as e:
            raise error(f"{path}: {e}") from e
        return tensor.astype(np.float32) if tensor.dtype == np.float16 else tensor

    with file:
        yield get


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
            save_file(contiguous, partial, dict(metadata))
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
