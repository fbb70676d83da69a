"""What was used, in which order: the next task is the one that came next the last time."""

from collections import OrderedDict
from collections.abc import Mapping

Recipe = tuple[tuple[str, float], ...]
"""Tasks and strengths, sorted by task, without those of strength 0."""

REMEMBERED = 64
"""Recipes; a slider of strengths makes a new one at every call."""


def recipe(strengths: Mapping[str, float]) -> Recipe:
    """Of `task_strengths`."""
    return tuple((task, value) for task, value in strengths.items() if value != 0)


def told(used: Recipe) -> str:
    """In words: `rain`, `0.5 noise + 0.5 rain`, `backbone`."""
    return " + ".join(task if value == 1 else f"{value:g} {task}" for task, value in used) or "backbone"


class UseHistory:
    """Recipes by last use, and what followed each. Not thread-safe."""

    def __init__(self) -> None:
        self._followed_by: OrderedDict[Recipe, Recipe | None] = OrderedDict()  # least recently used first

    def note(self, used: Recipe) -> Recipe | None:
        """One more use; returns what came after the use of it before this one, None if there was none."""
        if self._followed_by:
            last = next(reversed(self._followed_by))
            self._followed_by[last] = used
        likely = self._followed_by.setdefault(used, None)
        self._followed_by.move_to_end(used)
        if len(self._followed_by) > REMEMBERED:
            self._followed_by.popitem(last=False)
        return likely

    def later(self, one: Recipe, other: Recipe) -> bool:
        """Whether `one` was used after `other`; one that was never used, or long ago, counts as first."""
        order = {used: i for i, used in enumerate(self._followed_by)}
        return order.get(one, -1) > order.get(other, -1)
