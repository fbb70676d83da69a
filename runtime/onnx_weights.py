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
        if place is None or not place.file or place.shape != tensor.shape:
            found = (
                "no such weight" if place is None else f"{place.shape} in {place.file or 'the graph itself'}"
            )
            raise BundleError(
                f"{graph}: {name}: {found}; expected {tensor.shape} in a file beside it: export it again"
            )
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
