"""Sessions under many threads: every result is the one of a serial run, and closing is no surprise."""

import sys
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import wait
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from colora.devices.errors import BackendError
from colora.runtime.backend_null import NullBackend
from colora.runtime.bundle import open_bundle
from colora.runtime.policy import estimate
from colora.runtime.session import Session, load

TASKS: list[Any] = ["rain", "noise", {"rain": 0.5, "noise": 0.5}, ""]
THREADS = 8


@pytest.fixture(autouse=True)
def eager() -> Iterator[None]:
    """Threads change places a thousand times as often as they would."""
    before = sys.getswitchinterval()
    sys.setswitchinterval(5e-6)
    yield
    sys.setswitchinterval(before)


def in_threads(work: Callable[[int], None]) -> None:
    """Run `work(0)` to `work(7)` at once; what one raises is raised here."""
    raised: list[BaseException] = []

    def guarded(i: int) -> None:
        try:
            work(i)
        except BaseException as e:
            raised.append(e)

    threads = [threading.Thread(target=guarded, args=(i,)) for i in range(THREADS)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    if raised:
        raise raised[0]


def serially(session: Session, picture: Any) -> dict[tuple[int, int], Any]:
    """Every task over pictures of two sizes, one call after another."""
    images = [picture(20, 24), picture(13, 30)]
    return {(t, s): session.restore(images[s], TASKS[t]) for t in range(len(TASKS)) for s in (0, 1)}


def check_interleaved(session: Session, picture: Any, rounds: int, *others: Session) -> None:
    """Threads that each take the tasks from another one on. Results: of a serial run, here or in one of the others."""
    images = [picture(20, 24), picture(13, 30)]
    serial = serially(session, picture)
    right = [serial, *(serially(other, picture) for other in others)]
    wrong: list[Any] = []

    def work(i: int) -> None:
        for n in range(i, i + rounds):
            t, s = n % len(TASKS), n // 2 % 2
            result = session.restore(images[s], TASKS[t])
            if not any(np.array_equal(result, expected[t, s]) for expected in right):
                wrong.append((i, t, s))

    in_threads(work)
    assert wrong == []
    assert session.metrics().restores == len(serial) + THREADS * rounds


def test_the_weights_are_the_task_s_throughout_a_run(
    null_bundle: Path, picture: Any, monkeypatch: Any
) -> None:
    def run(self: NullBackend, tensor: Any) -> Any:
        """What the weights come to, before and after the other threads had their chance."""
        sums = [sum(float(np.abs(w).sum()) for w in self.weights.values()) for _ in range(2)]
        assert sums[0] == sums[1]
        return np.full_like(tensor, sums[0] % 1)

    monkeypatch.setattr(NullBackend, "run", run)
    with load(null_bundle, "null") as session:
        check_interleaved(session, picture, 12)
        assert len({session.restore(picture(8, 8), task).tobytes() for task in TASKS}) == len(TASKS)


@pytest.mark.parametrize("policy", ["refit", "merged"])
def test_results_are_those_of_a_serial_run(ort_bundle: Path, picture: Any, policy: str) -> None:
    with load(ort_bundle, policy=policy, threads=1) as session:
        check_interleaved(session, picture, 6)


def test_results_with_merged_graphs_that_come_and_go(ort_bundle: Path, picture: Any) -> None:
    """Each call is served by the graph edited in place, or by a merged one that is there by then."""
    budget = estimate(open_bundle(ort_bundle)).total(True, 2)
    with (
        load(ort_bundle, policy="refit", threads=1) as refit,
        load(ort_bundle, policy="merged", threads=1) as merged,
        load(ort_bundle, memory_budget=budget, threads=1) as session,
    ):
        check_interleaved(session, picture, 8, refit, merged)
        wait(session._switcher.hot._building.values())  # those threads may have left it no time
        session.restore(picture(20, 24), "rain")
        assert session.metrics().prefetches > 0


def test_closing_while_others_restore(null_bundle: Path, picture: Any) -> None:
    session = load(null_bundle, "null")
    started = threading.Barrier(THREADS)
    image = picture(8, 8)

    def work(i: int) -> None:
        started.wait()
        if i == 0:
            session.restore(image, "rain")
            session.close()
            return
        with pytest.raises(BackendError, match="is closed: load it again"):
            for _ in range(1_000_000):
                assert np.array_equal(session.restore(image, TASKS[i % len(TASKS)]), image)

    in_threads(work)
    assert session.metrics().failures == THREADS - 1
