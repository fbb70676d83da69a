"""From a mixture of tasks to a graph that holds it: by editing one open graph, or by opening one for each.

Every graph is proven on the golden input before a picture goes through it: the backbone when it is
opened, an adapter before it is first used and again after its file was replaced or a switch failed, alone
and at strength 1 as it was trained.
"""

import math
from collections import OrderedDict
from collections.abc import Callable, Iterator, Mapping
from contextlib import suppress
from pathlib import Path

import numpy as np
from colora.devices.errors import (
    BackendError,
    BundleError,
    CheckpointError,
    ParityError,
    UnknownName,
    unknown,
)
from colora.runtime.adapter import Adapter
from colora.runtime.backend import Backend, BackendFacts
from colora.runtime.bundle import GRAPH, WEIGHTS, Bundle
from colora.runtime.golden import golden_input
from colora.runtime.manifest import ImageConvention
from colora.runtime.mixture import Mixture, Part, graph_tensors, task_strengths, touched
from colora.runtime.resident import ResidentAdapters
from colora.runtime.weights import Array

POLICIES = ("auto", "refit", "merged")

Open = Callable[[Path, ImageConvention, Mapping[str, Array], bool], Backend]
"""`Backend.open` with the number of threads filled in."""
Key = tuple[tuple[str, str, float], ...]
"""Task, content hash and strength of a mixture's parts."""


class Switcher:
    """Holds the open graphs of a bundle. Not thread-safe.

    policy: `refit`, `merged`, or `auto`, which takes merged where refit fails. hot_tasks: merged graphs
    kept open.
    tolerance: largest difference from a golden output that passes.
    Raises: what opening the graph raises; ParityError if the backbone fails its golden check.
    """

    def __init__(
        self, bundle: Bundle, open_graph: Open, policy: str, hot_tasks: int, tolerance: float
    ) -> None:
        self.bundle = bundle
        self.why = f"policy={policy!r} was asked for"
        """Why the policy is what it is."""
        self._open_graph, self._hot, self._tolerance = open_graph, hot_tasks, tolerance
        self._stamp = _stamp(bundle.path / WEIGHTS)
        self.adapters = ResidentAdapters(bundle, self._prove)
        self.switches = 0
        """Times that the weights of one mixture gave way to those of another, golden checks included."""
        self._proven: set[str] = set()  # content hashes of adapters that passed their golden check
        self._graph: Backend | None = None  # refit: the one graph, and the mixture it holds
        self._held: Mixture | None = ()  # None: unknown, after a switch that failed half-way
        self._graphs: OrderedDict[Key, Backend] = OrderedDict()  # merged: least recently used first
        self._closed = False
        manifest = bundle.manifest
        if manifest.kind == "merged" and policy == "refit":
            raise BackendError(
                f"{bundle.path} has task {manifest.task!r} merged in and can't change: use policy='auto'"
            )
        if manifest.kind == "merged":
            self.why = f"task {manifest.task!r} is merged in"
        try:
            if manifest.kind == "shared" and policy != "merged":
                self._start_refit(required=policy == "refit")
            self._check(manifest.task or "the backbone", (), bundle.golden_output)
        except BaseException:
            self.close()
            raise

    @property
    def policy(self) -> str:
        """`refit` or `merged`: how weights change."""
        return "merged" if self._graph is None else "refit"

    def describe(self) -> BackendFacts:
        """Facts of the graph used last. Raises: BackendError when closed."""
        graph = self._graph or next(reversed(self._graphs.values()), None)
        if graph is None:
            raise self._is_closed()
        return graph.describe()

    def switch(self, task: str | Mapping[str, float], strength: float) -> Callable[[Array], Array]:
        """Turn to a task or mixture; returns the network, 1×3×H×W float32 → the same shape, all finite.

        Raises: UnknownName; BundleError, CheckpointError, ParityError, each naming the task's file;
        BackendError.
        """
        if self._closed:
            raise self._is_closed()
        mixture = self._mixture(task, strength)
        for part in mixture:
            self._prove(part.adapter)
        return _finite(self._enter(mixture))

    def at_hand(self) -> set[tuple[tuple[str, float], ...]]:
        """Mixtures, each as task and strength sorted by task, that can run without a switch or a new graph."""
        held = [] if self._graph is None or self._held is None else [_key(self._held)]
        return {tuple((task, value) for task, _, value in key) for key in held or self._graphs}

    def verify(self) -> Mapping[str, str]:
        """Read and prove every task there is; returns task → reason of those refused.

        Raises: BackendError.
        """
        if self._closed:
            raise self._is_closed()
        if self.bundle.manifest.kind == "shared":
            for task in self.adapters.tasks:
                with suppress(BundleError, CheckpointError, ParityError, UnknownName):
                    self.adapters.get(task)
        return self.adapters.refused

    def close(self) -> None:
        """Free all graphs. Harmless when repeated."""
        self._closed = True
        for graph in [*self._graphs.values(), *([self._graph] if self._graph else [])]:
            graph.close()
        self._graph = None
        self._graphs.clear()
        self.adapters.clear()

    def _start_refit(self, required: bool) -> None:
        try:
            weights = dict(graph_tensors(self.bundle, (), self.bundle.manifest.program))
            self._graph = self._open(weights, refit=True)
            if not required:
                self.why = "weights can be changed in place here: every task for the memory of one graph"
        except BackendError as e:
            if required:
                raise
            self.why = f"weights can't be changed in place here: {e}"

    def _open(self, weights: Mapping[str, Array], refit: bool) -> Backend:
        return self._open_graph(self.bundle.path / GRAPH, self.bundle.manifest.image, weights, refit)

    def _mixture(self, task: str | Mapping[str, float], strength: float) -> Mixture:
        """Adapters and strengths of what the caller asked for; parts of strength 0 are left out."""
        manifest = self.bundle.manifest
        strengths = task_strengths(task or manifest.task, strength)
        if manifest.kind == "shared":
            parts = [Part(self.adapters.get(name), value) for name, value in strengths.items()]
            return tuple(part for part in parts if part.strength != 0)
        for name in strengths:
            if name != manifest.task:
                raise unknown("task", name, self.bundle.tasks)
        if strengths != {manifest.task: 1.0}:
            raise BackendError(
                f"{self.bundle.path} has task {manifest.task!r} merged in at strength 1; "
                "other strengths need a shared bundle: export one"
            )
        return ()

    def _enter(self, mixture: Mixture) -> Backend:
        """The graph under a mixture, by editing the one open graph or by opening one."""
        program, key = self.bundle.manifest.program, _key(mixture)
        if self._graph is not None:
            if self._held is None or key != _key(self._held):
                names = tuple(program) if self._held is None else touched(program, self._held, mixture)
                self._held = None
                try:
                    self._graph.set_weights(self._tensors(mixture, names))
                except BaseException:
                    self._proven.clear()  # who knows what the graph holds: all must be proven anew
                    raise
                self._held = mixture
                self.switches += 1
            return self._graph
        if self._graphs and next(reversed(self._graphs)) != key:
            self.switches += 1
        if key not in self._graphs:
            while len(self._graphs) >= self._hot:
                self._graphs.popitem(last=False)[1].close()
            self._graphs[key] = self._open(
                dict(self._tensors(mixture, touched(program, mixture))), refit=False
            )
        self._graphs.move_to_end(key)
        return self._graphs[key]

    def _tensors(self, mixture: Mixture, names: tuple[str, ...]) -> Iterator[tuple[str, Array]]:
        if names and _stamp(self.bundle.path / WEIGHTS) != self._stamp:
            raise BundleError(f"{self.bundle.path} was replaced while it was in use: load it again")
        return graph_tensors(self.bundle, mixture, names) if names else iter(())

    def _prove(self, adapter: Adapter) -> None:
        """Check an adapter unless it has passed before. Raises: ParityError."""
        if adapter.content_sha256 not in self._proven:
            self._check(f"task {adapter.task}", (Part(adapter, 1.0),), adapter.golden_output)
            self._proven.add(adapter.content_sha256)

    def _check(self, what: str, mixture: Mixture, expected: Array) -> None:
        """Compare with a golden output. Raises: ParityError naming `what`, the difference and the tolerance."""
        graph = self._enter(mixture)
        if not graph.computes:
            return
        found = graph.run(golden_input())
        difference = float(np.abs(found - expected).max()) if found.shape == expected.shape else math.inf
        if not difference <= self._tolerance:  # NaN is no pass
            if self._graph is None:
                self._graphs.pop(_key(mixture)).close()
            raise ParityError(
                f"{self.bundle.path}: {what} differs from its golden output by {difference:.2g}, more than "
                f"{self._tolerance:g}: this machine does not compute what was trained; "
                "export the bundle again, or try policy='merged'"
            )

    def _is_closed(self) -> BackendError:
        return BackendError(f"the session of {self.bundle.path} is closed: load it again")


def _key(mixture: Mixture) -> Key:
    return tuple((part.adapter.task, part.adapter.content_sha256, part.strength) for part in mixture)


def _finite(graph: Backend) -> Callable[[Array], Array]:
    """The graph's `run`, refusing results that no picture can hold."""

    def run(tensor: Array) -> Array:
        result = graph.run(tensor)
        finite = bool(np.isfinite(result).all())
        if result.shape != tensor.shape or not finite:
            raise BackendError(
                f"the network made {result.shape} of {tensor.shape}{'' if finite else ', with NaN or infinity'}; "
                "expected finite numbers of the same shape: lower the strength, or export in fp32"
            )
        return result

    return run


def _stamp(path: Path) -> tuple[int, int, int] | None:
    """What changes when a file is replaced; None where there is none."""
    try:
        status = path.stat()
    except OSError:
        return None
    return status.st_ino, status.st_size, status.st_mtime_ns
