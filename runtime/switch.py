"""From a mixture of tasks to a graph that holds it: by editing one open graph, or by opening one for each.

Where the memory budget allows both, mixtures in use get a merged graph, built in the background, and the
edited one serves the rest. Every graph is proven on the golden input before a picture goes through it: the
backbone when it is opened, an adapter before it is first used and again after its file was replaced or a
switch failed, alone and at strength 1 as it was trained.
"""

import logging
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import replace

from colora.devices.errors import (
    BackendError,
    BackendFailed,
    BundleError,
    CheckpointError,
    ParityError,
    UnknownName,
    unknown,
)
from colora.runtime.adapter import Adapter
from colora.runtime.ahead import BuildAhead
from colora.runtime.backend import Backend, BackendFacts
from colora.runtime.bundle import WEIGHTS, Bundle
from colora.runtime.graphs import GraphMaker, Open
from colora.runtime.hot import HotGraphs, Key, key_of, recipe_of
from colora.runtime.mixture import Mixture, Part, task_strengths
from colora.runtime.policy import Costs, check_budget, estimate, reason, room
from colora.runtime.proof import finite
from colora.runtime.resident import ResidentAdapters
from colora.runtime.use import Recipe, recipe
from colora.runtime.weights import Array

_log = logging.getLogger(__name__)


class Switcher:
    """Holds the open graphs of a bundle. Not thread-safe.

    policy: a name of POLICIES. hot_tasks, memory_budget: see `room`. tolerance: largest difference from a
    golden output that passes.
    Raises: what opening the graph raises; BackendError if the budget is below what one graph needs;
    ParityError if the backbone fails its golden check.
    """

    def __init__(
        self,
        bundle: Bundle,
        open_graph: Open,
        policy: str,
        hot_tasks: int | None,
        tolerance: float,
        memory_budget: int | None = None,
    ) -> None:
        self.bundle, self.memory_budget = bundle, memory_budget
        self.why = ""
        """Why the policy is what it is."""
        self._make, self._asked = GraphMaker(bundle, open_graph, tolerance), policy
        self._hot_tasks, self._costs = hot_tasks, estimate(bundle)
        self.adapters = ResidentAdapters(bundle, self._prove)
        self.switches = 0
        """Times that the weights of one mixture gave way to those of another, golden checks included."""
        self.hot = HotGraphs()
        self._proven: set[str] = set()  # content hashes of adapters that passed their golden check
        self._ahead = BuildAhead(self.hot, self._make, self.adapters.held, self._proven, self.room)
        self._graph: Backend | None = None  # refit: the one graph, and the mixture it holds
        self._held: Mixture | None = ()  # None: unknown, after a switch that failed half-way
        self._current: Key | None = None  # of the graph in use
        self._ready = self._closed = False  # not ready: nothing is open, and `_start` has to be called
        self._facts: BackendFacts | None = None
        self._in_place = bundle.manifest.kind == "shared" and policy != "merged"
        self.reopens = 0
        """Times that graphs which failed were opened anew."""
        if bundle.manifest.kind == "merged" and policy == "refit":
            raise BackendError(
                f"{bundle.path} has task {bundle.manifest.task!r} merged in and can't change: use policy='auto'"
            )
        try:
            self._start()
        except BaseException:
            self.close()
            raise

    @property
    def policy(self) -> str:
        """`refit`, `merged`, or `refit+merged`: how weights change."""
        if self._graph is None:
            return "merged"
        return "refit+merged" if self.room() else "refit"

    def room(self) -> int:
        """Merged graphs that may be open at once."""
        if self._graph is not None and self._asked == "refit":
            return 0
        return room(self.costs(), self.memory_budget, self._hot_tasks, self._graph is not None)

    def costs(self) -> Costs:
        """Estimated bytes, with the adapters held by now."""
        adapters = max(self._costs.adapters, self.adapters.size_bytes)
        return replace(self._costs, adapters=adapters)

    def estimated_bytes(self) -> int:
        """Of what is open now."""
        return self.costs().total(self._graph is not None, len(self.hot.keys))

    def describe(self) -> BackendFacts:
        """Facts of the graph opened first. Raises: BackendError when closed."""
        if self._closed or self._facts is None:
            raise self._is_closed()
        return self._facts

    def mixture(self, task: str | Mapping[str, float], strength: float) -> Mixture:
        """What `switch` would turn to now, with the adapters of now. Raises: as `switch`."""
        self._be_ready()
        return self._mixture(task, strength)

    def switch(
        self, task: str | Mapping[str, float], strength: float, mixture: Mixture | None = None
    ) -> Callable[[Array], Array]:
        """Turn to a task or mixture; returns the network, 1×3×H×W float32 → the same shape, all finite.

        mixture: of that task, as it was when a picture was begun, see `mixture`.

        Raises: UnknownName; BundleError, CheckpointError, ParityError, each naming the task's file;
        BackendError.
        """
        self._be_ready()
        asked = recipe(task_strengths(task or self.bundle.manifest.task, strength))
        self._ahead.adopt(asked if self._graph is None else None)
        mixture = self._mixture(task, strength) if mixture is None else mixture
        for part in mixture:
            self._prove(part.adapter)
        graph = self._enter(mixture)
        self.hot.keep_only(key_of(mixture))
        self._ahead.note(recipe_of(key_of(mixture)), self._current, self._graph is not None)
        return finite(graph)

    def prefetch(self, task: str | Mapping[str, float], strength: float) -> None:
        """Make ready for a task to come: its graph in the background, or, where none has room, its adapters now.

        Nothing can be made ready where there is room for the merged graph in use alone.
        Raises: UnknownName; where adapters are read as `switch`.
        """
        self._be_ready()
        strengths = task_strengths(task or self.bundle.manifest.task, strength)
        for name in strengths:
            if name not in self.adapters.tasks:
                raise unknown("task", name, self.adapters.tasks)
        wanted = recipe(strengths)
        self._ahead.adopt(None)
        if self.bundle.manifest.kind == "merged" or self._ahead.announce(wanted, self._current):
            return
        if self._graph is not None:
            for part in self._mixture(task, strength):
                self._prove(part.adapter)

    def at_hand(self) -> set[Recipe]:
        """What can run without a switch or a new graph."""
        held = [] if self._graph is None or self._held is None else [key_of(self._held)]
        return {recipe_of(key) for key in [*held, *self.hot.keys]}

    def verify(self) -> Mapping[str, str]:
        """Read and prove every task there is; returns task → reason of those refused.

        Raises: BackendError.
        """
        self._be_ready()
        if self.bundle.manifest.kind == "shared":
            for task in self.adapters.tasks:
                with suppress(BundleError, CheckpointError, ParityError, UnknownName):
                    self.adapters.get(task)
        return self.adapters.refused

    def trim(self) -> None:
        """Give the memory of activations back. Raises: BackendError, BackendFailed."""
        self._be_ready()
        graph = self._graph or self.hot.last()
        if graph is not None:  # all graphs take theirs from one place
            graph.trim()

    def discard(self) -> None:
        """Free all graphs, because one has failed; the next call opens them anew. Adapters stay."""
        self._ready = False
        self.hot.clear()
        if self._graph is not None:
            self._graph.close()
        self._graph, self._held, self._current = None, (), None
        self._proven.clear()

    def close(self) -> None:
        """Free all graphs. Harmless when repeated."""
        self._closed = True
        self.discard()
        self.hot.close()
        self.adapters.clear()

    def _be_ready(self) -> None:
        """Open the graphs anew if they were discarded. Raises: BackendFailed; ParityError; BackendError when closed."""
        if self._closed:
            raise self._is_closed()
        if self._ready:
            return
        self.discard()  # what a start that failed half-way has left
        try:
            self._start()
        except BackendError as e:
            raise BackendFailed(str(e)) from e
        self.reopens += 1
        fields = {"event": "backend_reopened", "reopens": self.reopens, "policy": self.policy}
        _log.warning("%s: the backend was opened anew", self.bundle.path, extra=fields)

    def _start(self) -> None:
        """Open the first graph and prove the backbone."""
        refused = None
        if self._in_place:
            check_budget(self._costs, self.memory_budget, True, self.bundle)
            try:
                self._graph = self._make.refit()
            except BackendError as e:
                if self._asked == "refit" or self._facts is not None:
                    raise
                refused, self._in_place = e, False
        if self._graph is None:
            check_budget(self._costs, self.memory_budget, False, self.bundle)
        if self._facts is None:
            self.why = reason(self._asked, self.bundle, refused, self._costs, self.memory_budget, self.room())
        self._check(self.bundle.manifest.task or "the backbone", (), self.bundle.golden_output)
        opened = self._graph or self.hot.last()
        self._facts = opened.describe() if opened else None
        self._ready = True
        self.trim()  # of the golden check

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
        """The graph under a mixture: one that has it, else the one that is edited, else a new one."""
        key = key_of(mixture)
        graph = self.hot.get(key)
        if graph is None and self._graph is not None:
            graph = self._edit(self._graph, mixture)
        elif graph is None:
            for old in self.hot.evictable(self.room()):
                self.hot.remove(old)
            graph = self.hot.add(key, self._make.merged(mixture))
        self.switches += self._current not in (None, key)
        self._current = key
        return graph

    def _edit(self, graph: Backend, mixture: Mixture) -> Backend:
        program = self.bundle.manifest.program
        if self._held is None or key_of(mixture) != key_of(self._held):
            names = tuple(program) if self._held is None else self._make.touched(self._held, mixture)
            self._make.check_files(WEIGHTS)  # before what the graph holds is given up
            self._held = None
            try:
                self._make.edit(graph, mixture, names)
            except BaseException:
                self._proven.clear()  # who knows what the graph holds: all must be proven anew
                raise
            self._held = mixture
        return graph

    def _prove(self, adapter: Adapter) -> None:
        """Check an adapter unless it has passed before. Raises: ParityError."""
        if adapter.content_sha256 not in self._proven:
            self._check(f"task {adapter.task}", (Part(adapter, 1.0),), adapter.golden_output)
            self._proven.add(adapter.content_sha256)

    def _check(self, what: str, mixture: Mixture, expected: Array) -> None:
        """Compare with a golden output. Raises: ParityError."""
        graph = self._enter(mixture)
        try:
            self._make.check(graph, what, expected)
        except ParityError:
            if key_of(mixture) in self.hot.keys:
                self.hot.remove(key_of(mixture))
            raise

    def _is_closed(self) -> BackendError:
        return BackendError(f"the session of {self.bundle.path} is closed: load it again")
