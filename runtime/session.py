"""A loaded bundle, turned into any of its tasks: `load(...)` → `Session.restore(image, task)`."""

import gc
import os
import time
from collections.abc import Mapping, Sequence
from dataclasses import replace
from functools import cache, partial
from threading import RLock
from types import TracebackType
from typing import Any

from colora.devices.errors import BackendError, ImageError, unknown
from colora.runtime import tiles
from colora.runtime.backend import BACKENDS, backend_class
from colora.runtime.batch import by_recipe, read_all
from colora.runtime.bundle import Bundle, open_bundle
from colora.runtime.choice import AUTO, LEAST_CONFIDENCE, NOTHING, Choice, choose
from colora.runtime.fastest import Fastest, fastest
from colora.runtime.image import as_image
from colora.runtime.metrics import Metrics, Timings
from colora.runtime.policy import POLICIES
from colora.runtime.session_facts import SessionFacts, facts_of
from colora.runtime.switch import Switcher
from colora.runtime.watchdog import REOPEN_LIMIT, watched
from colora.runtime.weights import Array

GOLDEN_TOLERANCE = {"fp32": 1e-3, "fp16": 1e-2, "int8": 3e-2, "bf16": 3e-2}
"""Largest difference from a golden output that passes, by precision, in units of the image range [0, 1].

The same fp32 network summed in another order differs by up to 1e-4 (what exports are held to), and other
processors get ten times that; fp16 keeps three digits (the shipped networks are off by 4e-4 where every value is
rounded, and a device may round sums too), bf16 two (2e-3). An int8 graph is held to its own output where it was made:
another machine's kernels round a few numbers to the next of 256 steps. Weights of the wrong task, or none, differ by
more: rain and noise from the backbone by 7e-2.
"""


def load(
    bundle: str | os.PathLike[str],
    backend: str = "auto",
    policy: str = "auto",
    memory_budget: int | None = None,
    *,
    threads: int = 0,
    hot_tasks: int | None = None,
    golden_tolerance: float | None = None,
    reopen_limit: int = REOPEN_LIMIT,
    trusted_key: str | os.PathLike[str] | None = None,
) -> "Session":
    """Open and verify a bundle, and the graph in it.

    backend: key of BACKENDS, or `auto`: the one of fp32 that is fastest here, see runtime/fastest.py.
    policy: `refit` changes the weights of one open graph in place; `merged` opens a fully optimised graph
        per task and keeps those used last; `auto` is refit where that works, else merged, and with a budget
        that has room for more than one graph, refit with merged graphs of the tasks in use beside it. Which
        of the two serves a call then depends on what is built by then, and results may differ in the last
        bits of float32; `refit` and `merged` give the same bits every time.
    memory_budget: bytes for graphs, activations and adapters, estimated by the rule of runtime/policy.py.
        None: refit alone, or `hot_tasks` merged graphs.
    hot_tasks: most merged graphs open at once; None: 2 without a budget, what has room with one.
    threads: for one run; 0 leaves it to the backend.
    golden_tolerance: largest difference from a golden output, in units of [0, 1]; None takes
    GOLDEN_TOLERANCE.
    reopen_limit: times that a backend which fails is opened anew for one picture (runtime/watchdog.py).
    trusted_key: path of an Ed25519 public key in PEM: only a bundle and tasks signed by its owner are taken
    (runtime/sign.py); None trusts all.
    Raises: BundleError, UnknownName, MissingExtra, BackendError, ParityError.
    """
    if policy not in POLICIES:
        raise unknown("policy", policy, POLICIES)
    if (hot_tasks is not None and hot_tasks < 1) or threads < 0:
        raise BackendError(f"hot_tasks {hot_tasks}, threads {threads}; expected at least 1 and at least 0")
    if reopen_limit < 0:
        raise BackendError(f"reopen_limit {reopen_limit}; expected at least 0")
    opened = open_bundle(bundle, trusted_key)
    tolerance = golden_tolerance
    if tolerance is None:
        precision = BACKENDS[backend].precision if backend in BACKENDS else ""
        tolerance = GOLDEN_TOLERANCE[precision or opened.manifest.precision]
    found = Fastest(backend, "")
    if backend == "auto":
        found = fastest(opened, policy, threads, tolerance, memory_budget)
    open_graph = partial(backend_class(found.name).open, threads=threads)
    switcher = Switcher(opened, open_graph, policy, hot_tasks, tolerance, memory_budget)
    if found.why:
        switcher.why += f"; backend {found.why}"
    return Session(opened, switcher, reopen_limit)


class Session:
    """A loaded bundle; made by `load`. A context manager. Calls from several threads wait for one another."""

    def __init__(self, bundle: Bundle, switcher: Switcher, reopen_limit: int = REOPEN_LIMIT) -> None:
        self.bundle = bundle
        self.timings: Timings | None = None
        """Of the last call that succeeded."""
        self.choice: Choice | None = None
        """Of the last `restore` that succeeded with task="auto"."""
        self._switcher, self._reopen_limit = switcher, reopen_limit
        self._metrics = Metrics()
        self._lock = RLock()

    @property
    def tasks(self) -> tuple[str, ...]:
        """Names of the tasks whose files are there now, or that were used and are still in memory."""
        return self._switcher.adapters.tasks

    def restore(self, image: Any, task: str | Mapping[str, float] = "", strength: float = 1.0) -> Array:
        """Restored picture, H×W×3 RGB of the dtype of the picture given; RGB for grey ones too.

        Where it has an alpha channel, H×W×4: colours are restored, also where they are transparent, and alpha is kept.
        image: array H×W×3 RGB (uint8, uint16, float16 or float32 in [0, 1]), path, or `PIL.Image`; see
        `as_image`.
        task: a name, or a mixture `{name: strength}`. Empty: the backbone alone, or the one merged task. A
        file copied
            into `tasks/` is used from the next call (runtime/resident.py). `auto`: as `choose` says, kept in
            `choice`; where that is `nothing`, and for `nothing` itself, a copy of the picture.
        strength: multiplies every change; 0 is the backbone, 1 what was trained.
        Raises: ImageError; UnknownName with the nearest names; BundleError or CheckpointError for a
        damaged task;
            ParityError if a task fails its golden check; BackendError; BackendFailed with the number of retries.
        """
        try:
            return self._restore(image, task, strength)
        except Exception:
            with self._lock:
                self._metrics = replace(self._metrics, failures=self._metrics.failures + 1)
            raise

    def choose(self, *images: Any, least: float = LEAST_CONFIDENCE) -> Choice:
        """Which task pictures of one scene need, or `nothing`: see runtime/choice.py.

        images: as for `restore`; one, or frames of one video, whose probabilities are averaged.
        least: probability from which a task is taken. Raises: ImageError.
        """
        if not images:
            raise ImageError("choose was given no picture; expected at least one")
        known = {*self.tasks, self.bundle.manifest.task}
        return choose([as_image(image)[:, :, :3] for image in images], known, least)

    def restore_batch(
        self, images: Sequence[Any], tasks: Sequence[str | Mapping[str, float]], strength: float = 1.0
    ) -> list[Array]:
        """Restored pictures in the order given: `restore(images[i], tasks[i], strength)`, bit for bit.

        Pictures of one task are run one after another, those whose weights are at hand first, so there is
        at most one switch a task. Other threads may come in between, which costs a switch. All pictures
        are read first. Where a task is `auto` it is chosen for that picture alone, and `choice` stays as it was.
        Raises: ImageError naming the picture's number, before anything is run; else as `restore`.
        """
        pictures = read_all(images, tasks)
        chosen = [
            self.choose(picture).task if task == AUTO else task
            for task, picture in zip(tasks, pictures, strict=True)
        ]
        groups = by_recipe(chosen, self.bundle.manifest.task, strength)
        for name in {name for mixture in groups for name, _ in mixture} - {*self.tasks, NOTHING}:
            raise unknown("task", name, self.tasks)
        with self._lock:
            at_hand = self._switcher.at_hand()
        results: dict[int, Array] = {}
        for mixture in sorted(groups, key=lambda mixture: mixture not in at_hand):
            for i in groups[mixture]:
                results[i] = self.restore(pictures[i], chosen[i], strength)
        return [results[i] for i in range(len(pictures))]

    def prefetch(self, task: str | Mapping[str, float], strength: float = 1.0) -> None:
        """Announce what comes next, so that the change costs little.

        Where a merged graph has room it is built in the background, and a failure there is only logged: the
        use itself will raise. Elsewhere the task is read and proven now,
        if weights are changed in place.
        Raises: UnknownName; where no merged graph has room, as `restore`.
        """
        with self._lock:
            self._switcher.prefetch(task, strength)

    def network(self, task: str | Mapping[str, float] = "", strength: float = 1.0) -> tiles.Run:
        """The network turned to a task, for those who cut pictures themselves (runtime/bands.py).

        It takes and gives 1×3×h×w float32 of the manifest's shapes; results are not clipped. Each call turns
        the session to the task as it was at the first, so that calls of other threads may come between two of them
        and a picture is all of one adapter. Task `nothing` gives back what it takes; `auto` has to be chosen before.
        Raises: nothing; what it gives raises as `restore`.
        """
        mixture = cache(lambda: self._switcher.mixture(task, strength))

        def run(tensor: Array) -> Array:
            if task == NOTHING:
                return tensor
            with self._lock:
                return watched(
                    lambda: self._switcher.switch(task, strength, mixture())(tensor),
                    self._switcher.discard,
                    self._reopen_limit,
                )

        return run

    def verify(self) -> Mapping[str, str]:
        """Read, verify and prove every task now rather than at its first use, and keep them in memory.

        Returns task → reason for each whose file is refused; where an older adapter is held, that one
        stays in use.
        Raises: BackendError.
        """
        with self._lock:
            return self._switcher.verify()

    def trim(self) -> None:
        """Give the memory of activations back to the system, for a time without pictures.

        The next one takes it anew, which costs it some percent of its time. Weights and adapters stay.
        Raises: BackendError, BackendFailed.
        """
        with self._lock:
            self._switcher.trim()

    def describe(self) -> SessionFacts:
        """Facts for reports. Raises: BackendError when closed."""
        with self._lock:
            return facts_of(self.bundle, self._switcher)

    def metrics(self) -> Metrics:
        """What the session has done so far; also when closed. `prometheus_text` makes a scrape of it.

        Does not wait for a picture in work, so that values may be of moments apart.
        """
        adapters, hot = self._switcher.adapters, self._switcher.hot
        return replace(
            self._metrics,
            switches=self._switcher.switches,
            merged_graphs=len(hot.keys),
            prefetches=hot.built,
            prefetch_hits=hot.hits,
            reopens=self._switcher.reopens,
            swapped_adapters=adapters.swaps,
            refused_adapters=len(adapters.refused),
            resident_bytes=adapters.size_bytes,
        )

    def close(self) -> None:
        """Free graphs and weights. Harmless when repeated; other calls raise BackendError afterwards."""
        with self._lock:
            self._switcher.close()
        gc.collect()  # a switcher and what it has made hold one another: megabytes a session, for long

    def _restore(self, image: Any, task: str | Mapping[str, float], strength: float) -> Array:
        begin = time.perf_counter()
        picture = as_image(image)
        manifest = self.bundle.manifest
        choice = self.choose(picture) if task == AUTO else None
        asked = choice.task if choice else task
        with self._lock:
            prepared = time.perf_counter()

            def attempt() -> tuple[Array, float]:
                if asked == NOTHING:
                    return picture.copy(), time.perf_counter()
                network = self._switcher.switch(asked, strength)
                switched = time.perf_counter()
                return tiles.apply(picture, network, manifest.shapes, manifest.pad, manifest.tile), switched

            result, switched = watched(attempt, self._switcher.discard, self._reopen_limit)
            done = time.perf_counter()
            self.timings = Timings(
                prepare_ms=(prepared - begin) * 1e3,
                switch_ms=(switched - prepared) * 1e3,
                run_ms=(done - switched) * 1e3,
            )
            self._metrics = self._metrics.after(self.timings)
            self.choice = choice or self.choice
        return result

    def __enter__(self) -> "Session":
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()
