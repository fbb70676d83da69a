"""Frames of a live source: a bounded queue that drops the oldest, deadlines, and one thread that restores.

A camera must not wait for the network, and a picture that comes too late is of no use: `submit` returns at
once, whatever the network does. What was dropped is counted and its future says why.
"""

import atexit
import logging
import math
import time
from collections import deque
from collections.abc import Callable, Mapping
from concurrent.futures import Future
from dataclasses import dataclass, field, replace
from threading import Condition, Thread, current_thread
from types import TracebackType
from typing import Any

from colora.devices.errors import BackendError, FrameDropped
from colora.runtime.metrics import Metrics
from colora.runtime.session import Session
from colora.runtime.weights import Array

SAY_EVERY_S = 10.0
"""A service that can't keep up drops many frames: one warning in this time, with the counts."""

_log = logging.getLogger(__name__)


@dataclass(frozen=True)
class _Frame:
    image: Any
    task: str | Mapping[str, float]
    strength: float
    until: float
    future: "Future[Array]" = field(default_factory=Future)


class Service:
    """Restores frames with a session, in a thread of its own. A context manager; thread-safe.

    capacity: frames that may wait, besides the one in work. clock: seconds that only grow.
    The session stays the caller's: it may be used beside, and is not closed here.
    Raises: BackendError for a capacity below 1.
    """

    def __init__(
        self, session: Session, capacity: int = 4, clock: Callable[[], float] = time.monotonic
    ) -> None:
        if capacity < 1:
            raise BackendError(f"capacity is {capacity}; expected at least 1 frame")
        self._session, self._capacity, self._clock = session, capacity, clock
        self._waiting: deque[_Frame] = deque()
        self._changed = Condition()
        self._closed = False
        self._dropped = self._late = 0
        self._said_at = -math.inf
        self._thread = Thread(target=self._work, name="colora-service", daemon=True)
        self._thread.start()
        atexit.register(self.close)

    def submit(
        self,
        image: Any,
        task: str | Mapping[str, float] = "",
        deadline: float | None = None,
        strength: float = 1.0,
    ) -> "Future[Array]":
        """Queue a frame; the future is what `Session.restore` returns or raises.

        image: not copied, so it must stay as it is until the future is done.
        deadline: seconds from now after which it is not begun any more; None: it may wait for ever.
        Where the queue is full the frame that has waited longest is dropped: its future raises FrameDropped, as
        do those of frames past their deadline. Raises: BackendError when closed.
        """
        until = math.inf if deadline is None else self._clock() + deadline
        frame, oldest = _Frame(image, task, strength, until), None
        with self._changed:
            if self._closed:
                raise BackendError("the service is closed: make a new one")
            if len(self._waiting) == self._capacity:
                oldest = self._waiting.popleft()
                self._dropped += 1
            self._waiting.append(frame)
            self._changed.notify()
        if oldest is not None:
            self._refuse(oldest, f"newer frames came, and {self._capacity} may wait")
        return frame.future

    def metrics(self) -> Metrics:
        """Those of the session, with the frames dropped here."""
        with self._changed:
            return replace(self._session.metrics(), dropped_frames=self._dropped, late_frames=self._late)

    def close(self) -> None:
        """Finish the frame in work, drop those that wait, end the thread. Harmless when repeated.

        In a callback of a future, which that thread may run, it does not wait for the end.
        """
        with self._changed:
            self._closed = True
            left = list(self._waiting)
            self._waiting.clear()
            self._dropped += len(left)
            self._changed.notify()
        for frame in left:
            self._refuse(frame, "the service was closed")
        if self._thread is not current_thread():
            self._thread.join()
        atexit.unregister(self.close)

    def _work(self) -> None:
        while self._serve():
            pass

    def _serve(self) -> bool:
        """One frame, which is let go at the end, as is its result: the next may be long in coming. False: closed."""
        if (frame := self._next()) is None:
            return False
        if self._clock() > frame.until:
            with self._changed:
                self._late += 1
            self._refuse(frame, "its deadline passed before it could be begun")
        elif frame.future.set_running_or_notify_cancel():
            try:
                result = self._session.restore(frame.image, frame.task, frame.strength)
            except BaseException as e:
                frame.future.set_exception(e)
            else:
                frame.future.set_result(result)
        return True

    def _next(self) -> _Frame | None:
        with self._changed:
            while not self._waiting and not self._closed:
                self._changed.wait()
            return self._waiting.popleft() if self._waiting else None

    def _refuse(self, frame: _Frame, why: str) -> None:
        """Tell who waits for a frame, and now and then the log. Not under the lock: callbacks may submit."""
        if frame.future.set_running_or_notify_cancel():
            frame.future.set_exception(FrameDropped(f"the frame was dropped: {why}"))
        now = self._clock()
        if now - self._said_at >= SAY_EVERY_S:
            self._said_at = now
            fields = {"event": "frame_dropped", "dropped": self._dropped, "late": self._late, "reason": why}
            _log.warning("a frame was dropped: %s", why, extra=fields)

    def __enter__(self) -> "Service":
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()
