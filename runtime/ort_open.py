"""Sessions of ONNX Runtime on the CPU, over numbers that may be edited where that is possible.

refit: every switchable tensor is given to the session by `SessionOptions.add_initializer` over a numpy
buffer that it borrows, and later edited in place. ONNX Runtime does not promise that edits are seen: at
full optimisation convolutions reorder their weights when a session opens. So the graph is optimised
first, saved, and opened as it is, its buffers in the order that it has (runtime/ort_layout.py); where
that order is not known, it is opened at the level EXTENDED with weights in their own order, which takes
half as long again a picture. Prepacking, which copies weights too, is off.
merged: the same graph over the same buffers, which then stay as they are; or, where their order is not known, a
session that is optimised fully over them.
An optimised graph is rewritten once more (runtime/ort_blocks.py) before it is opened. It then takes one picture at a
time; of a batch each is run by itself.
Activations of all sessions of the process come from one arena, so that another session costs its weights alone.
An arena that grows as requested keeps a block for each tensor of the first run, and two small ones free do not
make a large one: NAFNet took 1.6 times what is alive at its peak. One block that has room for all, of which only
touched pages cost, takes 1.1 times. ONNX Runtime's own plan of which tensor takes the place of which is off: in the
arena it saves nothing (0.6 times the memory without it at 512², the same time), and making it is half of opening a
graph in blocks of channels, whose hundreds of tensors it compares with one another.
"""

import math
from collections.abc import Mapping
from contextlib import suppress
from functools import cache, partial
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, NamedTuple

import numpy as np
from colora.devices.errors import BackendError, BundleError, missing_extra
from colora.runtime.blocks import put
from colora.runtime.heap import share_heap
from colora.runtime.onnx_file import OnnxFile, read_onnx
from colora.runtime.ort_blocks import use_blocks
from colora.runtime.ort_kept import GRAPH, folder_of, keep, recall
from colora.runtime.ort_layout import Place, find_layout
from colora.runtime.weights import Array

ARENA = {
    "arena_extend_strategy": 0,  # each block twice the one before, until memory is given back
    "initial_growth_chunk_size_bytes": 192 * 2**20,  # the first after that; its index takes 1/32
    "max_dead_bytes_per_chunk": 2**20,  # what a tensor is given beyond what it needs
}
"""Of ONNX Runtime."""
SAVE = "session.optimized_model_external_initializers"
SILENT = 3
"""ONNX Runtime's log level ERROR: its warnings about unused initializers are no news to a user."""


@cache
def _share_arena() -> None:
    """Register the arena of all sessions, once in a process."""
    import onnxruntime as ort

    share_heap()
    place = ort.OrtMemoryInfo("Cpu", ort.OrtAllocatorType.ORT_ARENA_ALLOCATOR, 0, ort.OrtMemType.DEFAULT)
    ort.create_and_register_allocator(place, ort.OrtArenaCfg(ARENA))


class Opened(NamedTuple):
    """A session and what it reads."""

    session: Any
    buffers: dict[str, Array]
    """Graph tensor → its numbers, which the session reads (`Place.view`)."""
    held: Any
    """What must live as long as the session."""
    single: bool
    """Whether it takes one picture at a time."""
    kept: Path | None = None
    """Where its optimised graph is kept (runtime/ort_kept.py), if that could be done."""


def open_in_blocks(graph: Path, weights: Mapping[str, Array], threads: int) -> Opened | None:
    """A fully optimised session that sees edits of its weights; None where their order is not known."""
    ort = _onnxruntime()
    if any(tensor.dtype != np.float32 for tensor in weights.values()):
        return None
    # a full disk, say, or an optimised graph that can't be read back: sizes in a file beside it are not
    with suppress(BackendError, BundleError, OSError):
        read = read_onnx(graph)
        weights = weights or _stored(graph.parent, read)
        if not weights:
            return None
        shapes = {name: tensor.shape for name, tensor in weights.items()}
        folder = folder_of(graph, read, shapes, f"{ort.__version__} {ort.get_build_info()}")
        with suppress(Exception):  # nothing kept, or damaged
            return _open_optimised(*recall(folder), weights, threads)._replace(kept=folder)
        with TemporaryDirectory(prefix="colora-") as temporary:
            saved = Path(temporary) / GRAPH
            places, optimised = find_layout(read, shapes, partial(save_optimised, graph), saved)
            if places.keys() == shapes.keys():
                block = max(place.block for place in places.values())
                if block:
                    use_blocks(saved, optimised, block)
                opened = _open_optimised(saved, places, weights, threads)
                keep(saved, optimised, places, folder)
                return opened._replace(kept=folder)
    return None


def _stored(folder: Path, read: OnnxFile) -> dict[str, Array]:
    """The weights of a graph that can't change, mapped; none where some are not float32 or not in a file beside it."""
    beside = {name: stored for name, stored in read.initializers.items() if stored.file}
    for stored in beside.values():
        path = folder / stored.file
        there = Path(stored.file).name == stored.file and not path.is_symlink() and path.is_file()
        whole = stored.size_bytes == 4 * math.prod(stored.shape)
        if not (there and whole and stored.offset + stored.size_bytes <= path.stat().st_size):
            return {}
    return {
        name: np.memmap(folder / stored.file, "<f4", "r", stored.offset, stored.shape)
        for name, stored in beside.items()
    }


def _open_optimised(
    saved: Path, places: Mapping[str, Place], weights: Mapping[str, Array], threads: int
) -> Opened:
    """A session on an optimised graph as it is, over the weights in its order."""
    stored = {place.initializer: np.zeros(place.shape, np.float32) for place in places.values()}
    buffers = {
        name: place.view(stored[place.initializer], weights[name].shape) for name, place in places.items()
    }
    for name, tensor in weights.items():
        put(tensor, buffers[name])
    return _borrow(saved, stored, buffers, "ORT_DISABLE_ALL", threads)


def open_in_order(graph: Path, weights: Mapping[str, Array], threads: int) -> Opened:
    """A session that sees edits of its weights, which it has in their own order."""
    buffers = {name: np.array(tensor, order="C") for name, tensor in weights.items()}
    return _borrow(graph, buffers, buffers, "ORT_ENABLE_EXTENDED", threads)


def _borrow(
    graph: Path, stored: Mapping[str, Array], buffers: dict[str, Array], level: str, threads: int
) -> Opened:
    """A session on the numbers of `stored`, initializers of `graph`, where they are."""
    ort, options = _options(threads)
    options.graph_optimization_level = getattr(ort.GraphOptimizationLevel, level)
    options.add_session_config_entry("session.disable_prepacking", "1")
    values = {name: ort.OrtValue.ortvalue_from_numpy(buffer) for name, buffer in stored.items()}
    for name, value in values.items():
        options.add_initializer(name, value)
    return Opened(_open(graph, options), buffers, (stored, values), level == "ORT_DISABLE_ALL")


def open_fixed(graph: Path, weights: Mapping[str, Array], threads: int) -> Opened:
    """A fully optimised session with its own copy of the weights."""
    ort, options = _options(threads)
    buffers = {name: np.array(tensor, order="C") for name, tensor in weights.items()}
    values = [ort.OrtValue.ortvalue_from_numpy(buffer) for buffer in buffers.values()]
    if values:  # not add_initializer: full optimisation would fold the numbers of graph.data, silently
        options.add_external_initializers(list(buffers), values)
    return Opened(_open(graph, options), buffers, values, False)


def save_optimised(graph: Path, weights: Mapping[str, Array], saved: Path) -> None:
    """Save `graph`, fully optimised over other weights, numbers in a file beside it. Raises: BackendError."""
    ort, options = _options(1)
    options.optimized_model_filepath = str(saved)
    options.add_session_config_entry(f"{SAVE}_file_name", f"{saved.name}.data")
    options.add_session_config_entry(
        f"{SAVE}_min_size_in_bytes", "1024"
    )  # shapes beside it can't be read back
    values = [ort.OrtValue.ortvalue_from_numpy(tensor) for tensor in weights.values()]
    options.add_external_initializers(list(weights), values)
    options.add_session_config_entry("session.disable_prepacking", "1")  # it is never run
    _open(graph, options)


def _onnxruntime() -> Any:
    try:
        import onnxruntime as ort
    except ImportError as e:
        raise missing_extra("onnxruntime", "ort", "the ONNX Runtime backend") from e
    return ort


def _options(threads: int) -> tuple[Any, Any]:
    """The package and options for a session."""
    ort = _onnxruntime()
    options = ort.SessionOptions()
    options.intra_op_num_threads = threads
    options.log_severity_level = SILENT
    options.enable_mem_reuse = False
    _share_arena()
    options.add_session_config_entry("session.use_env_allocators", "1")
    # not from the arena: it would keep the weights of sessions that were closed
    options.add_session_config_entry("session.use_device_allocator_for_initializers", "1")
    return ort, options


def _open(graph: Path, options: Any) -> Any:
    import onnxruntime as ort

    try:
        return ort.InferenceSession(str(graph), options, providers=["CPUExecutionProvider"])
    except Exception as e:  # ONNX Runtime's errors have no common base class
        raise BackendError(f"{graph}: ONNX Runtime can't open it: {e}") from e
