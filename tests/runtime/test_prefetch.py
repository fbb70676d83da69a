"""Stages that overlap: order, errors, bounds and ends."""

import threading
from collections.abc import Iterator

import pytest
from colora.runtime.prefetch import prefetch


def prefetching() -> list[threading.Thread]:
    return [t for t in threading.enumerate() if t.name == "prefetch"]


def test_order_is_kept_through_two_stages() -> None:
    doubled = (2 * n for n in prefetch(range(100), 3))
    assert list(prefetch(doubled, 1)) == list(range(0, 200, 2))
    assert prefetching() == []


def test_an_error_comes_after_the_items_before_it() -> None:
    def broken() -> Iterator[int]:
        yield 1
        yield 2
        raise KeyError("third")

    items = prefetch(broken())
    assert [next(items), next(items)] == [1, 2]
    with pytest.raises(KeyError, match="third"):
        next(items)


def test_it_works_ahead_by_its_depth_and_no_more() -> None:
    made: list[int] = []
    full = threading.Event()

    def source() -> Iterator[int]:
        for n in range(50):
            made.append(n)
            if n == 4:  # one with us, three waiting, one in hand
                full.set()
            yield n

    items = prefetch(source(), 3)
    assert next(items) == 0
    assert full.wait(60)
    assert not threading.Event().wait(0.05)
    assert len(made) == 5
    items.close()


def test_closing_ends_the_thread_and_the_source() -> None:
    ended = threading.Event()

    def endless() -> Iterator[int]:
        try:
            while True:
                yield 1
        finally:
            ended.set()

    items = prefetch(endless(), 2)
    next(items)
    items.close()
    assert ended.is_set()
    assert prefetching() == []


def test_a_live_source_loses_the_oldest_and_counts_them() -> None:
    lost: list[None] = []
    read_on, drained = threading.Event(), threading.Event()

    def live() -> Iterator[int]:
        yield 0
        read_on.wait(60)
        yield from range(1, 10)
        drained.set()

    items = prefetch(live(), 2, lambda: lost.append(None))
    assert next(items) == 0
    read_on.set()
    assert drained.wait(60)
    rest = list(items)
    assert rest == [8, 9]
    assert len(lost) == 7
