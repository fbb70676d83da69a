"""A double of TensorRT's Python module, which computes the mini network and fails as TensorRT does.

Not product code, and no claim about a GPU: it holds the rules that colora has to live with. Where they are from:
- messages of an engine of another version or board: what TensorRT logs, as quoted in NVIDIA/TensorRT's issues;
- `mark_weights_refittable` of an unknown name, a graph that does not parse, a build that fails (None, the reason only
  in the log): seen with TensorRT for RTX 1.7.1 on a machine without a GPU;
- refit (False with some weights changed, weights that others were folded with are missing, a wrong count or type is
  refused): the docstrings of the Python bindings 11.1; missing weights that it does not tell: pytorch/TensorRT #4198;
- constructors raise TypeError where CUDA does not start: pybind11, which is given nothing.
"""

import ctypes
import enum
import io
import json
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Any

import numpy as np
from colora.runtime.onnx_file import read_onnx

FOLDED = {"b3": "w2b"}
"""Weights that this engine has folded together: the first can't be changed without the second."""


@dataclass
class Faults:
    """What goes wrong, how many times."""

    build: str = ""
    """The reason that is logged; empty: nothing."""
    half_refit: int = 0
    forgets_folded: int = 0
    """Refits in which a weight is not asked for, and the one it is folded with stays as it was."""
    deserialize: int = 0
    memory: int = 0
    """Engines that are not opened for want of it."""
    execute: int = 0
    capture: bool = False
    prototype: str = ""
    """A weight that the engine has in half precision."""
    hidden: str = ""
    """A weight that the engine does not let change."""
    starts: bool = True
    bias: float = 0.0
    """A refittable engine adds it: release notes of 11.3."""


def network(w: dict[str, Any], x: Any) -> Any:
    """The mini network over graph tensors, in float64; 1×3×H×W → the same."""
    height, width = x.shape[2:]
    padded = np.pad(x[0].astype(np.float64), ((0, 0), (1, 1), (1, 1)))
    windows = [padded[:, i : i + height, j : j + width] for i in range(3) for j in range(3)]
    columns = np.stack(windows, axis=1).reshape(27, -1)

    def convolution(kernel: str, bias: str, columns: Any) -> Any:
        return w[kernel].reshape(len(w[kernel]), -1).astype(np.float64) @ columns + w[bias][:, None]

    y = convolution("w1", "b1", columns)
    gated = convolution("w2a", "b2a", y) * convolution("w2b", "b2b", y)
    return x + convolution("w3", "b3", gated).reshape(x.shape)


class Double(ModuleType):
    """`tensorrt`, in a version. faults: what goes wrong; gpu: the CUDA library its engines run on."""

    def __init__(self, version: str, gpu: Any) -> None:
        super().__init__("tensorrt")
        self.__version__ = version
        self.faults, self.gpu = Faults(), gpu
        self.builds: list[dict[str, Any]] = []
        self.refits: list[frozenset[str]] = []
        self.loads = 0
        self.capability = "8.7"
        for name, value in vars(_make(self)).items():
            setattr(self, name, value)


def _make(double: Double) -> Any:
    faults = double.faults
    major = int(double.__version__.split(".")[0])

    class Severity(enum.Enum):
        INTERNAL_ERROR, ERROR, WARNING, INFO, VERBOSE = range(5)

    class ILogger:
        Severity: Any

    ILogger.Severity = Severity

    class Dims4(list[int]):
        pass

    class DataType(enum.IntEnum):
        FLOAT, HALF = 0, 1

    class Weights:
        def __init__(self, array: Any, size: int | None = None) -> None:
            self.array, self.size = array, array.size if size is None else size
            self.dtype = DataType.HALF if array.dtype == np.float16 else DataType.FLOAT

    class Network:
        def __init__(self, flags: int) -> None:
            self.strongly_typed = major >= 11 or bool(flags & 2)
            self.weights: dict[str, Any] = {}
            self.marked: set[str] = set()

        def mark_weights_refittable(self, name: str) -> bool:
            if name in self.weights:
                self.marked.add(name)
            else:
                self.log.log(Severity.ERROR, f"API Usage Error: There are no weights named {name}.")
            return name in self.weights

        def are_weights_marked_refittable(self, name: str) -> bool:
            return name in self.marked

        def get_input(self, index: int) -> Any:
            return type("Tensor", (), {"shape": Dims4([1, 3, -1, -1])})

    class OnnxParser:
        def __init__(self, network: Network, log: Any) -> None:
            self.network, self.errors = network, []
            network.log = log

        def parse_from_file(self, path: str) -> bool:
            stored = read_onnx(Path(path)).initializers
            if not stored:
                self.errors = ["Failed to parse the ONNX model."]
            for name, place in stored.items():
                data = Path(path).with_name(place.file).read_bytes()
                count = int(np.prod(place.shape))
                self.network.weights[name] = np.frombuffer(data, "<f4", count, place.offset).reshape(
                    place.shape
                )
            return bool(stored)

        @property
        def num_errors(self) -> int:
            return len(self.errors)

        def get_error(self, i: int) -> Any:
            return type("ParserError", (), {"desc": lambda _: self.errors[i]})()

    class Cache:
        def __init__(self, content: bytes) -> None:
            self.content = content

        def serialize(self) -> bytes:
            return self.content or f"cache of {double.capability}".encode()

    class Config:
        progress_monitor: Any = None

        def __init__(self) -> None:
            self.flags, self.pools, self.profiles, self.cache = {"TF32"}, {}, [], Cache(b"")

        def set_flag(self, flag: Any) -> None:
            self.flags.add(flag.name)

        def clear_flag(self, flag: Any) -> None:
            self.flags.discard(flag.name)

        def add_optimization_profile(self, profile: Any) -> int:
            self.profiles.append(profile)
            return len(self.profiles) - 1

        def set_memory_pool_limit(self, pool: Any, size: int) -> None:
            self.pools[pool.name] = size

        def create_timing_cache(self, content: bytes) -> Cache:
            return Cache(content)

        def set_timing_cache(self, cache: Cache, ignore_mismatch: bool) -> bool:
            fits = cache.content in (b"", f"cache of {double.capability}".encode())
            self.cache = cache if fits else self.cache
            return fits

        def get_timing_cache(self) -> Cache:
            return self.cache

    class Profile:
        def set_shape(self, name: str, low: Dims4, opt: Dims4, high: Dims4) -> None:
            self.shapes = {name: (low, opt, high)}

    class Builder:
        def __init__(self, log: Any) -> None:
            self.log = log
            if not faults.starts:
                log.log(Severity.ERROR, "CUDA initialization failure with error: 35")
                raise TypeError("pybind11::init(): factory function returned nullptr")

        def create_network(self, flags: int) -> Network:
            return Network(flags)

        def create_builder_config(self) -> Config:
            return Config()

        def create_optimization_profile(self) -> Profile:
            return Profile()

        def build_serialized_network(self, network: Network, config: Config) -> Any:
            watch = config.progress_monitor
            watch.phase_start("Building engine", None, 2)
            watch.phase_start("Timing tactics", "Building engine", 4)
            for i in range(4):
                if not watch.step_complete("Timing tactics", i):
                    return None
            watch.phase_finish("Timing tactics")
            watch.step_complete("Building engine", 0)
            watch.phase_finish("Building engine")
            if faults.build:
                self.log.log(Severity.ERROR, faults.build)
                return None
            refit = network.marked if "REFIT_INDIVIDUAL" in config.flags else set()
            (low, opt, high) = config.profiles[0].shapes["input"]
            double.builds.append(
                {"flags": config.flags, "pools": config.pools, "low": low, "opt": opt, "high": high,
                 "typed": network.strongly_typed, "refit": sorted(refit), "cache": config.cache.content}
            )  # fmt: skip
            self.log.log(Severity.INFO, "Total Weights Memory: 1234 bytes")
            head = {"version": double.__version__, "capability": double.capability, "refit": sorted(refit)}
            stream = io.BytesIO()
            np.savez(stream, head=np.frombuffer(json.dumps(head).encode(), np.uint8), **network.weights)
            return Plan(stream.getvalue())

    class Plan(bytearray):
        @property
        def nbytes(self) -> int:
            return len(self)

    class Runtime:
        def __init__(self, log: Any) -> None:
            self.log = log

        def deserialize_cuda_engine(self, content: bytes) -> Any:
            double.loads += 1
            with np.load(io.BytesIO(content)) as stored:
                weights = {name: stored[name].copy() for name in stored.files}
            head = json.loads(weights.pop("head").tobytes())
            reason = ""
            if head["version"] != double.__version__:
                reason = (
                    f"expecting library version {double.__version__} got {head['version']}, please rebuild."
                )
            if head["capability"] != double.capability or faults.deserialize:
                faults.deserialize = max(0, faults.deserialize - 1)
                reason = (
                    f"expecting compute {double.capability} got compute {head['capability']}, please rebuild."
                )
            if faults.memory:
                faults.memory -= 1
                self.log.log(
                    Severity.ERROR,
                    "Error Code 1: Cuda Runtime (out of memory)",
                )
                return None
            if reason:
                self.log.log(
                    Severity.ERROR, f"The engine plan file is not compatible with this version: {reason}"
                )
                return None
            return Engine(weights, head["refit"])

    class Engine:
        num_io_tensors = 2

        def __init__(self, weights: dict[str, Any], refittable: list[str]) -> None:
            self.weights, self.refittable = weights, refittable

        def get_tensor_name(self, i: int) -> str:
            return ("input", "output")[i]

        def create_execution_context(self, strategy: Any) -> "Context":
            assert strategy.name == "USER_MANAGED"
            return Context(self)

    class Context:
        def __init__(self, engine: Engine) -> None:
            self.engine, self.shape, self.addresses, self.memory = engine, (0, 0, 0, 0), {}, (0, 0)

        def set_input_shape(self, name: str, shape: tuple[int, ...]) -> bool:
            self.shape, self.memory = shape, (0, 0)
            return True

        def get_tensor_shape(self, name: str) -> Any:
            return Dims4(self.shape)

        def update_device_memory_size_for_shapes(self) -> int:
            return 64 * self.shape[2] * self.shape[3]

        def set_tensor_address(self, name: str, address: int) -> bool:
            self.addresses[name] = address
            return True

        def set_device_memory(self, address: int, size: int) -> None:
            self.memory = address, size

        def execute_async_v3(self, stream: int) -> bool:
            gpu = double.gpu
            if gpu.capturing is not None and faults.capture:
                return False
            if faults.execute:
                faults.execute -= 1
                return False
            shape, addresses, (memory, size) = self.shape, dict(self.addresses), self.memory
            assert size >= self.update_device_memory_size_for_shapes(), "activations have no room"

            def work() -> None:
                assert memory in gpu.live, "activations were freed"
                assert all(address in gpu.live for address in addresses.values()), "a buffer was freed"
                given, result = (
                    np.ctypeslib.as_array((ctypes.c_float * int(np.prod(shape))).from_address(addresses[n]))
                    for n in ("input", "output")
                )
                ctypes.memset(memory, 255, size)  # what another engine left there is gone
                off = faults.bias if self.engine.refittable else 0.0
                result[...] = (network(self.engine.weights, given.reshape(shape)) + off).ravel()

            gpu.give(ctypes.c_void_p(stream), work)
            return True

    class Refitter:
        def __init__(self, engine: Engine, log: Any) -> None:
            self.engine, self.log, self.given = engine, log, {}
            self.forgets = faults.forgets_folded > 0

        def get_all_weights(self) -> list[str]:
            return [name for name in self.engine.refittable if name != faults.hidden]

        def get_weights_prototype(self, name: str) -> Weights:
            dtype = np.float16 if name == faults.prototype else np.float32
            return Weights(np.zeros(0, dtype), self.engine.weights[name].size)

        def set_named_weights(self, name: str, weights: Weights) -> bool:
            fits = name in self.engine.refittable and weights.size == self.engine.weights[name].size
            if fits:
                self.given[name] = weights.array
            else:
                self.log.log(Severity.ERROR, f"count of {name} is not as in the engine")
            return fits

        def get_missing_weights(self) -> list[str]:
            folded = {FOLDED[name] for name in self.given if name in FOLDED}
            return [] if self.forgets else sorted(folded - self.given.keys())

        def refit_cuda_engine(self) -> bool:
            assert not any(double.gpu.queues.values()), "the engine is not idle"
            assert not self.get_missing_weights()
            names = list(self.given)
            double.refits.append(frozenset(names))
            half = faults.half_refit > 0
            if half:
                faults.half_refit -= 1
                self.log.log(Severity.ERROR, "Refit failed")
                names = names[: len(names) // 2]
            stale = [name for name in names if FOLDED.get(name, name) not in self.given]
            if stale:
                faults.forgets_folded -= 1
                names = [name for name in names if name not in stale]
            for name in names:
                self.engine.weights[name] = self.given[name].astype(np.float32).copy()
            return not half

    class Flag(enum.Enum):
        TF32, REFIT_INDIVIDUAL = range(2)

    class Pool(enum.Enum):
        WORKSPACE = 0

    class Strategy(enum.Enum):
        STATIC, USER_MANAGED = range(2)

    class Creation(enum.IntEnum):
        EXPLICIT_BATCH, STRONGLY_TYPED = range(2)

    class IProgressMonitor:
        pass

    return SimpleNamespace(
        ILogger=ILogger,
        IProgressMonitor=IProgressMonitor,
        Builder=Builder,
        OnnxParser=OnnxParser,
        Runtime=Runtime,
        Refitter=Refitter,
        Weights=Weights,
        DataType=DataType,
        Dims4=Dims4,
        BuilderFlag=Flag,
        MemoryPoolType=Pool,
        ExecutionContextAllocationStrategy=Strategy,
        NetworkDefinitionCreationFlag=Creation if major < 11 else object,
    )
