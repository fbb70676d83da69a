"""An ONNX graph → a TensorRT engine, on the machine that will run it: TensorRT 10.3 to 11 by one way.

Networks are strongly typed: precision is what the graph says, and there is no flag for it (11 has none, 10.3 can do
without). float32 is float32: TF32, which keeps 10 bits, is off. Every call used is in the Python bindings of 10.3 and
of 11.1 (python/src of NVIDIA/TensorRT at v10.3.0 and v11.1); STRONGLY_TYPED is asked for where it is not deprecated.
The module is an argument: TensorRT for RTX has the same interface.

refit: the weights named stay changeable (BuilderFlag.REFIT_INDIVIDUAL, 10.2), the others may be folded. Each has to be
a weight of the network under its own name, or nothing is built. A refittable engine may have one optimisation profile
(NvInfer.h, addOptimizationProfile), and every engine here has one.
"""

import hashlib
import re
import time
from collections import deque
from collections.abc import Callable, Collection, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from types import ModuleType
from typing import TYPE_CHECKING

from colora.devices.errors import BackendError
from colora.runtime.atomic import atomic_file, write_bytes
from colora.runtime.build_progress import Progress, Watch, monitor
from colora.runtime.golden import GOLDEN_SHAPE
from colora.runtime.manifest import ImageConvention, Shapes
from colora.runtime.onnx_weights import write_with_weights
from colora.runtime.weights import Array

if TYPE_CHECKING:
    import tensorrt as trt

NO_MEMORY = re.compile(
    r"out of memory|outofmemory|could not be allocated|insufficient memory|bad_alloc", re.I
)
"""What TensorRT logs where memory is short; it has no error of its own for it."""
MEMORY = r"Total {} Memory: (\d+) bytes"
"""How the builder reports what an engine will take."""
KEPT = 400
"""Messages."""


@dataclass(frozen=True)
class Built:
    """What `build` has written."""

    size_bytes: int
    sha256: str
    """Of the engine's file."""
    seconds: float
    weight_bytes: int | None
    """As the builder reports it; None where it does not."""
    activation_bytes: int | None
    """The same, for the largest shape of the profile."""
    messages: tuple[str, ...]
    """Of the builder, at INFO and above, the last ones."""


class Messages:
    """What TensorRT says. The logger of a module lives as long as the process: TensorRT keeps the first it is given."""

    def __init__(self) -> None:
        self.all: deque[str] = deque(maxlen=KEPT)
        self.errors: deque[str] = deque(maxlen=KEPT)

    def clear(self) -> None:
        """Forget, before something new is tried."""
        self.all.clear()
        self.errors.clear()

    def no_memory(self) -> bool:
        """Whether memory was short."""
        return any(NO_MEMORY.search(error) for error in self.errors)

    def told(self) -> str:
        """The last errors, and what helps where memory was short."""
        errors = " · ".join(list(self.errors)[-3:]) or "TensorRT gave no reason"
        if self.no_memory():
            return f"{errors}; too little memory: close other programs, or export with a smaller --tile"
        return errors


_loggers: dict[str, tuple["trt.ILogger", Messages]] = {}


def logger(api: ModuleType) -> tuple["trt.ILogger", Messages]:
    """The one of a module and what it has been told."""
    if TYPE_CHECKING:
        import tensorrt as trt
    else:
        trt = api

    class Logger(trt.ILogger):
        def __init__(self, messages: Messages) -> None:
            trt.ILogger.__init__(self)
            self.messages = messages

        def log(self, severity: trt.ILogger.Severity, msg: str) -> None:
            if severity in (trt.ILogger.Severity.INTERNAL_ERROR, trt.ILogger.Severity.ERROR):
                self.messages.errors.append(msg)
            if severity != trt.ILogger.Severity.VERBOSE:
                self.messages.all.append(msg)

    if api.__name__ not in _loggers:
        messages = Messages()
        _loggers[api.__name__] = Logger(messages), messages
    return _loggers[api.__name__]


def build(
    graph: Path,
    plan: Path,
    shapes: Shapes,
    image: ImageConvention = ImageConvention(),  # noqa: B008  # frozen
    *,
    api: ModuleType,
    weights: Mapping[str, Array] | None = None,
    refit: Collection[str] = (),
    timing_cache: Path | None = None,
    workspace_bytes: int | None = None,
    configure: Callable[["trt.IBuilderConfig"], None] | None = None,
    progress: Progress | None = None,
) -> Built:
    """Build the engine of an ONNX file and write it to `plan`, whole or not at all.

    shapes: heights and widths of the one profile, which takes the golden input as well. api: `tensorrt` or
    `tensorrt_rtx`. weights: graph tensors to use in place of those in the graph, which stay as they are.
    refit: graph tensors that stay changeable.
    timing_cache: read where it is there and of this machine, and written after. workspace_bytes: for one layer's
    scratch memory; None leaves it to TensorRT. configure: is given the builder's configuration last.
    progress: called with a phase's name and the share done of all.
    Raises: BackendError with TensorRT's own words; BundleError; OSError; KeyboardInterrupt. `plan` is then as before.
    """
    if TYPE_CHECKING:
        import tensorrt as trt
    else:
        trt = api
    begin = time.perf_counter()
    log, messages = logger(api)
    messages.clear()
    with ExitStack() as stack:
        source = graph
        if weights:
            folder = stack.enter_context(TemporaryDirectory(prefix="colora-"))
            source = write_with_weights(graph, weights, Path(folder))
        with starting(api):
            builder = trt.Builder(log)
        network = builder.create_network(_flags(trt))
        parser = trt.OnnxParser(network, log)
        if not parser.parse_from_file(str(source)):
            found = " · ".join(parser.get_error(i).desc() for i in range(parser.num_errors))
            raise BackendError(
                f"{graph}: TensorRT {trt.__version__} can't read it: {found or messages.told()}: export it for "
                "this device, or use backend='ort'"
            )
        config = builder.create_builder_config()
        config.clear_flag(trt.BuilderFlag.TF32)
        if refit:
            config.set_flag(trt.BuilderFlag.REFIT_INDIVIDUAL)
            _mark(graph, network, refit)
        low, opt, high = profile_shapes(shapes)
        given = network.get_input(0).shape
        if any(given[i] == -1 for i in range(len(given))):
            profile = builder.create_optimization_profile()
            profile.set_shape(image.input, trt.Dims4(low), trt.Dims4(opt), trt.Dims4(high))
            config.add_optimization_profile(profile)
        if workspace_bytes is not None:
            config.set_memory_pool_limit(trt.MemoryPoolType.WORKSPACE, workspace_bytes)
        if timing_cache is not None:
            _read_cache(config, timing_cache)
        watch = Watch(progress)
        config.progress_monitor = monitor(api, watch)
        if configure is not None:
            configure(config)
        made = builder.build_serialized_network(network, config)
        if watch.interrupted:
            raise KeyboardInterrupt
        if made is None:
            raise BackendError(
                f"{graph}: TensorRT {trt.__version__} could not build an engine for "
                f"{low[2]}×{low[3]} to {high[2]}×{high[3]} px: {messages.told()}"
            )
        with memoryview(made) as numbers, atomic_file(plan) as partial:
            digest = hashlib.sha256(numbers).hexdigest()
            partial.write_bytes(numbers)
        if timing_cache is not None and (cache := config.get_timing_cache()) is not None:
            write_bytes(timing_cache, bytes(memoryview(cache.serialize())))
    said = tuple(messages.all)
    return Built(
        size_bytes=made.nbytes,
        sha256=digest,
        seconds=time.perf_counter() - begin,
        weight_bytes=_reported("Weights", said),
        activation_bytes=_reported("Activation", said),
        messages=said,
    )


@contextmanager
def starting(api: ModuleType) -> Iterator[None]:
    """Around TensorRT's constructors: where CUDA does not start, the bindings have nothing and raise TypeError.

    Raises: BackendError.
    """
    try:
        yield
    except TypeError as e:
        raise BackendError(f"TensorRT {api.__version__} does not start: {logger(api)[1].told()}") from e


def profile_shapes(shapes: Shapes) -> tuple[list[int], list[int], list[int]]:
    """1×3×H×W at least, tuned for, and at most; the golden input is among them."""
    golden = GOLDEN_SHAPE[2:]
    low = [min(a, b) for a, b in zip(shapes.min, golden, strict=True)]
    high = [max(a, b) for a, b in zip(shapes.max, golden, strict=True)]
    return [1, 3, *low], [1, 3, *shapes.opt], [1, 3, *high]


def _flags(api: ModuleType) -> int:
    """STRONGLY_TYPED as a bit: 11 has networks of no other kind, and may drop the name."""
    flag = getattr(api.NetworkDefinitionCreationFlag, "STRONGLY_TYPED", None)
    return 0 if flag is None or int(api.__version__.split(".")[0]) >= 11 else 1 << int(flag)


def _mark(graph: Path, network: "trt.INetworkDefinition", names: Collection[str]) -> None:
    """Raises: BackendError naming weights that the network does not have under their own names."""
    lost = [name for name in names if not network.mark_weights_refittable(name)]
    lost += [name for name in names if name not in lost and not network.are_weights_marked_refittable(name)]
    if lost:
        raise BackendError(
            f"{graph}: {len(lost)} of {len(names)} switchable tensors are no weights of TensorRT's network by their "
            f"names, first {lost[0]}: export it again, or use policy='merged'"
        )


def _read_cache(config: "trt.IBuilderConfig", file: Path) -> None:
    """What layers took when they were last tried here; an empty one where that is of another machine or version."""
    try:
        stored = file.read_bytes()
    except OSError:
        stored = b""
    for content in (stored, b""):
        cache = config.create_timing_cache(content)
        if cache is not None and config.set_timing_cache(cache, ignore_mismatch=False):
            return


def _reported(what: str, messages: tuple[str, ...]) -> int | None:
    found = [int(m[1]) for message in messages if (m := re.search(MEMORY.format(what), message))]
    return max(found, default=None)
