"""Graph tensors of a mixture of tasks: W = W0 + Σ strength·ΔW, then the weight program.

Always from the pristine backbone on disk, never from what the graph holds now, and in one order: A → B →
A gives the same bits whatever came between, and a mixture does not depend on the order in which it was
written. Large ones are made by two threads: a core alone does not use all of the memory's bandwidth.
"""

import os
from collections import Counter, OrderedDict
from collections.abc import Collection, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import lru_cache

import numpy as np
from colora.devices.errors import BundleError
from colora.runtime.blocks import Block, blocks_of, merge, put
from colora.runtime.bundle import WEIGHTS, Bundle
from colora.runtime.mixture import Mixture
from colora.runtime.program import NOTHING, Program, Steps, operands, reads, run_steps
from colora.runtime.weights import Array, MappedTensors

KEPT = 32
"""Tasks whose blocks are kept, about 0.2 MB each: cutting arrays takes as long as small sums."""
THREADS = min(2, os.cpu_count() or 1)
"""That write. More would wait for Python's lock."""
WORTH_A_THREAD = 1 << 20
"""Bytes."""


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
        self._shares = lru_cache(maxsize=16)(self._share)
        self._plan = lru_cache(maxsize=32)(lambda names: plan({name: self._program[name] for name in names}))
        self._kept: OrderedDict[tuple[str, ...], dict[str, list[Block]]] = OrderedDict()

    def touched(self, *mixtures: Mixture) -> tuple[str, ...]:
        """Those that depend on a parameter that any of the mixtures changes, in program order."""
        return self._touched(frozenset().union(*(part.adapter.params for m in mixtures for part in m)))

    def under(self, mixture: Mixture, names: Collection[str]) -> Iterator[tuple[str, Array]]:
        """Name and values of graph tensors under a mixture, one after another; each may be read-only.

        Raises: BundleError if the program does not fit the weights.
        """
        source = _Source(self._pristine, mixture, reads(self._program[name] for name in names), {})
        try:
            for name in names:
                yield name, run_steps(name, self._program[name], source.read)
        finally:
            self._pristine.release()

    def write(self, mixture: Mixture, buffers: Mapping[str, Array], names: tuple[str, ...]) -> None:
        """The same, bit for bit, to `buffers` by name: arrays of the dtypes of `under` and as many numbers.

        A buffer takes its tensor as `buffer[...] = tensor.reshape(buffer.shape)`: its axes may be parts of the
        tensor's, its numbers apart.

        Raises: BundleError; some may be written by then.
        """
        blocks = self._blocks(mixture)
        first, *others = self._shares(names)
        try:
            with ThreadPoolExecutor(THREADS) as pool:
                waiting = [pool.submit(self._write, mixture, buffers, blocks, share) for share in others]
                self._write(mixture, buffers, blocks, first)
            for other in waiting:
                other.result()
        finally:
            self._pristine.release()

    def release(self) -> None:
        """Give the pages of the source weights back to the system."""
        self._pristine.release()

    def _write(
        self,
        mixture: Mixture,
        buffers: Mapping[str, Array],
        blocks: dict[str, list[Block]],
        names: tuple[str, ...],
    ) -> None:
        """What one thread does."""
        jobs = self._plan(names)
        source = _Source(self._pristine, mixture, jobs.reads, blocks)
        for name, (param, scale) in jobs.direct.items():
            buffer, shape = buffers[name], self._pristine[param].shape
            w = buffer.reshape(shape) if buffer.flags.c_contiguous else np.empty(shape, buffer.dtype)
            rows = source.read(scale).reshape(-1, *[1] * (w.ndim - 1)) if scale else None
            merge(source.blocks(param), w, rows)
            if not buffer.flags.c_contiguous:
                put(w, buffer)
        for steps, results in jobs.shared.items():
            self._run(steps, results, source, buffers)

    def _run(
        self,
        steps: Steps,
        results: tuple[tuple[str, Steps], ...],
        source: "_Source",
        buffers: Mapping[str, Array],
    ) -> None:
        """An entry of `Plan.shared`."""
        name, value = results[0][0], NOTHING
        if steps[0].op == "param":
            value, steps = source.take(str(steps[0].args[0])), steps[1:]
        value = run_steps(name, steps, source.read, value)
        if len(results) > 1:
            value.flags.writeable = False
        for name, left in results:
            put(run_steps(name, left, source.read, value), buffers[name])

    def _blocks(self, mixture: Mixture) -> dict[str, list[Block]]:
        """Source parameters in blocks, to be added to; kept for whole tasks, which use stored numbers as they are."""
        if any(part.strength != 1 for part in mixture):
            return {}
        key = tuple(part.adapter.content_sha256 for part in mixture)
        blocks = self._kept.setdefault(key, {})
        self._kept.move_to_end(key)
        if len(self._kept) > KEPT:
            self._kept.popitem(last=False)
        return blocks

    def _share(self, names: tuple[str, ...]) -> list[tuple[str, ...]]:
        """Names for each thread, of about the same work; those made of the same large parameter stay together."""
        together: dict[str, list[str]] = {}
        for name in names:
            largest = max(
                operands(self._program[name]),
                key=lambda param: self._pristine[param].nbytes,
            )
            together.setdefault(largest, []).append(name)
        total = sum(self._pristine[param].nbytes for param in together)
        shares: list[list[str]] = [[] for _ in range(max(1, min(THREADS, total // WORTH_A_THREAD)))]
        work = [0] * len(shares)
        for param, made in sorted(together.items(), key=lambda item: -self._pristine[item[0]].nbytes):
            least = work.index(min(work))
            shares[least] += made
            work[least] += self._pristine[param].nbytes * (1 if len(made) == 1 else 2)
        return [tuple(share) for share in shares]

    def _find(self, params: frozenset[str]) -> tuple[str, ...]:
        hit = set().union(*(self._readers.get(param, ()) for param in params))
        return tuple(name for name in self._program if name in hit)


@dataclass(frozen=True)
class Plan:
    """How graph tensors are made, so that nothing is computed twice."""

    direct: Mapping[str, tuple[str, str]]
    """Graph tensor → the source parameter that it is, and the one that scales its rows, empty where none does."""
    shared: Mapping[Steps, tuple[tuple[str, Steps], ...]]
    """Steps that others begin with, up to where they are cut apart → each of them, and what is left for it."""
    reads: Mapping[str, int]
    """Source parameter → how often the latter, and scales, ask for it."""


def plan(program: Program) -> Plan:
    """Of all tensors of a program."""
    direct: dict[str, tuple[str, str]] = {}
    shared: dict[Steps, tuple[tuple[str, Steps], ...]] = {}
    for name, steps in program.items():
        ops = [step.op for step in steps]
        if ops in (["param"], ["param", "reshape"], ["param", "scale_out"]):
            direct[name] = (
                str(steps[0].args[0]),
                str(steps[1].args[0]) if ops[-1] == "scale_out" else "",
            )
            continue
        cut = ops.index("slice_out") if "slice_out" in ops else len(ops)
        shared[steps[:cut]] = (*shared.get(steps[:cut], ()), (name, steps[cut:]))
    left = [left for results in shared.values() for _, left in results]
    scales = Counter(scale for _, scale in direct.values() if scale)
    return Plan(direct, shared, scales + Counter(reads([*shared, *left])))


class _Source:
    """Source parameters under one mixture, each computed once, and kept until it is asked for no more.

    reads: how often each will be asked for. blocks: of some of them, others are added.
    """

    def __init__(
        self,
        pristine: MappedTensors,
        mixture: Mixture,
        reads: Mapping[str, int],
        blocks: dict[str, list[Block]],
    ) -> None:
        self._pristine, self._mixture, self._left, self._blocks = pristine, mixture, dict(reads), blocks
        self._held: dict[str, Array] = {}

    def blocks(self, name: str) -> list[Block]:
        """A parameter in blocks of rows."""
        if name not in self._blocks:
            self._blocks[name] = blocks_of(name, self._pristine[name], self._mixture)
        return self._blocks[name]

    def read(self, name: str) -> Array:
        """A parameter that is not to be changed."""
        w = self._held.pop(name) if name in self._held else self._make(name)
        self._left[name] -= 1
        if self._left[name]:
            self._held[name] = w
        return w

    def take(self, name: str) -> Array:
        """A parameter that may be changed if it is writeable."""
        w = self.read(name)
        if self._left[name]:
            w = w.view()
            w.flags.writeable = False
        return w

    def _make(self, name: str) -> Array:
        """Fresh, or W0 itself where nothing changes it."""
        w0 = self._pristine[name]
        blocks = self.blocks(name)
        if not blocks[0][2]:
            return w0
        w = np.empty_like(w0)
        merge(blocks, w)
        return w
