"""ONNX Runtime on an NVIDIA GPU, which needs no Python module of TensorRT: `ort-tensorrt` and `ort-cuda`.

Merged only, by rule: both providers take their own copy of the weights, on the device or in an engine, when a session
opens, and ONNX Runtime has no way to change it (TensorRT's refit is not offered), so that an edit in place would not be
seen.

TensorRT's engines are kept in the bundle, in `engines/ort/` (of a signed one, in the user's cache). The provider names
them by the operators of a graph and not by its numbers (microsoft/onnxruntime #6455), so that one task would be given
the engine of another: each set of weights has a folder of its own. TF32 can't be turned off in that provider (#21457):
where a float32 bundle fails its golden check, set NVIDIA_TF32_OVERRIDE=0.
"""

import hashlib
import shutil
from collections.abc import Iterable, Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any

import numpy as np
from colora.devices.errors import BackendError, BackendFailed, missing_extra
from colora.devices.jetpack import find_jetpack
from colora.devices.probe import Machine
from colora.runtime.backend import BackendFacts
from colora.runtime.bundle import GRAPH, MANIFEST
from colora.runtime.engine import profile_shapes
from colora.runtime.engines import engines_root, tensors_sha256
from colora.runtime.manifest import ImageConvention, Manifest, parse_manifest
from colora.runtime.preflight import machine_here
from colora.runtime.weights import Array

TENSORRT, CUDA = "TensorrtExecutionProvider", "CUDAExecutionProvider"
SILENT = 3
"""ONNX Runtime's log level ERROR."""
KEPT = 16
"""Folders of engines of one bundle; the oldest go."""

Options = dict[str, str]


class OrtCudaBackend:
    """See `Backend`."""

    computes = True
    name, provider = "ort-cuda", CUDA

    def __init__(
        self, graph: Path, image: ImageConvention, weights: Mapping[str, Array], refit: bool, threads: int
    ) -> None:
        self._graph, self._image, self._threads = graph, image, threads
        if refit:
            raise BackendError(
                f"{graph}: backend {self.name} keeps weights on the device, where they can't be changed in place: "
                "use policy='merged' or 'auto'"
            )
        ort = _package(self.name, self.provider)
        options = ort.SessionOptions()
        options.intra_op_num_threads, options.log_severity_level = threads, SILENT
        self._buffers = {name: np.array(tensor, order="C") for name, tensor in weights.items()}
        self._values = [ort.OrtValue.ortvalue_from_numpy(buffer) for buffer in self._buffers.values()]
        if self._values:  # not add_initializer, which full optimisation may read past
            options.add_external_initializers(list(self._buffers), self._values)
        providers = self._providers(weights)
        try:
            self._session: Any = ort.InferenceSession(str(graph), options, providers=providers)
            self._session.disable_fallback()
        except Exception as e:  # ONNX Runtime's errors have no common base class
            raise BackendError(f"{graph}: ONNX Runtime can't open it on the GPU: {e}") from e
        taken = self._session.get_providers()
        if taken[0] != self.provider:  # it goes on without a provider whose libraries it can't load
            raise BackendError(
                f"{graph}: {self.provider} did not start (CUDA, cuDNN or TensorRT is missing or of another version), "
                f"and ONNX Runtime took {taken[0]}: {remedy(machine_here())}; or use backend='ort'"
            )

    @classmethod
    def open(
        cls, graph: Path, image: ImageConvention, weights: Mapping[str, Array], refit: bool, threads: int
    ) -> "OrtCudaBackend":
        return cls(graph, image, weights, refit, threads)

    def run(self, tensor: Array) -> Array:
        if self._session is None:
            raise BackendError(f"{self._graph}: the session is closed")
        try:
            result: Array = self._session.run([self._image.output], {self._image.input: tensor})[0]
        except Exception as e:
            raise BackendFailed(f"{self._graph}: ONNX Runtime failed on {tensor.shape}: {e}") from e
        return result

    def set_weights(self, tensors: Iterable[tuple[str, Array]]) -> None:
        raise BackendError(f"{self._graph}: backend {self.name} can't change weights: use policy='merged'")

    def lend(self) -> Mapping[str, Array]:
        return {}

    def trim(self) -> None:
        """Nothing: the providers give memory back with the session only."""

    def close(self) -> None:
        self._session = None
        self._values, self._buffers = [], {}

    def describe(self) -> BackendFacts:
        import onnxruntime

        return BackendFacts(self.name, onnxruntime.__version__, self.provider, self._threads, False)

    def _providers(self, weights: Mapping[str, Array]) -> list[tuple[str, Options]]:
        """Providers to ask for, in order, with their options."""
        return [cuda_options()]


class OrtTensorrtBackend(OrtCudaBackend):
    """The same by engines of TensorRT, kept between sessions."""

    name, provider = "ort-tensorrt", TENSORRT

    def _providers(self, weights: Mapping[str, Array]) -> list[tuple[str, Options]]:
        import onnxruntime

        file = self._graph.with_name(MANIFEST)
        manifest = parse_manifest(file.read_bytes(), str(file))
        made_by = f"{onnxruntime.__version__} {machine_here().tensorrt}"
        folder = cache_folder(self._graph, manifest, weights, made_by)
        try:
            folder.mkdir(parents=True, exist_ok=True)
        except OSError as e:
            raise BackendError(
                f"{folder} can't be written: {e}: build as a user who may, or copy the bundle"
            ) from e
        _prune(folder)
        return [tensorrt_options(manifest, folder), cuda_options()]


def cuda_options() -> tuple[str, Options]:
    """The CUDA provider: float32 is float32, and a size that was not seen before costs no search of kernels."""
    options = {
        "use_tf32": "0",
        "cudnn_conv_algo_search": "HEURISTIC",
        "arena_extend_strategy": "kSameAsRequested",
    }
    return CUDA, options


def tensorrt_options(manifest: Manifest, folder: Path) -> tuple[str, Options]:
    """The TensorRT provider for the shapes of a bundle, with engines in `folder` and timings beside it.

    Its networks are weakly typed with TensorRT 10: half precision has to be allowed for a graph that has it, and the
    norms kept out of it.
    """
    half = "1" if manifest.precision == "fp16" else "0"
    options = {
        "trt_engine_cache_enable": "1",
        "trt_engine_cache_path": str(folder),
        "trt_timing_cache_enable": "1",
        "trt_timing_cache_path": str(folder.parent),
        "trt_context_memory_sharing_enable": "1",
        "trt_fp16_enable": half,
        "trt_layer_norm_fp32_fallback": half,
    }
    for which, shape in zip(("min", "opt", "max"), profile_shapes(manifest.shapes), strict=True):
        options[f"trt_profile_{which}_shapes"] = f"{manifest.image.input}:{'x'.join(map(str, shape))}"
    return TENSORRT, options


def cache_folder(graph: Path, manifest: Manifest, weights: Mapping[str, Array], made_by: str) -> Path:
    """Where the engines of a graph over these weights are. made_by: versions that they depend on."""
    files = [record.sha256 for name, record in sorted(manifest.files.items()) if name.startswith(GRAPH[:6])]
    parts = [
        *files,
        tensors_sha256(weights),
        made_by,
        str(profile_shapes(manifest.shapes)),
        manifest.precision,
    ]
    return engines_root(graph.parent) / "ort" / hashlib.sha256("\n".join(parts).encode()).hexdigest()[:16]


def remedy(machine: Machine) -> str:
    """What brings an ONNX Runtime with the GPU's providers."""
    jetpack = find_jetpack(machine.l4t)
    if jetpack is None:
        return "pip install onnxruntime-gpu, with CUDA, cuDNN and TensorRT of the versions that it names"
    return (
        f"install the wheel onnxruntime-gpu for JetPack {jetpack.version}, CUDA {jetpack.cuda} and Python "
        f"{jetpack.python} from NVIDIA's Jetson AI Lab or Jetson Zoo (pip's own has no GPU on a Jetson)"
    )


def _package(backend: str, provider: str) -> Any:
    """ONNX Runtime with that provider. Raises: MissingExtra, BackendError."""
    try:
        import onnxruntime as ort
    except ImportError as e:
        raise missing_extra("onnxruntime", "ort", f"backend {backend}") from e
    found = ort.get_available_providers()
    if provider not in found:
        raise BackendError(
            f"backend {backend} needs {provider}; this onnxruntime {ort.__version__} has {', '.join(found)}: "
            f"{remedy(machine_here())}; meanwhile use backend='ort'"
        )
    return ort


def _prune(keep: Path) -> None:
    """Remove folders of engines beyond KEPT, the oldest first."""
    folders = sorted(
        (f for f in keep.parent.iterdir() if f.is_dir()), key=lambda f: f.stat().st_mtime, reverse=True
    )
    for folder in [f for f in folders if f != keep][KEPT - 1 :]:
        with suppress(OSError):
            shutil.rmtree(folder)
