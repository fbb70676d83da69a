"""What to build ahead: the graph of the task that was announced, or that came next the last time."""

from collections.abc import Callable
from functools import partial

from colora.runtime.adapter import Adapter
from colora.runtime.graphs import GraphMaker
from colora.runtime.hot import HotGraphs, Key, recipe_of
from colora.runtime.use import Recipe, UseHistory


class BuildAhead:
    """Fills `hot` in the background. Not thread-safe.

    held: the adapter of a task in memory. proven: content hashes of adapters that passed their golden check; added to.
    room: merged graphs that may be open at once.
    """

    def __init__(
        self,
        hot: HotGraphs,
        make: GraphMaker,
        held: Callable[[str], Adapter | None],
        proven: set[str],
        room: Callable[[], int],
    ) -> None:
        self._hot, self._make, self._held, self._proven, self._room = hot, make, held, proven, room
        self._history = UseHistory()

    def adopt(self, wait_for: Recipe | None) -> None:
        """Take over what the background thread has made. wait_for: a recipe to wait for if it is under way."""
        for mixture in self._hot.adopt(wait_for):
            self._proven.update(part.adapter.content_sha256 for part in mixture)

    def announce(self, wanted: Recipe, current: Key | None) -> bool:
        """Build what a caller said comes next; False where it has no room. current: the one in use, which stays."""
        if self._hot.coming(wanted):
            return True
        room = self._room()
        if not self._hot.fits(room, current):
            return False
        self._begin(wanted, room, current)
        self._hot.announce(wanted)
        return True

    def note(self, used: Recipe, current: Key | None, refit: bool) -> None:
        """One more use: build what probably follows.

        Not if that would drive out what was announced, or what was used later where refit can serve.
        """
        likely = self._history.note(used)
        if likely is None or self._hot.coming(likely) or self._hot.failed(likely):
            return
        room = self._room()
        if not self._hot.fits(room, current):
            return
        out = [recipe_of(key) for key in self._hot.evictable(room, current)]
        if any(self._hot.announced(old) for old in out):
            return
        if refit and any(self._history.later(old, likely) for old in out):
            return
        self._begin(likely, room, current)

    def _begin(self, wanted: Recipe, room: int, current: Key | None) -> None:
        """Build in the background; there is room once the graphs used longest ago are gone."""
        for key in self._hot.evictable(room, current):
            self._hot.remove(key)
        held = {task: adapter for task, _ in wanted if (adapter := self._held(task)) is not None}
        self._hot.begin(wanted, partial(self._make.build, wanted, held, frozenset(self._proven)))
