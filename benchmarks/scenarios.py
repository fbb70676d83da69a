"""What is measured against: whole models in ONNX Runtime, under settings that have a name; and the picture restored.

Nothing here loads torch.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from colora.runtime.weights import Array


@dataclass(frozen=True)
class Peer:
    """Settings under which ONNX Runtime keeps N whole models."""

    name: str
    told: str
    arena: str = "own"
    """`own`: one growing pool of memory for each session, the default. `shared`: one for all. `block`: as colora's, one
    for all that takes 192 MiB at once, of which touched pages cost. `none`."""
    prepack: bool = True
    """False: level EXTENDED and no repacked copies of weights; kernels read the mapped file."""
    planned: bool = True
    """False: neither the memory pattern, which is planned in the second run of a size, nor the reuse of buffers: in an
    arena both cost memory."""
    all_open: bool = True
    """False: a model is opened when its task comes, and closed for the next one."""


PEERS = {
    peer.name: peer
    for peer in (
        Peer("default", "N sessions, default options"),
        Peer(
            "shared arena",
            "one arena for all sessions (session.use_env_allocators), extended as requested",
            "shared",
        ),
        Peer("no arena", "enable_cpu_mem_arena=False", "none"),
        Peer(
            "no arena, no prepacking",
            "as before, level EXTENDED, session.disable_prepacking=1",
            "none",
            prepack=False,
        ),
        Peer(
            "one block, no prepacking",
            "one arena for all sessions, one block of 192 MiB (initial_growth_chunk_size_bytes), level EXTENDED, "
            "session.disable_prepacking=1",
            "block",
            prepack=False,
        ),
        Peer(
            "shared arena, mapped",
            "one arena for all sessions, extended as requested, enable_mem_pattern and enable_mem_reuse off, weights "
            "read from the mapped file (level EXTENDED, session.disable_prepacking=1)",
            "shared",
            prepack=False,
            planned=False,
        ),
    )
}
"""The peer's best settings known to us, for N whole models."""

INPUT, OUTPUT = "input", "output"


def picture(size: int) -> Array:
    """size×size×3 RGB uint8, always the same: smooth shapes and noise."""
    y, x = np.mgrid[0:size, 0:size] / size
    waves = np.stack([np.sin(9 * x + 5 * y), np.sin(7 * x * y + 1), np.cos(8 * y)], axis=2) * 0.4 + 0.5
    noisy = waves + np.random.default_rng(0).normal(0, 0.1, waves.shape)
    return np.rint(np.clip(noisy, 0, 1) * 255).astype(np.uint8)


def tensor_of(image: Array) -> Array:
    """1×3×H×W float32 in [0, 1]."""
    return np.ascontiguousarray(image.transpose(2, 0, 1)[None].astype(np.float32) / np.float32(255))


_arena_is_registered = False


def open_model(model: str, peer: Peer, threads: int) -> Any:
    """ONNX Runtime session over an ONNX file under the peer's settings. threads: 0 leaves it to ONNX Runtime."""
    global _arena_is_registered
    import onnxruntime as ort

    options = ort.SessionOptions()
    options.intra_op_num_threads = threads
    options.enable_cpu_mem_arena = peer.arena != "none"
    options.enable_mem_pattern = options.enable_mem_reuse = peer.planned
    if peer.arena in ("shared", "block"):
        if not _arena_is_registered:  # one per process; registering it twice is an error
            where = ort.OrtMemoryInfo(
                "Cpu", ort.OrtAllocatorType.ORT_ARENA_ALLOCATOR, 0, ort.OrtMemType.DEFAULT
            )
            block = {
                "arena_extend_strategy": 0,
                "initial_growth_chunk_size_bytes": 192 * 2**20,
                "max_dead_bytes_per_chunk": 2**20,
            }
            config = block if peer.arena == "block" else {"arena_extend_strategy": 1}
            ort.create_and_register_allocator(where, ort.OrtArenaCfg(config))
            _arena_is_registered = True
        options.add_session_config_entry("session.use_env_allocators", "1")
    if not peer.prepack:
        options.graph_optimization_level = ort.GraphOptimizationLevel.ORT_ENABLE_EXTENDED
        options.add_session_config_entry("session.disable_prepacking", "1")
    return ort.InferenceSession(model, options, providers=["CPUExecutionProvider"])


def give_back(session: Any, peer: Peer) -> None:
    """Give the memory of activations back to the system, as `Session.trim` does."""
    import ctypes

    import onnxruntime as ort

    if peer.arena != "none":
        options, binding = ort.RunOptions(), session.io_binding()
        options.add_run_config_entry("memory.enable_memory_arena_shrinkage", "cpu:0")
        given, result = (np.zeros((1, 3, 64, 64), np.float32) for _ in range(2))
        binding.bind_cpu_input(INPUT, given)
        binding.bind_output(OUTPUT, "cpu", 0, np.float32, result.shape, result.ctypes.data)
        session.run_with_iobinding(binding, options)
    ctypes.CDLL("libc.so.6").malloc_trim(0)
