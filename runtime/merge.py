"""Graph tensors of a mixture of tasks: W = W0 + Σ strength·ΔW, then the weight program.

Always from the pristine backbone on disk, never from what the graph holds now, and in one order: A → B →
A gives the same bits whatever came between, and a mixture does not depend on the order in which it was
written. By one thread: between numpy's calls of some 20 µs each, two wait for Python's lock, and gained nothing.
"""

from collections import OrderedDict
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping
from functools import lru_cache, reduce

import numpy as np
from colora.devices.errors import BundleError
from colora.runtime.blocks import Block, LowRank, Param, form_of, put, put_all
from colora.runtime.bundle import WEIGHTS, Bundle
from colora.runtime.deltas import delta_kind
from colora.runtime.mixture import Mixture
from colora.runtime.program import operands, run_steps
from colora.runtime.weights import Array, MappedTensors

KEPT = 8
"""Tasks, used last, for which small tensors, means and the cut into blocks are kept ready, 0.4 MB each with 5.9 M
parameters and 1.5 MB with 29 M; large tensors stay where the adapter has them. Making all that takes as long as a
switch."""
SMALL_BYTES = 1 << 13
"""Of a graph tensor without low rank that is kept as it is: biases, small depthwise kernels."""

Ready = Array | tuple[Block, ...]
"""A graph tensor, or what it is computed from."""


class GraphTensors:
    """The graph tensors of one bundle under any mixture. Any thread may ask for `under`, one at a time for `write`.

    Source weights stay on disk, mapped; their pages are released after each call.
    Raises: BundleError if the weights can't be read.
    """

    def __init__(self, bundle: Bundle) -> None:
        self._program = bundle.manifest.program
        self._pristine = MappedTensors(bundle.path / WEIGHTS, BundleError)
        self._readers: dict[str, set[str]] = {}  # source parameter → graph tensors
        for name, steps in self._program.items():
            for param in operands(steps):
                self._readers.setdefault(param, set()).add(name)
        self._touched = lru_cache(maxsize=16)(self._find)
        self._kept: OrderedDict[tuple[str, ...], dict[str, Ready]] = OrderedDict()

    def touched(self, *mixtures: Mixture) -> tuple[str, ...]:
        """Those that depend on a parameter that any of the mixtures changes, in program order."""
        return self._touched(frozenset().union(*(part.adapter.params for m in mixtures for part in m)))

    def under(self, mixture: Mixture, names: Collection[str]) -> Iterator[tuple[str, Array]]:
        """Name and values of graph tensors under a mixture, one after another; each may be read-only.

        Raises: BundleError if the program does not fit the weights.
        """
        maker = _Maker(self._pristine, mixture)
        try:
            for name in names:
                ready = self._ready(name, maker)
                yield name, ready if isinstance(ready, np.ndarray) else _whole(ready)
        finally:
            self._pristine.release()

    def write(self, mixture: Mixture, buffers: Mapping[str, Array], names: tuple[str, ...]) -> None:
        """The same, bit for bit, to `buffers` by name: arrays of the dtypes of `under` and as many numbers.

        A buffer takes its tensor as `buffer[...] = tensor.reshape(buffer.shape)`: its axes may be parts of the
        tensor's, its numbers apart.

        Raises: BundleError; some may be written by then.
        """
        kept, maker = self._keep(mixture), _Maker(self._pristine, mixture)
        if 2 * len(names) > len(self._program):
            self._pristine.populate()
        try:
            for name in names:
                if name not in kept:
                    ready = self._ready(name, maker)
                    if isinstance(ready, np.ndarray) and ready.nbytes > SMALL_BYTES:
                        put(ready, buffers[name])  # rare: what passes make has the form of blocks
                    else:
                        kept[name] = ready
            _write(kept, names, buffers)
        finally:
            self._pristine.release()

    def release(self) -> None:
        """Give the pages of the source weights back to the system."""
        self._pristine.release()

    def _ready(self, name: str, maker: "_Maker") -> Ready:
        steps = self._program[name]
        blocks = form_of(steps, maker.param, maker.value)
        if not blocks:
            return run_steps(name, steps, maker.value)
        small = 4 * sum(block.w0.size for block in blocks) <= SMALL_BYTES
        return _whole(blocks) if small and all(block.low_rank is None for block in blocks) else blocks

    def _keep(self, mixture: Mixture) -> dict[str, Ready]:
        """Graph tensors that are ready, to be added to; kept for whole tasks."""
        if any(part.strength != 1 for part in mixture):
            return {}
        key = tuple(part.adapter.content_sha256 for part in mixture)
        kept = self._kept.setdefault(key, {})
        self._kept.move_to_end(key)
        if len(self._kept) > KEPT:
            self._kept.popitem(last=False)
        return kept

    def _find(self, params: frozenset[str]) -> tuple[str, ...]:
        hit = set().union(*(self._readers.get(param, ()) for param in params))
        return tuple(name for name in self._program if name in hit)


class _Maker:
    """Source parameters under one mixture; the last few numbers are held, since neighbours read the same."""

    def __init__(self, pristine: MappedTensors, mixture: Mixture) -> None:
        self._pristine, self._mixture = pristine, mixture
        self.value: Callable[[str], Array] = lru_cache(maxsize=4)(self._value)

    def param(self, name: str) -> Param:
        """In parts."""
        w0 = self._pristine[name]
        dense: list[Array] = []
        low_rank: list[LowRank] = []
        for part in self._mixture:
            if (delta := part.adapter.params.get(name)) is not None:
                scale, tensors = part.strength * delta.scale, delta.tensors
                if delta.kind == "low-rank":
                    low_rank.append(LowRank(tensors["lora_B"], tensors["lora_A"], scale))
                else:
                    change = delta_kind(delta.kind).delta(tensors, w0)
                    dense.append(change if scale == 1 else np.asarray(np.float32(scale) * change))
        joined = low_rank[0] if low_rank else None
        if len(low_rank) > 1:
            scaled = [np.multiply(low.b, np.float32(low.scale), dtype=np.float32) for low in low_rank]
            b = np.concatenate(scaled, axis=1)
            joined = LowRank(b, np.concatenate([low.a for low in low_rank]))
        return Param(w0, reduce(np.add, dense) if dense else None, joined)

    def _value(self, name: str) -> Array:
        param = self.param(name)
        if param.low_rank is None:
            value = param.w0 if param.dense is None else param.w0 + param.dense
        else:
            value = _whole(param.cut(slice(0, len(param.w0)), None, False, None))
        value.flags.writeable = False
        return value


def _whole(blocks: tuple[Block, ...]) -> Array:
    """The graph tensor; W0 itself where that is all."""
    if len(blocks) == 1 and blocks[0].plain:
        return blocks[0].w0
    whole = np.empty((blocks[-1].rows.stop, *blocks[0].w0.shape[1:]), np.float32)
    put_all(blocks, whole, _scratch(blocks))
    return whole


def _write(ready: Mapping[str, Ready], names: Iterable[str], buffers: Mapping[str, Array]) -> None:
    found = [(buffers[name], ready[name]) for name in names if name in ready]
    scratch = _scratch(block for _, made in found if not isinstance(made, np.ndarray) for block in made)
    for buffer, made in found:
        if isinstance(made, np.ndarray):
            put(made, buffer)
        else:
            put_all(made, buffer, scratch)


def _scratch(blocks: Iterable[Block]) -> Array:
    return np.empty((2, max((block.room for block in blocks), default=0)), np.float32)
