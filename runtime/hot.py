"""Merged graphs of the mixtures used last, and a background thread that builds the one to come.

The thread only computes what it is given; what is held changes in the owner's calls alone, so that a lock
around those is enough and a caller may wait for the thread while holding it.
"""

import logging
from collections import OrderedDict
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from time import monotonic

from colora.devices.errors import ColoraError
from colora.runtime.backend import Backend
from colora.runtime.mixture import Mixture
from colora.runtime.use import Recipe, told

Key = tuple[tuple[str, str, float], ...]
"""Task, content hash and strength of a mixture's parts."""
Built = tuple[Mixture, Backend]

AGAIN_AFTER_S = 60.0
"""What failed in the background is not guessed again before: the reason may last, or be gone like a full memory."""

_log = logging.getLogger(__name__)


def key_of(mixture: Mixture) -> Key:
    """What tells mixtures apart."""
    return tuple((part.adapter.task, part.adapter.content_sha256, part.strength) for part in mixture)


def recipe_of(key: Key) -> Recipe:
    """A key without its hashes: what a caller asks for."""
    return tuple((task, value) for task, _, value in key)


class HotGraphs:
    """Open merged graphs, least recently used first. Not thread-safe."""

    def __init__(self) -> None:
        self.built = 0
        """Graphs made in the background."""
        self.hits = 0
        """Those of them that were then used."""
        self._graphs: OrderedDict[Key, Backend] = OrderedDict()
        self._building: dict[Recipe, Future[Built]] = {}
        self._unused: set[Key] = set()  # made in the background
        self._failed: dict[Recipe, float] = {}  # when
        self._announced: set[Recipe] = set()  # and not used yet
        self._worker: ThreadPoolExecutor | None = None

    @property
    def keys(self) -> tuple[Key, ...]:
        """Of the graphs that are open, least recently used first."""
        return tuple(self._graphs)

    def last(self) -> Backend | None:
        """The graph used last."""
        return next(reversed(self._graphs.values()), None)

    def get(self, key: Key) -> Backend | None:
        """The graph of a mixture, if it is open; it is now the one used last."""
        if key not in self._graphs:
            return None
        self._graphs.move_to_end(key)
        self._announced.discard(recipe_of(key))
        if key in self._unused:
            self._unused.remove(key)
            self.hits += 1
        return self._graphs[key]

    def add(self, key: Key, graph: Backend) -> Backend:
        """Keep a graph as the one used last."""
        self._graphs[key] = graph
        return graph

    def remove(self, key: Key) -> None:
        """Close a graph."""
        self._unused.discard(key)
        self._announced.discard(recipe_of(key))
        self._graphs.pop(key).close()

    def evictable(self, room: int, keep: Key | None = None) -> list[Key]:
        """Graphs to remove, oldest first, before one more is opened where `room` may be open; `keep` stays."""
        others = [key for key in self._graphs if key != keep]
        return others[: max(0, len(self._graphs) + len(self._building) + 1 - room)]

    def fits(self, room: int, keep: Key | None = None) -> bool:
        """Whether one more has room when those are removed."""
        left = len(self._graphs) - len(self.evictable(room, keep))
        return left + len(self._building) + 1 <= room

    def coming(self, wanted: Recipe) -> bool:
        """Whether a graph is open or being built."""
        return wanted in self._building or wanted in {recipe_of(key) for key in self._graphs}

    def announce(self, wanted: Recipe) -> None:
        """Note that a caller asked for what is coming: no guess may drive it out before it is used."""
        self._announced.add(wanted)

    def announced(self, wanted: Recipe) -> bool:
        """Whether it was announced and not used yet."""
        return wanted in self._announced

    def failed(self, wanted: Recipe) -> bool:
        """Whether the last try to build it in the background failed, not long ago."""
        return wanted in self._failed and monotonic() - self._failed[wanted] < AGAIN_AFTER_S

    def keep_only(self, key: Key) -> None:
        """Close graphs of the same tasks and strengths over adapters of before."""
        for other in self.keys:
            if other != key and recipe_of(other) == recipe_of(key):
                self.remove(other)

    def begin(self, wanted: Recipe, build: Callable[[], Built]) -> None:
        """Build in the background; the caller has seen to the room."""
        if self._worker is None:
            self._worker = ThreadPoolExecutor(1, thread_name_prefix="colora-build")
        self._failed.pop(wanted, None)
        self._building[wanted] = self._worker.submit(build)

    def adopt(self, wait_for: Recipe | None = None) -> list[Mixture]:
        """Take over what is done by now; returns the mixtures. wait_for: a recipe to wait for if it is under way.

        A failure is logged, whatever it is: the call that finds it may want another task.
        """
        mixtures = []
        for wanted in [w for w, future in self._building.items() if w == wait_for or future.done()]:
            try:
                mixture, graph = self._building.pop(wanted).result()
            except Exception as e:
                now = monotonic()
                recent = {w: at for w, at in self._failed.items() if now - at < AGAIN_AFTER_S}
                self._failed = {**recent, wanted: now}
                self._announced.discard(wanted)
                reason = str(e) if isinstance(e, ColoraError) else f"{type(e).__name__} {e}"
                fields = {"event": "build_failed", "tasks": dict(wanted), "reason": reason}
                trace = None if isinstance(e, ColoraError) else e
                _log.warning("no merged graph of %s: %s", told(wanted), reason, extra=fields, exc_info=trace)
                continue
            self.built += 1
            key = key_of(mixture)
            if key in self._graphs:
                graph.close()
                continue
            self._graphs[key] = graph
            self._unused.add(key)
            mixtures.append(mixture)
        return mixtures

    def clear(self) -> None:
        """Close all, those being built included, which are waited for."""
        for future in self._building.values():
            if not future.cancel() and future.exception() is None:
                future.result()[1].close()
        self._building.clear()
        for key in self.keys:
            self.remove(key)
        self._failed.clear()
        self._announced.clear()

    def close(self) -> None:
        """The same, and end the thread."""
        self.clear()
        if self._worker is not None:
            self._worker.shutdown()
            self._worker = None
