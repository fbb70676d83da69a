"""TensorRT, on the GPU whose engines `colora build`, or the first `open`, makes.

refit: one engine whose switchable weights change in place. Weights that were never seen are set one and all; on the
way back to those that were, the ones that differ and what TensorRT has folded with them. After each change the golden
input is run: at first the session compares the result with what training wrote, later it is compared here with what
these weights gave then. An engine that fails, or that gives something else, is loaded again from its file, which has
the weights it was opened with, and all are set once more; an engine that fails again is given up (BackendFailed).
merged: an engine for each set of weights.

Engines of a process run in turn, in one block of activation memory (runtime/cuda_memory.py). Pictures go through pinned
memory. A size that comes again and again is captured as a CUDA graph, copies included: one launch in place of one for
each layer, which is what small pictures wait for.
"""

import zlib
from collections import OrderedDict
from collections.abc import Collection, Iterable, Mapping
from contextlib import suppress
from pathlib import Path
from types import ModuleType
from typing import TYPE_CHECKING

import numpy as np
from colora.devices.errors import BackendError, BackendFailed
from colora.runtime.backend import BackendFacts
from colora.runtime.build_progress import build_bar
from colora.runtime.bundle import GOLDEN, GRAPH, MANIFEST, Bundle
from colora.runtime.cuda_memory import Cuda, cuda
from colora.runtime.engine import logger, profile_shapes, starting
from colora.runtime.engines import Engines
from colora.runtime.golden import golden_input
from colora.runtime.gpu_pictures import GpuPictures
from colora.runtime.manifest import ImageConvention, parse_manifest
from colora.runtime.preflight import tensorrt
from colora.runtime.refit import check_refit_map, refit
from colora.runtime.weights import Array

if TYPE_CHECKING:
    import tensorrt as trt

PROBED = 4
"""Switchable tensors that `open` edits, spread evenly over the graph."""
SAME = 1e-4
"""Largest difference of two runs of the same engine over the same weights: kernels may add in another order."""
SEEN = 64
"""Sets of weights whose golden output is kept, 49 kB each."""


class EngineRefused(BackendError):
    """TensorRT does not open an engine that its record says is for it."""


class TensorrtBackend:
    """See `Backend`. api, gpu: TensorRT's module and the CUDA runtime, the installed ones by default."""

    computes = True

    def __init__(
        self,
        graph: Path,
        image: ImageConvention,
        weights: Mapping[str, Array],
        refit: bool,
        threads: int,
        api: ModuleType | None = None,
        gpu: Cuda | None = None,
    ) -> None:
        self._graph, self._image, self._refit, self._threads = graph, image, refit, threads
        self._api = api or tensorrt()
        self._cuda = gpu or cuda()
        file = graph.with_name(MANIFEST)
        self._manifest = parse_manifest(file.read_bytes(), str(file))
        self._engines = Engines(graph, self._manifest, self._api, self._cuda)
        self._buffers = (
            {name: np.array(tensor, order="C") for name, tensor in weights.items()} if refit else {}
        )
        self._codes = {name: zlib.crc32(tensor.data) for name, tensor in self._buffers.items()}
        self._seen: OrderedDict[tuple[int, ...], Array] = OrderedDict()
        self._engine: trt.ICudaEngine | None = None
        self._context: trt.IExecutionContext | None = None
        self._pictures: GpuPictures | None = None
        self._poisoned = ""
        """Why the engine must not be used."""
        with build_bar(f"engine for {self._engines.here.device}") as progress:
            self._file = self._engines.obtain(weights, refit, progress)
        try:
            try:
                self._load()
            except EngineRefused:  # the record is this machine's, and yet: another driver, say
                with build_bar(f"engine for {self._engines.here.device}") as progress:
                    self._file = self._engines.obtain(weights, refit, progress, anew=True)
                self._load()
        except BaseException:
            self.close()
            raise

    @classmethod
    def open(
        cls, graph: Path, image: ImageConvention, weights: Mapping[str, Array], refit: bool, threads: int
    ) -> "TensorrtBackend":
        backend = cls(graph, image, weights, refit, threads)
        if refit:
            backend.probe()
        return backend

    def run(self, tensor: Array) -> Array:
        if self._poisoned:
            raise BackendFailed(f"{self._file} can't be trusted: {self._poisoned}")
        if self._context is None or self._pictures is None:
            raise BackendError(f"{self._graph}: the session is closed")
        low, _, high = profile_shapes(self._manifest.shapes)
        if not all(a <= n <= b for a, n, b in zip(low, tensor.shape, high, strict=True)):
            raise BackendError(
                f"{self._graph}: the engine takes {_size(low)} to {_size(high)} px, and was given {tensor.shape}: "
                "export with --size, or let pictures be tiled"
            )
        try:
            return self._pictures.run(self._context, tensor)
        except BackendFailed as e:
            raise BackendFailed(f"{self._graph}: TensorRT failed on {tensor.shape}: {e}") from e

    def set_weights(self, tensors: Iterable[tuple[str, Array]]) -> None:
        if not self._refit:
            raise BackendError(f"{self._graph} was opened without refit: its weights can't change")
        if self._poisoned:
            raise BackendFailed(f"{self._file} can't be trusted: {self._poisoned}")
        if self._engine is None:
            raise BackendError(f"{self._graph}: the session is closed")
        new = dict(tensors)
        for name, tensor in new.items():
            buffer = self._buffers.get(name)
            if buffer is None or buffer.shape != tensor.shape or buffer.dtype != tensor.dtype:
                expected = (
                    "one of the switchable tensors" if buffer is None else f"{buffer.dtype} {buffer.shape}"
                )
                raise BackendError(f"{self._graph}: {name} is {tensor.dtype} {tensor.shape}, not {expected}")
        for name, tensor in new.items():
            self._buffers[name][...] = tensor
            self._codes[name] = zlib.crc32(self._buffers[name].data)
        before = self._seen.get(self._key)
        try:
            output = self._turn(self._buffers if before is None else new, before)
        except BackendError as e:
            self._poisoned = str(e)
            output = self._again(before)
        self._seen[self._key] = output
        self._seen.move_to_end(self._key)
        while len(self._seen) > SEEN:
            self._seen.popitem(last=False)

    def lend(self) -> Mapping[str, Array]:
        return {}

    def trim(self) -> None:
        if self._pictures is not None:
            self._pictures.release()

    def close(self) -> None:
        pictures, self._pictures = self._pictures, None
        if pictures is not None:
            with suppress(BackendError):  # a device that failed frees all by itself
                pictures.close()
        self._context = self._engine = None
        self._buffers, self._codes, self._poisoned = {}, {}, ""
        self._seen.clear()

    def describe(self) -> BackendFacts:
        found = self._engines.here
        device = f"{found.device} (SM {found.compute_capability})"
        return BackendFacts("tensorrt", found.tensorrt, device, self._threads, self._refit)

    def probe(self) -> None:
        """See whether the engine computes the backbone, and whether changes of weights are seen.

        Refittable engines of TensorRT 11.3 may be wrong from the start (its release notes). Raises: BackendError.
        """
        from colora.runtime.session import GOLDEN_TOLERANCE  # which imports this module's table

        try:
            with np.load(self._graph.with_name(GOLDEN), allow_pickle=False) as arrays:
                expected = arrays["output"]
            before = self.run(golden_input())
            tolerance, off = (
                GOLDEN_TOLERANCE[self._manifest.precision],
                float(np.abs(before - expected).max()),
            )
            if not off <= tolerance:
                raise BackendError(f"it is off its golden output by {off:.2g}, more than {tolerance:g}")
            names = list(self._buffers)[:: max(1, -(-len(self._buffers) // PROBED))]
            pristine = {name: self._buffers[name].copy() for name in names}
            for name in names:
                self._buffers[name][...] = pristine[name] * 1.25 + 0.0625
            changed = self._turn(names, None)
            for name in names:
                self._buffers[name][...] = pristine[name]
            if np.array_equal(changed, before):
                raise BackendError(f"changes of {', '.join(names)} are not seen")
            self._seen[self._key] = self._turn(names, before)
        except BackendError as e:
            self.close()
            raise BackendError(f"{self._file}: refit does not work here: {e}: use policy='merged'") from e

    @property
    def _key(self) -> tuple[int, ...]:
        return tuple(self._codes.values())

    def _turn(self, names: Collection[str], expected: Array | None) -> Array:
        """Refit, and run the golden input. expected: what it gave before. Raises: BackendFailed."""
        if self._engine is None or self._pictures is None:
            raise BackendError(f"{self._graph}: the session is closed")
        with self._cuda.activations.lock:  # no run meanwhile
            self._pictures.forget_graph()
            refit(self._api, self._engine, self._buffers, names, str(self._file))
            output = self.run(golden_input())
        if not np.isfinite(output).all():
            raise BackendFailed(
                f"{self._file}: the golden output is not finite after a refit of {len(names)} weights"
            )
        if expected is not None and (off := float(np.abs(output - expected).max())) > SAME:
            raise BackendFailed(
                f"{self._file}: weights that gave one picture before give another, off by {off:.2g}"
            )
        return output

    def _again(self, expected: Array | None) -> Array:
        """The engine from its file, and all weights anew. Raises: BackendFailed; it can't be used then."""
        reason = self._poisoned
        try:
            self._load()
            self._poisoned = ""
            return self._turn(self._buffers, expected)
        except BackendError as e:
            self._poisoned = f"{reason}; loaded again from its file: {e}"
            raise BackendFailed(self._poisoned) from e

    def _load(self) -> None:
        """Open the engine's file anew. Raises: BackendError."""
        if TYPE_CHECKING:
            import tensorrt as trt
        else:
            trt = self._api
        if self._pictures is not None:
            with suppress(BackendError):
                self._pictures.close()
        self._pictures = self._context = self._engine = None  # first, so that two need not have room
        log, messages = logger(trt)
        messages.clear()
        try:
            content = self._file.read_bytes()
        except OSError as e:
            raise BackendError(f"{self._file} can't be read: {e}: colora build the bundle again") from e
        with starting(trt):
            runtime = trt.Runtime(log)
        engine = runtime.deserialize_cuda_engine(content)
        if engine is None:
            told = f"{self._file}: TensorRT {trt.__version__} can't open it: {messages.told()}"
            raise BackendError(told) if messages.no_memory() else EngineRefused(told)
        names = {engine.get_tensor_name(i) for i in range(engine.num_io_tensors)}
        if names != {self._image.input, self._image.output}:
            raise BackendError(f"{self._file} has tensors {sorted(names)}: it is no engine of this bundle")
        if self._refit:
            check_refit_map(trt, engine, self._buffers, str(self._file))
        context = engine.create_execution_context(trt.ExecutionContextAllocationStrategy.USER_MANAGED)
        if context is None:
            raise BackendError(f"{self._file}: no context: {messages.told()}")
        self._engine, self._context = engine, context
        self._pictures = GpuPictures(self._cuda, self._image, messages.told)


def why_not_ready(bundle: Bundle, in_place: bool) -> str:
    """Why a bundle can't be opened without a build that takes minutes; empty where it can. in_place: by refit.

    Raises: MissingExtra, BackendError where it can't be opened at all.
    """
    if Engines(bundle.path / GRAPH, bundle.manifest, tensorrt(), cuda()).ready(in_place):
        return ""
    return f"tensorrt has no engine of this bundle here yet: colora build {bundle.path}"


def _size(shape: list[int]) -> str:
    return "×".join(map(str, shape[2:]))
