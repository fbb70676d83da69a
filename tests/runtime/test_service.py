"""A live source: nothing waits for long, what is dropped is counted, and the frame in work is finished."""

import logging
import threading
import weakref
from concurrent.futures import CancelledError, Future, ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from colora.devices.errors import BackendError, FrameDropped, UnknownName
from colora.runtime.service import Service
from colora.runtime.session import Session, load

LONG = 60.0
"""Seconds after which a test that hangs fails."""


class Gate:
    """Holds a session's restores until opened, and says when the first is in work."""

    def __init__(self, session: Session, monkeypatch: pytest.MonkeyPatch) -> None:
        self.begun, self.open = threading.Event(), threading.Event()
        real = session.restore

        def restore(*arguments: Any) -> Any:
            self.begun.set()
            assert self.open.wait(LONG)
            return real(*arguments)

        monkeypatch.setattr(session, "restore", restore)


@pytest.fixture
def session(null_bundle: Path) -> Any:
    with load(null_bundle, "null") as session:
        yield session


@pytest.fixture
def gate(session: Session, monkeypatch: pytest.MonkeyPatch) -> Any:
    gate = Gate(session, monkeypatch)
    yield gate
    gate.open.set()


def reason(future: "Future[Any]") -> str:
    return str(future.exception(LONG))


def test_frames_come_back_as_the_session_restores_them(session: Session, picture: Any) -> None:
    frames = [picture(8 + i, 12) for i in range(5)]
    with Service(session, capacity=5) as service:
        futures = [service.submit(frame, "rain") for frame in frames]
        assert all(np.array_equal(f.result(LONG), given) for f, given in zip(futures, frames, strict=True))
        with pytest.raises(UnknownName, match="unknown task 'rian'"):
            service.submit(frames[0], "rian").result(LONG)
        found = service.metrics()
        assert (found.restores, found.failures, found.dropped_frames, found.late_frames) == (5, 1, 0, 0)


def test_the_oldest_that_waits_is_dropped(session: Session, gate: Gate, picture: Any) -> None:
    with Service(session, capacity=2) as service:
        in_work = service.submit(picture(8, 8))
        assert gate.begun.wait(LONG)
        waiting = [service.submit(picture(8, 8)) for _ in range(5)]
        assert [future.done() for future in waiting] == [True, True, True, False, False]
        assert reason(waiting[0]) == "the frame was dropped: newer frames came, and 2 may wait"
        gate.open.set()
        for future in (in_work, *waiting[3:]):
            assert future.result(LONG).shape == (8, 8, 3)
        assert service.metrics().dropped_frames == 3
        assert service.metrics().restores == 3


def test_a_frame_past_its_deadline_is_not_begun(session: Session, gate: Gate, picture: Any) -> None:
    now = [100.0]
    with Service(session, clock=lambda: now[0]) as service:
        in_work = service.submit(picture(8, 8), deadline=1.0)
        assert gate.begun.wait(LONG)
        late, in_time = (
            service.submit(picture(8, 8), deadline=1.0),
            service.submit(picture(8, 8), deadline=3.0),
        )
        now[0] = 102.0
        gate.open.set()
        assert in_work.result(LONG).shape == (8, 8, 3)  # it was begun in time
        with pytest.raises(FrameDropped, match="its deadline passed before it could be begun"):
            late.result(LONG)
        assert in_time.result(LONG).shape == (8, 8, 3)
        assert service.metrics().late_frames == 1


def test_closing_finishes_the_frame_in_work_and_drops_the_others(
    session: Session, gate: Gate, picture: Any
) -> None:
    service = Service(session)
    in_work = service.submit(picture(8, 8))
    assert gate.begun.wait(LONG)
    waits = service.submit(picture(8, 8))
    waits.add_done_callback(lambda _: gate.open.set())
    service.close()
    assert in_work.result(0).shape == (8, 8, 3)
    assert reason(waits) == "the frame was dropped: the service was closed"
    service.close()
    with pytest.raises(BackendError, match="the service is closed"):
        service.submit(picture(8, 8))
    assert service.metrics().dropped_frames == 1
    assert session.restore(picture(8, 8)).shape == (8, 8, 3)  # the session is its owner's


def test_a_callback_may_close_the_service(session: Session, picture: Any) -> None:
    service, closed = Service(session), threading.Event()

    def close(future: "Future[Any]") -> None:
        service.close()
        closed.set()  # not reached where it raises, which a future only logs

    service.submit(picture(8, 8)).add_done_callback(close)
    assert closed.wait(5)
    service.close()
    with pytest.raises(BackendError, match="the service is closed"):
        service.submit(picture(8, 8))


def test_a_service_that_waits_holds_no_frame(session: Session, picture: Any) -> None:
    class Frame(np.ndarray[Any, Any]):
        """An array that says when it is gone."""

    frame, gone = picture(8, 8).view(Frame), threading.Event()
    weakref.finalize(frame, gone.set)
    with Service(session) as service:
        service.submit(frame).result(LONG)
        del frame
        assert gone.wait(5)


def test_a_frame_may_be_called_off(session: Session, gate: Gate, picture: Any) -> None:
    with Service(session, capacity=1) as service:
        service.submit(picture(8, 8))
        assert gate.begun.wait(LONG)
        called_off = service.submit(picture(8, 8))
        assert called_off.cancel()
        last = service.submit(picture(8, 8))  # takes the place of the one called off
        gate.open.set()
        assert last.result(LONG).shape == (8, 8, 3)
        with pytest.raises(CancelledError):
            called_off.result(LONG)


def test_the_log_says_so_once_in_a_while(
    session: Session, gate: Gate, picture: Any, caplog: pytest.LogCaptureFixture
) -> None:
    now = [0.0]
    with Service(session, capacity=1, clock=lambda: now[0]) as service:
        with caplog.at_level(logging.WARNING, "colora.runtime.service"):
            service.submit(picture(8, 8))
            assert gate.begun.wait(LONG)
            for time in (0, 1, 2, 3, 11, 12):
                now[0] = time
                service.submit(picture(8, 8))
        gate.open.set()
    said = [(record.__dict__["event"], record.__dict__["dropped"]) for record in caplog.records]
    assert said == [("frame_dropped", 1), ("frame_dropped", 4)]


def test_a_capacity_that_is_none_is_refused(session: Session) -> None:
    with pytest.raises(BackendError, match="capacity is 0; expected at least 1 frame"):
        Service(session, 0)


def test_a_scrape_waits_for_no_picture(session: Session, gate: Gate, picture: Any) -> None:
    with Service(session) as service:
        service.submit(picture(8, 8))
        assert gate.begun.wait(LONG)
        with ThreadPoolExecutor(1) as pool, session._lock:  # which the picture in work holds
            assert pool.submit(service.metrics).result(LONG).restores == 0
        gate.open.set()
