"""A copy of a graph with other numbers in some of its weights, made without the package onnx."""

import shutil
from collections.abc import Mapping
from pathlib import Path

import numpy as np
from colora.devices.errors import BundleError
from colora.runtime.onnx_file import read_onnx
from colora.runtime.weights import Array


def write_with_weights(graph: Path, weights: Mapping[str, Array], folder: Path) -> Path:
    """Copy `graph` and the files of its numbers into `folder`, those of `weights` in place of its own.

    weights: initializer → values, of its shape and of the dtype that is stored. Each has to lie in a file beside the
    graph, as the export writes all switchable ones. Returns the copy's path.
    Raises: BundleError for a tensor that the graph does not have there, or of another shape; OSError.
    """
    stored = read_onnx(graph).initializers
    for name, tensor in weights.items():
        place = stored.get(name)
        found = ""
        if place is None:
            found = "no such weight"
        elif not place.file:
            found = "its numbers are in the graph itself"
        elif place.shape != tensor.shape or place.size_bytes not in (tensor.nbytes, 0):  # 0: not said
            found = f"{place.shape} in {place.size_bytes} bytes"
        if found:
            expected = f"{tensor.shape} in {tensor.nbytes} bytes of a file beside it"
            raise BundleError(f"{graph}: {name}: {found}; expected {expected}: export it again")
    copy = folder / graph.name
    shutil.copyfile(graph, copy)
    for file in sorted({place.file for place in stored.values() if place.file}):
        shutil.copyfile(graph.with_name(file), folder / file)
        with (folder / file).open("r+b") as data:
            for name, tensor in weights.items():
                if stored[name].file == file:
                    data.seek(stored[name].offset)
                    data.write(np.ascontiguousarray(tensor, tensor.dtype.newbyteorder("<")).tobytes())
    return copy
