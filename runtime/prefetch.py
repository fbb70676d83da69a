"""Overlapping the stages of a stream: one thread for each, and a bounded queue behind it."""

from collections.abc import Callable, Generator, Iterable
from contextlib import suppress
from queue import Empty, Full, Queue
from threading import Event, Thread
from typing import TypeVar

T = TypeVar("T")

DEPTH = 4
"""Items that may wait behind a stage."""


def prefetch(
    items: Iterable[T], depth: int = DEPTH, dropped: Callable[[], None] | None = None
) -> Generator[T, None, None]:
    """The same items in the same order, made by a thread of their own up to `depth` ahead of their use.

    dropped: None makes the thread wait for room. A function, for live sources: the oldest waiting item
    gives way to the newest instead, and the function is called, in that thread, for each one lost.
    The thread starts with the first item asked for. Closing this generator ends it after the item it is
    at; it closes `items`, if that is a generator.
    Raises: what `items` raises, in its place in the order.
    """
    queue: Queue[tuple[T] | BaseException | None] = Queue(depth)
    stopped = Event()

    def put(entry: tuple[T] | BaseException | None) -> None:
        while dropped is not None and isinstance(entry, tuple):
            with suppress(Full):
                return queue.put_nowait(entry)
            with suppress(Empty):
                queue.get_nowait()
                dropped()
        queue.put(entry)

    def work() -> None:
        try:
            for item in items:
                if stopped.is_set():
                    break
                put((item,))
            put(None)
        except BaseException as e:
            put(e)
        finally:
            if isinstance(items, Generator):
                items.close()

    thread = Thread(target=work, name="prefetch", daemon=True)
    thread.start()
    try:
        while (entry := queue.get()) is not None:
            if isinstance(entry, BaseException):
                raise entry
            yield entry[0]
    finally:
        stopped.set()
        while thread.is_alive():  # it may wait for room
            with suppress(Empty):
                queue.get(timeout=0.05)
