"""Ways to hold N tasks that the memory scenario measures, with the settings of each; memory_held.py holds them."""

from dataclasses import dataclass, replace

from colora.benchmarks.scenarios import PEERS


@dataclass(frozen=True)
class System:
    """One way of holding N tasks."""

    name: str
    package: str
    """that runs it: what an empty process imports"""
    extra: str
    """of colora, which brings the package; empty where no extra does"""
    told: str
    """how it holds them: its settings"""
    whole: bool = True
    """a whole model for each task; else the backbone once, and adapters"""
    pictures: int = 2
    """that each task restores before it is read: ONNX Runtime plans its memory in the second run of a size"""
    backend: str = "ort"
    """of colora's sessions"""
    gpu: bool = False
    """weights and activations are on the GPU, whose memory is read too"""


REFIT, MERGED = "colora, one backbone (refit)", "colora, a graph for each task (merged)"
ORT, ORT_BEST, ORT_TURNS = (
    "ONNX Runtime, N sessions, default",
    "ONNX Runtime, N sessions, best",
    "ONNX Runtime, one session, reopened",
)
OPENVINO, TORCH = "OpenVINO, N models, best", "PyTorch, N modules, best"

MAPPED = PEERS["shared arena, mapped"]
ORT_SETTINGS = {
    ORT: PEERS["default"],
    ORT_BEST: MAPPED,
    ORT_TURNS: replace(
        MAPPED, name="reopened", told=f"{MAPPED.told}; opened anew for every change of task", all_open=False
    ),
}
"""By system."""
SYSTEMS = {
    system.name: system
    for system in (
        System(
            REFIT, "onnxruntime", "ort", "load(backend='ort', policy='refit'): one graph edited in place, "
            "every adapter resident, each proven on its golden input", whole=False,
        ),
        System(ORT_BEST, "onnxruntime", "ort", ORT_SETTINGS[ORT_BEST].told),
        System(ORT, "onnxruntime", "ort", ORT_SETTINGS[ORT].told),
        System(
            MERGED, "onnxruntime", "ort", "load(backend='ort', policy='merged', hot_tasks=N): a fully optimised graph "
            "for each task, one arena",
        ),
        System(
            TORCH, "torch", "train", "weights mapped from safetensors (load_state_dict with assign=True, no copy), "
            "inference_mode, malloc_trim after each run", pictures=1,
        ),
        System(
            OPENVINO, "openvino", "openvino", "files mapped (ENABLE_MMAP), one stream, f32, latency hint, one heap "
            "(M_ARENA_MAX), release_memory and malloc_trim after each run", pictures=1,
        ),
        System(ORT_TURNS, "onnxruntime", "ort", ORT_SETTINGS[ORT_TURNS].told),
    )
}  # fmt: skip
"""Ours, then peers, each with its best settings known to us; the first is what all are compared with."""

TENSORRT, CUDA_MERGED, CUDA_ORT = (
    "colora on TensorRT, one engine (refit)",
    "colora on CUDA, a graph for each task (merged)",
    "ONNX Runtime on CUDA, N sessions",
)
TORCH_IN_PLACE, TORCH_CUDA = "PyTorch on CUDA, one module edited in place", "PyTorch on CUDA, N modules"
GPU_SYSTEMS = {
    system.name: system
    for system in (
        System(
            TENSORRT, "tensorrt", "", "load(backend='tensorrt', policy='refit'): one engine edited in place",
            whole=False, backend="tensorrt", gpu=True,
        ),
        System(
            CUDA_MERGED, "onnxruntime", "", "load(backend='ort-cuda', policy='merged', hot_tasks=N)",
            backend="ort-cuda", gpu=True,
        ),
        System(
            CUDA_ORT, "onnxruntime", "", "CUDAExecutionProvider, float32 without TF32, heuristic search of "
            "kernels, memory extended as requested", gpu=True,
        ),
        System(
            TORCH_IN_PLACE, "torch", "train", "no part of colora's runtime, but its adapters in PyTorch: what a task "
            "changes is merged on the CPU and copied into the one module on the GPU; caching allocator",
            whole=False, gpu=True,
        ),
        System(
            TORCH_CUDA, "torch", "train", "weights read from safetensors to the GPU, inference_mode, one caching "
            "allocator for all", gpu=True,
        ),
    )
}  # fmt: skip
"""Measured where there is an NVIDIA GPU and what runs them; predicted nowhere."""
EVERY = SYSTEMS | GPU_SYSTEMS
SOURCE = "source/weights.safetensors"
"""Beside a model's graph.onnx, for PyTorch: its weights by the backbone's own names."""
