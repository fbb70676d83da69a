"""Adapters held in memory, in step with the files in `tasks/`: a task is updated by copying its file in.

Each use costs one `stat`. A file that is new or changed is read, verified and proven before it is used. One
that fails is refused and the adapter of before stays in use; the same if the file goes away: a camera on a
pole had rather go on with last month's weights than with none, and a copying tool may delete before it
writes. A session opened later has only the files. Both are told by one warning on the logger
`colora.runtime.resident`, with `event`, `task` and `reason` as fields of the record.
"""

import logging
import math
import time
from collections.abc import Callable, Mapping

from colora.devices.errors import BundleError, CheckpointError, ParityError, unknown
from colora.runtime.adapter import Adapter, compact
from colora.runtime.bundle import Bundle
from colora.runtime.stamp import Stamp, stamp

SAY_EVERY_S = 10.0
"""A file that is being copied in is refused each time it has grown: one warning per task in this time."""

_log = logging.getLogger(__name__)


class ResidentAdapters:
    """The adapters of a shared bundle that were used so far. Not thread-safe.

    prove: raises ParityError if the network does not compute what the adapter says.
    """

    def __init__(self, bundle: Bundle, prove: Callable[[Adapter], None]) -> None:
        self.swaps = 0
        """Adapters replaced by the content of a new file."""
        self._bundle, self._prove = bundle, prove
        self._held: dict[str, tuple[Stamp, Adapter]] = {}  # stamp of the file seen last, good or not
        self._refused: dict[str, str] = {}
        self._unsaid: dict[str, tuple[str, str]] = {}  # task → event and reason of a warning to come
        self._said_at: dict[str, float] = {}

    @property
    def tasks(self) -> tuple[str, ...]:
        """Names of the tasks whose files are there now or that are held."""
        return tuple(sorted({*self._bundle.tasks, *tuple(self._held)}))

    @property
    def refused(self) -> Mapping[str, str]:
        """Task → why its file, as it is now or was when it was last used, is not in use."""
        return dict(self._refused)

    @property
    def size_bytes(self) -> int:
        """Of the numbers held."""
        return sum(adapter.size_bytes for _, adapter in tuple(self._held.values()))

    def get(self, task: str) -> Adapter:
        """The adapter of a task as its file says now, or the one before where the file can't be used.

        Raises: UnknownName; BundleError, CheckpointError or ParityError where there is none before.
        """
        if task not in self._held:
            if task not in self._bundle.tasks:
                self._refused.pop(task, None)
                raise unknown("task", task, self.tasks)
            seen = stamp(self._bundle.task_file(task))
            self._held[task] = (seen, self._read(task))
        elif (seen := stamp(self._bundle.task_file(task))) != self._held[task][0]:
            self._renew(task, seen)
        if task in self._unsaid:
            self._say(task)
        return self._held[task][1]

    def held(self, task: str) -> Adapter | None:
        """The adapter in memory, without a look at its file."""
        return self._held[task][1] if task in self._held else None

    def clear(self) -> None:
        """Forget all."""
        self._held.clear()

    def _read(self, task: str) -> Adapter:
        try:
            adapter = compact(self._bundle.read_task(task))
            self._prove(adapter)
        except (BundleError, CheckpointError, ParityError) as e:
            self._refused[task] = str(e)
            raise
        self._refused.pop(task, None)
        self._unsaid.pop(task, None)
        return adapter

    def _renew(self, task: str, seen: Stamp) -> None:
        """Take the adapter of a file that changed; where that fails the one held stays."""
        held = self._held[task][1]
        if seen is None:
            self._refused.pop(task, None)
            self._unsaid[task] = ("adapter_missing", "its file is gone")
        else:
            try:
                adapter = self._read(task)
            except (BundleError, CheckpointError, ParityError) as e:
                self._unsaid[task] = ("adapter_refused", str(e))
            else:
                if adapter.content_sha256 != held.content_sha256:
                    self.swaps += 1
                    fields = {"event": "adapter_swapped", "task": task, "reason": "its file was replaced"}
                    _log.info("task %s: now adapter %s", task, adapter.content_sha256[:12], extra=fields)
                held = adapter
        self._held[task] = (seen, held)

    def _say(self, task: str) -> None:
        now = time.monotonic()
        if now - self._said_at.get(task, -math.inf) < SAY_EVERY_S:
            return
        self._said_at[task] = now
        event, reason = self._unsaid.pop(task)
        fields = {"event": event, "task": task, "reason": reason}
        _log.warning("task %s: the adapter of before stays in use: %s", task, reason, extra=fields)
