"""Changing weights of an open engine, whole or not at all as far as TensorRT lets us know.

TensorRT may change some weights and then fail (refit_cuda_engine answers False), asks for others that it has folded
together with those given (get_missing_weights), and is known to forget some of them (pytorch/TensorRT #4198). So what
is set is counted here, and who calls must look at what the engine then computes.
"""

from collections.abc import Collection, Mapping
from types import ModuleType
from typing import TYPE_CHECKING

import numpy as np
from colora.devices.errors import BackendError, BackendFailed
from colora.runtime.engine import logger, starting
from colora.runtime.weights import Array

if TYPE_CHECKING:
    import tensorrt as trt


def check_refit_map(
    api: ModuleType, engine: "trt.ICudaEngine", weights: Mapping[str, Array], where: str
) -> None:
    """Every weight is one that the engine lets change, by name, type and size; where: the engine's file.

    Raises: BackendError naming those that are not.
    """
    if TYPE_CHECKING:
        import tensorrt as trt
    else:
        trt = api
    dtypes = {trt.DataType.FLOAT: np.dtype(np.float32), trt.DataType.HALF: np.dtype(np.float16)}
    with starting(api):
        refitter = trt.Refitter(engine, logger(api)[0])
    known = set(refitter.get_all_weights())
    wrong = [
        f"{name} is not among its {len(known)} refittable weights" for name in weights if name not in known
    ]
    for name in weights.keys() & known:
        expected, found = refitter.get_weights_prototype(name), weights[name]
        if dtypes.get(expected.dtype) != found.dtype or expected.size not in (found.size, -1):
            wrong.append(
                f"{name} is {expected.dtype} × {expected.size} there, {found.dtype} × {found.size} here"
            )
    if wrong:
        raise BackendError(
            f"{where}: {len(wrong)} of {len(weights)} switchable tensors can't be changed: {wrong[0]}: "
            "colora build the bundle again, or use policy='merged'"
        )


def refit(
    api: ModuleType,
    engine: "trt.ICudaEngine",
    weights: Mapping[str, Array],
    names: Collection[str],
    where: str,
) -> frozenset[str]:
    """Give the weights `names`, and those that TensorRT has folded with them, their values; returns all that were set.

    weights: of every switchable tensor, C-contiguous, as `check_refit_map` has found them. The engine must be idle.
    Raises: BackendFailed; the engine may then be changed by half and must not be used again.
    """
    if TYPE_CHECKING:
        import tensorrt as trt
    else:
        trt = api
    log, messages = logger(api)
    messages.clear()
    with starting(api):
        refitter = trt.Refitter(engine, log)
    given: set[str] = set()
    waiting = list(names)
    while waiting:
        for name in waiting:
            values = weights.get(name)
            if values is None:
                raise BackendFailed(f"{where}: TensorRT wants {name} as well, which is no switchable tensor")
            if not refitter.set_named_weights(name, trt.Weights(np.asarray(values))):
                raise BackendFailed(
                    f"{where}: TensorRT takes no {values.dtype} × {values.size} as {name}: {messages.told()}"
                )
            given.add(name)
        missing = set(refitter.get_missing_weights())
        waiting = sorted(missing - given)
        if missing & given:
            raise BackendFailed(f"{where}: TensorRT still misses {min(missing & given)}, which it was given")
    if not refitter.refit_cuda_engine():
        raise BackendFailed(f"{where}: the refit of {len(given)} weights failed: {messages.told()}")
    return frozenset(given)
