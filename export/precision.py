"""What a lower precision costs: PSNR against fp32 on pictures of the task, and what that does to the result.

The reference is the trained network in PyTorch, fp32. What is compared with it is what a device would compute: for
fp16 by the evaluator that rounds (export/rounding.py), for int8 by ONNX Runtime's own integer kernels.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING

import numpy as np
from colora.devices.errors import ParityError
from colora.export.parity import Network, graph_tensors, run_module
from colora.export.rounding import TOLD, RoundingEvaluator
from colora.runtime.program import Program
from colora.runtime.quality import psnr
from colora.runtime.weights import Array
from colora.train.photos import Pair, to_float

if TYPE_CHECKING:
    import onnx
    from torch import nn

UNSCALED = frozenset(("pixel-scale", "mean", "moments", "blocks"))
NOT_IN = {"fp16": UNSCALED, "int8": UNSCALED}
"""Precision → passes that are left out unless asked for: they feed convolutions what no norm has brought to scale, or
make convolutions of what is to stay float32."""


@dataclass(frozen=True)
class Limit:
    """What an export refuses beyond, each as a mean over the pictures."""

    psnr_db: float
    """least PSNR against fp32"""
    change_db: float
    """most that PSNR against the clean picture may fall"""


LIMITS = {"fp16": Limit(54.0, 0.02), "int8": Limit(43.0, 0.2)}
"""Precision → limit. What we promise is that a result loses no more than 0.02 and 0.2 dB. An error that has nothing to
do with the network's own costs so much, beside a result of 30 dB, if it is at 53.4 and 43.3 dB itself: that stands in
for the promise where pictures happen to gain by the error."""


@dataclass(frozen=True)
class Loss:
    """One network in one precision."""

    network: str
    """a task, or `backbone`"""
    precision: str
    evaluator: str
    """what computed it, and whether that rounds as a device does"""
    pictures: int
    psnr_db: float
    """against fp32, mean over the pictures, results clipped to [0, 1]; -inf where one is not finite"""
    fp32_db: float
    """of the fp32 result against the clean picture, mean"""
    clean_db: float
    """of this precision's"""
    left: tuple[str, ...] = ()
    """layers left in float32: those that always are, then the most sensitive first"""

    @property
    def change_db(self) -> float:
        return self.clean_db - self.fp32_db


CEILING = 120.0
"""dB that equal pictures count as"""

ADVICE = "Nothing was written: export in fp32, or give pictures of what the task will see with --calibrate"

Run = Callable[[Array], Array]
"""1×3×H×W float32 → same"""


def measure(
    network: str, precision: str, evaluator: str, reference: Run, run: Run, pairs: Iterable[Pair]
) -> Loss:
    """Compare two ways of computing a network on pictures whose sides it takes."""
    rows = []
    for pair in pairs:
        tensor = tensor_of(pair)
        clean = to_float(pair.clean)
        expected, found = (_picture(f(tensor)) for f in (reference, run))
        bad = not np.isfinite(found).all()
        found = np.nan_to_num(found, nan=0.5)
        rows.append(
            (-np.inf if bad else psnr(found, expected), psnr(expected, clean), psnr(found, clean)),
        )
    against, fp32, here = (float(value) for value in np.mean(np.minimum(rows, CEILING), axis=0))
    return Loss(network, precision, evaluator, len(rows), against, fp32, here)


def fp16_losses(
    module: nn.Module,
    networks: Iterable[Network],
    graph: onnx.ModelProto,
    program: Program,
    pictures: Mapping[str, Sequence[Pair]],
) -> list[Loss]:
    """What float16 costs each network. graph, program: of `type_float16`. Raises: ParityError beyond the limit."""
    evaluator, losses = RoundingEvaluator(graph), []
    for network in networks:
        reference = partial(run_module, module, network.weights)
        weights = graph_tensors(program, network.weights)
        pairs = pictures[network.name]
        loss = measure(network.name, "fp16", TOLD, reference, partial(evaluator.run, weights=weights), pairs)
        if reason := excess(loss):
            first = evaluator.infinite(tensor_of(pairs[0]), weights)[:1]
            where = f"; the first value beyond float16 is {first[0]}" if first else ""
            raise ParityError(f"{reason}{where}. {ADVICE}")
        losses.append(loss)
    return losses


def excess(loss: Loss) -> str:
    """In what way a loss is beyond its limit; "" where it is not."""
    limit = LIMITS[loss.precision]
    if loss.psnr_db >= limit.psnr_db and loss.change_db >= -limit.change_db:
        return ""
    got = (
        f"{loss.psnr_db:.2f} dB against fp32 and {loss.change_db:+.3f} dB against the clean pictures"
        if np.isfinite(loss.psnr_db)
        else "infinities"
    )
    return (
        f"{loss.network} in {loss.precision} gives {got} (mean over {loss.pictures} pictures; {loss.evaluator}); "
        f"expected at least {limit.psnr_db:g} dB and no more than {limit.change_db:g} dB lost"
    )


def tensor_of(pair: Pair) -> Array:
    """1×3×H×W float32: the degraded picture."""
    return np.ascontiguousarray(to_float(pair.degraded).transpose(2, 0, 1)[None])


def _picture(tensor: Array) -> Array:
    with np.errstate(invalid="ignore"):
        clipped = np.where(np.isfinite(tensor), np.clip(tensor, 0, 1), tensor)
    picture: Array = np.ascontiguousarray(clipped[0].transpose(1, 2, 0), np.float32)
    return picture
