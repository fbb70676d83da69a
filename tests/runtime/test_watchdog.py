"""A backend that fails is opened anew, a bounded number of times, and every result is right."""

import logging
import threading
from concurrent.futures import wait
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from colora.devices.errors import BackendError, BackendFailed, ParityError
from colora.runtime import hot, watchdog
from colora.runtime.backend_null import NullBackend
from colora.runtime.backend_ort import OrtBackend
from colora.runtime.session import load

POLICIES = [("refit", None), ("merged", None), ("auto", 10**9)]


@pytest.fixture(autouse=True)
def slept(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """Seconds that were waited, without the waiting."""
    seconds: list[float] = []
    monkeypatch.setattr(watchdog, "sleep", seconds.append)
    return seconds


class Broken:
    """Makes a method of a backend fail as often as `times` says, for callers or for what is built in the background.

    Not for both: policy auto builds ahead while a picture runs, and which of them failed would be chance.
    """

    def __init__(
        self, monkeypatch: pytest.MonkeyPatch, backend: type, method: str, background: bool = False
    ) -> None:
        self.times = 0
        self.error: Exception = BackendFailed("the device is gone")
        real = getattr(backend, method)

        def breaks(graph: Any, *arguments: Any) -> Any:
            ours = threading.current_thread().name.startswith("colora-build") == background
            if self.times > 0 and ours:
                self.times -= 1
                raise self.error
            return real(graph, *arguments)

        monkeypatch.setattr(backend, method, breaks)


@pytest.mark.parametrize(("policy", "budget"), POLICIES)
def test_a_failure_is_made_good(
    ort_bundle: Path,
    picture: Any,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
    policy: str,
    budget: int | None,
) -> None:
    broken, image = Broken(monkeypatch, OrtBackend, "run"), picture(20, 24)
    with load(ort_bundle, policy=policy, memory_budget=budget, threads=1) as session:
        before = session.describe().policy
        serial = {task: session.restore(image, task) for task in ("rain", "noise")}
        with caplog.at_level(logging.INFO, "colora.runtime"):
            broken.times = 1
            assert np.abs(session.restore(image, "rain").astype(int) - serial["rain"]).max() <= 1
        events = [record.__dict__["event"] for record in caplog.records]
        assert events == ["backend_failed", "backend_reopened"]
        broken.times = 2
        assert np.abs(session.restore(image, "noise").astype(int) - serial["noise"]).max() <= 1
        found = session.metrics()
        assert (found.reopens, found.failures, found.restores) == (2, 0, 4)
        assert session.describe().policy == before


@pytest.mark.parametrize("error", [BackendFailed("the device is gone"), MemoryError("no room")])
def test_a_failure_in_the_background_costs_no_call_anything(
    ort_bundle: Path,
    picture: Any,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
    error: Exception,
) -> None:
    broken, image = Broken(monkeypatch, OrtBackend, "run", background=True), picture(20, 24)
    broken.error, now = error, [100.0]
    monkeypatch.setattr(hot, "monotonic", lambda: now[0])
    with load(ort_bundle, memory_budget=10**9, threads=1) as session:

        def restored(task: str) -> Any:
            result = session.restore(image, task)
            wait(session._switcher.hot._building.values())
            return result

        serial = {task: restored(task) for task in ("rain", "noise")}
        broken.times = 1
        with caplog.at_level(logging.INFO, "colora.runtime"):
            for task in ("rain", "noise"):  # noise, which comes next, fails in the background
                assert np.array_equal(restored(task), serial[task])
        (record,) = caplog.records
        assert (record.__dict__["event"], record.__dict__["tasks"]) == ("build_failed", {"noise": 1.0})
        assert str(error) in record.getMessage()
        found = session.metrics()
        assert (found.reopens, found.failures) == (0, 0)
        restored("rain")
        restored("noise")
        assert session.describe().hot == ("rain",)  # a guess that failed is not made again at once
        now[0] += hot.AGAIN_AFTER_S
        restored("rain")
        assert np.abs(restored("noise").astype(int) - serial["noise"]).max() <= 1
        assert set(session.describe().hot) == {"rain", "noise"}


def test_the_number_of_retries_is_bounded_and_told(
    null_bundle: Path, picture: Any, monkeypatch: pytest.MonkeyPatch, slept: list[float]
) -> None:
    broken = Broken(monkeypatch, NullBackend, "run")
    with load(null_bundle, "null", reopen_limit=3) as session:
        broken.times = 4
        with pytest.raises(BackendFailed, match="device is gone; opening it anew 3 times did not help"):
            session.restore(picture(8, 8), "rain")
        assert slept == [0.5, 1.0]
        assert (session.metrics().reopens, session.metrics().failures) == (3, 1)
        assert session.describe().backend.name == "null"
        assert np.array_equal(session.restore(picture(8, 8), "rain"), picture(8, 8))
        assert session.metrics().reopens == 4
    with load(null_bundle, "null", reopen_limit=0) as session:
        broken.times = 1
        with pytest.raises(BackendFailed, match="opening it anew 0 times"):
            session.restore(picture(8, 8), "rain")


def test_a_switch_that_fails_is_one_too(
    null_bundle: Path, picture: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    broken = Broken(monkeypatch, NullBackend, "set_weights")
    with load(null_bundle, "null") as session:
        session.restore(picture(8, 8), "rain")
        first = session._switcher._graph
        broken.times = 1
        session.restore(picture(8, 8), "noise")
        second = session._switcher._graph
        assert isinstance(second, NullBackend)
        assert first is not second
        assert set(second.changed) == {"w2a", "b2a", "w2b", "b2b"}  # anew from the backbone, not from rain
        assert session.metrics().reopens == 1


def test_a_backend_that_opens_again_only_later(
    null_bundle: Path, picture: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    runs, opens = Broken(monkeypatch, NullBackend, "run"), [0]
    with load(null_bundle, "null", "refit") as session:
        real = session._switcher._make._open_graph

        def opens_again(*arguments: Any) -> Any:
            opens[0] += 1
            if opens[0] < 3:
                raise BackendError("no such device")
            return real(*arguments)

        monkeypatch.setattr(session._switcher._make, "_open_graph", opens_again)
        runs.times = 1
        with pytest.raises(BackendFailed, match="no such device; opening it anew 2 times"):
            session.restore(picture(8, 8), "rain")
        assert session.describe().backend.name == "null"  # what it was
        assert np.array_equal(session.restore(picture(8, 8), "rain"), picture(8, 8))
        assert (opens, session.metrics().reopens) == ([3], 1)


def test_what_opens_again_must_still_compute_the_backbone(
    ort_bundle: Path, picture: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    broken = Broken(monkeypatch, OrtBackend, "run")
    with load(ort_bundle, "ort", "merged", threads=1) as session:
        serial = session.restore(picture(20, 24), "rain")
        with monkeypatch.context() as patch:
            real = OrtBackend.run
            patch.setattr(OrtBackend, "run", lambda graph, tensor: real(graph, tensor) + np.float32(0.01))
            broken.times = 1
            with pytest.raises(ParityError, match="the backbone differs from its golden output"):
                session.restore(picture(20, 24), "rain")
        assert np.array_equal(session.restore(picture(20, 24), "rain"), serial)


def test_what_a_caller_does_wrong_reopens_nothing(null_bundle: Path, picture: Any) -> None:
    with load(null_bundle, "null") as session:
        with pytest.raises(BackendError, match="strength of rain is nan"):
            session.restore(picture(8, 8), "rain", float("nan"))
        assert session.metrics().reopens == 0
    with pytest.raises(BackendError, match=r"reopen_limit -1; expected at least"):
        load(null_bundle, "null", reopen_limit=-1)
