"""A memory budget: what it has room for, what is kept open in it, and what is built before it is asked for."""

import dataclasses
import logging
import threading
from collections.abc import Callable
from concurrent.futures import wait
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from colora.devices.errors import BackendError, BundleError, CheckpointError, UnknownName
from colora.runtime.adapter import write_adapter
from colora.runtime.backend_null import NullBackend
from colora.runtime.bundle import open_bundle, write_bundle
from colora.runtime.policy import MERGED_COPIES, SPARE, estimate, room
from colora.runtime.session import Session, load

MIX: Any = {"rain": 0.5, "noise": 0.5}
CLOSE = 1e-5
"""float32 sums of up to 27 products of order 1, against float64."""


def budget(bundle: Path, merged: int, refit: bool = True) -> int:
    """Bytes with room for so many merged graphs, and not one more."""
    return estimate(open_bundle(bundle)).total(refit, merged)


def settle(session: Session) -> None:
    """Let the background thread finish; the next call takes over what it made."""
    wait(session._switcher.hot._building.values())


def hot(session: Session) -> tuple[str, ...]:
    return session.describe().hot


@pytest.fixture
def opened(monkeypatch: pytest.MonkeyPatch) -> list[bool]:
    """One entry for each graph opened: whether the background thread did it."""
    seen: list[bool] = []
    real = NullBackend.__init__

    def notes(self: NullBackend, weights: Any, refit: bool) -> None:
        seen.append(threading.current_thread().name.startswith("colora-build"))
        real(self, weights, refit)

    monkeypatch.setattr(NullBackend, "__init__", notes)
    return seen


def test_the_rule(null_bundle: Path) -> None:
    costs = estimate(open_bundle(null_bundle))
    graph = (null_bundle / "graph.onnx").stat().st_size
    adapters = sum(file.stat().st_size for file in (null_bundle / "tasks").iterdir())
    activations = round(SPARE * 1024 * 96 * 96)  # the bundle does not say; pictures up to 96×96 run whole
    assert dataclasses.astuple(costs) == (graph, MERGED_COPIES * graph, activations, adapters)
    assert costs.total(True, 2) == graph + 2 * MERGED_COPIES * graph + activations + adapters
    assert estimate(open_bundle(null_bundle), 10**9).adapters == 10**9
    bundle = open_bundle(null_bundle)
    for precision, factor in (("fp32", 1), ("fp16", 2)):  # a CPU computes float16 in float32
        manifest = dataclasses.replace(bundle.manifest, activation_bytes_per_pixel=100.0, precision=precision)
        said = estimate(dataclasses.replace(bundle, manifest=manifest))
        assert said.activations == round(SPARE * factor * 100 * 96 * 96)


@pytest.mark.parametrize(
    ("budgeted", "hot_tasks", "refit", "fits"),
    [
        (None, None, True, 0),
        (None, None, False, 2),
        (None, 5, False, 5),
        (0, None, True, 0),
        (1, None, True, 1),
        (3, None, True, 3),
        (3, 2, True, 2),
        (3, None, False, 3),
        (-1, None, True, 0),
        (-1, None, False, 1),
    ],
)
def test_room(null_bundle: Path, budgeted: int | None, hot_tasks: int | None, refit: bool, fits: int) -> None:
    costs = estimate(open_bundle(null_bundle))
    given = None if budgeted is None else costs.total(refit, budgeted)
    assert room(costs, given, hot_tasks, refit) == fits
    if budgeted is not None and budgeted > 0 and hot_tasks is None:
        assert given is not None
        assert room(costs, given - 1, None, refit) == max(0 if refit else 1, fits - 1)


@pytest.mark.parametrize(("policy", "refit"), [("auto", True), ("refit", True), ("merged", False)])
def test_a_budget_below_the_minimum_says_what_it_would_need(
    null_bundle: Path, policy: str, refit: bool
) -> None:
    needed = budget(null_bundle, 0 if refit else 1, refit)
    with pytest.raises(
        BackendError, match=rf"memory_budget is 16\.6\d MB; .* needs at .*: raise it to {needed}"
    ):
        load(null_bundle, "null", policy, needed - 1)
    with load(null_bundle, "null", policy, needed) as session:
        assert session.describe().estimated_bytes == needed


def test_auto_decides_from_the_budget_and_says_why(null_bundle: Path) -> None:
    for merged, policy in ((0, "refit"), (2, "refit+merged")):
        given = budget(null_bundle, merged)
        with load(null_bundle, "null", memory_budget=given) as session:
            facts = session.describe()
            assert (facts.policy, facts.merged_room, facts.memory_budget) == (policy, merged, given)
            assert f"MB has room for {merged} merged: 16.6" in facts.why
            assert facts.estimated_bytes <= given
    with load(null_bundle, "null", "refit", given) as session:
        assert (session.describe().policy, session.describe().merged_room) == ("refit", 0)


def test_a_task_in_use_gets_its_own_graph_and_refit_serves_the_rest(
    null_bundle: Path, picture: Any, opened: list[bool]
) -> None:
    given = budget(null_bundle, 2)
    with load(null_bundle, "null", memory_budget=given) as session:
        edited = session._switcher._graph
        assert isinstance(edited, NullBackend)
        for _ in range(3):  # used again: it will probably be used once more
            session.restore(picture(8, 8), "rain")
            settle(session)
        assert (hot(session), opened) == (("rain",), [False, True])
        edited.changed.clear()
        runs = edited.runs
        session.restore(picture(8, 8), "rain")
        assert (edited.runs, edited.changed) == (runs, [])
        session.restore(picture(8, 8), "noise")
        assert edited.runs == runs + 1
        for task in ("rain", "noise", "rain", "noise"):
            session.restore(picture(8, 8), task)
            settle(session)
        assert hot(session) == ("rain", "noise")
        assert opened == [False, True, True]
        found = session.metrics()
        assert (found.merged_graphs, found.prefetches, found.prefetch_hits) == (2, 2, 2)
        assert session.describe().estimated_bytes == given
    assert session.metrics().merged_graphs == 0


def test_more_tasks_than_room_do_not_drive_one_another_out(
    null_bundle: Path, picture: Any, opened: list[bool]
) -> None:
    with load(null_bundle, "null", memory_budget=budget(null_bundle, 2)) as session:
        for task in ["rain", "noise", MIX] * 4:
            session.restore(picture(8, 8), task)
            settle(session)
        held, made = hot(session), len(opened)
        for task in ["rain", "noise", MIX] * 3:
            session.restore(picture(8, 8), task)
            settle(session)
        assert set(hot(session)) == set(held)
        assert len(held) == 2
        assert len(opened) == made
        for _ in range(4):  # but what is used no more makes room
            for task in ("", {"rain": 0.25}):
                session.restore(picture(8, 8), task)
                settle(session)
        assert set(hot(session)) == {"backbone", "0.25 rain"}


@pytest.mark.parametrize("policy", ["auto", "merged"])
def test_what_is_announced_is_built_in_the_background(
    null_bundle: Path, picture: Any, opened: list[bool], policy: str
) -> None:
    given = budget(null_bundle, 2, policy == "auto")
    with load(null_bundle, "null", policy, given) as session:
        session.restore(picture(8, 8), "")
        assert opened == [False]
        session.prefetch("rain")
        session.prefetch("rain")
        settle(session)
        session.prefetch("rain")
        session.restore(picture(8, 8), "rain")
        assert opened == [False, True]
        assert hot(session)[-1] == "rain"
        session.prefetch(MIX)
        settle(session)
        session.restore(picture(8, 8), {"noise": 0.5, "rain": 0.5})
        assert opened == [False, True, True, True]  # noise alone for its golden check, then the mixture
        assert session.metrics().prefetch_hits == 2
        with pytest.raises(UnknownName, match="unknown task 'rian': did you mean rain"):
            session.prefetch("rian")


def test_without_room_an_announced_task_is_read_and_proven(null_bundle: Path, picture: Any) -> None:
    with load(null_bundle, "null") as session:
        session.prefetch("rain")
        assert session.metrics().resident_bytes > 0
        assert session.metrics().prefetches == 0
        (null_bundle / "tasks" / "noise.safetensors").write_bytes(b"torn off")
        with pytest.raises(CheckpointError, match="is truncated"):
            session.prefetch("noise")


def test_a_use_waits_for_the_graph_under_way_rather_than_open_another(
    null_bundle: Path, picture: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    with load(null_bundle, "null", "merged") as session:
        began, go_on, names = threading.Event(), threading.Event(), []
        real = NullBackend.open

        def slow(*arguments: Any) -> NullBackend:
            names.append(threading.current_thread().name)
            began.set()
            assert go_on.wait(60)
            return real(*arguments)

        monkeypatch.setattr(session._switcher._make, "_open_graph", lambda *arguments: slow(*arguments, 1))
        session.prefetch("rain")
        assert began.wait(60)
        user = threading.Thread(target=session.restore, args=(picture(8, 8), "rain"))
        user.start()
        go_on.set()
        user.join()
        assert len(names) == 1
        assert session.metrics().prefetch_hits == 1


def test_a_failure_in_the_background_is_told_and_the_use_raises(
    null_bundle: Path, picture: Any, caplog: pytest.LogCaptureFixture
) -> None:
    with load(null_bundle, "null", memory_budget=budget(null_bundle, 2)) as session:
        (null_bundle / "tasks" / "rain.safetensors").write_bytes(b"torn off")
        session.prefetch("rain")
        settle(session)
        with caplog.at_level(logging.WARNING, "colora.runtime.hot"):
            session.restore(picture(8, 8), "noise")
        (record,) = caplog.records
        assert record.__dict__["event"] == "build_failed"
        assert record.__dict__["tasks"] == {"rain": 1.0}
        assert "is truncated" in record.getMessage()
        with pytest.raises(CheckpointError, match="is truncated"):
            session.restore(picture(8, 8), "rain")


def test_a_new_adapter_takes_the_place_of_the_graph_of_the_old(
    mini: Any, null_bundle: Path, picture: Any
) -> None:
    with load(null_bundle, "null", memory_budget=budget(null_bundle, 2)) as session:
        for _ in range(3):
            session.restore(picture(8, 8), "rain")
            settle(session)
        (old,) = session._switcher.hot.keys
        changed = dataclasses.replace(mini.adapters["noise"], task="rain")
        write_adapter(null_bundle / "tasks" / "rain.safetensors", changed)
        for _ in range(2):
            session.restore(picture(8, 8), "rain")
            settle(session)
        session.restore(picture(8, 8), "rain")
        (new,) = session._switcher.hot.keys
        assert new != old
        graph = session._switcher.hot.last()
        assert isinstance(graph, NullBackend)
        assert {"w2a", "b2a", "w2b", "b2b"} == set(graph.weights)  # what noise changes


def test_closing_waits_for_what_is_under_way_and_frees_it(
    null_bundle: Path, picture: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    closed: list[NullBackend] = []
    monkeypatch.setattr(NullBackend, "close", lambda graph: closed.append(graph))
    session = load(null_bundle, "null", memory_budget=budget(null_bundle, 2))
    session.prefetch("rain")
    session.prefetch("noise")
    session.close()
    assert 1 <= len(closed) <= 3  # the edited graph, and those that were begun
    session.close()
    for call in (lambda: session.prefetch("rain"), lambda: session.restore(picture(8, 8), "rain")):
        with pytest.raises(BackendError, match="is closed: load it again"):
            call()


def test_every_graph_computes_the_network(mini: Any, ort_bundle: Path, picture: Any) -> None:
    image = (picture(24, 30) / 255).astype(np.float32)

    def reference(mixture: Any) -> Any:
        return np.clip(mini.forward(image.transpose(2, 0, 1)[None], mixture)[0].transpose(1, 2, 0), 0, 1)

    with load(ort_bundle, memory_budget=budget(ort_bundle, 2), threads=1) as session:
        for _ in range(4):
            for mixture in ({"rain": 1.0}, MIX, {}):
                assert np.abs(session.restore(image, mixture) - reference(mixture)).max() < CLOSE
                settle(session)
        assert session.metrics().prefetch_hits == 2


def test_a_merged_graph_is_proven_before_it_is_used(mini: Any, ort_bundle: Path, picture: Any) -> None:
    rain = mini.adapters["rain"]
    lies = dataclasses.replace(rain, golden_output=rain.golden_output + np.float32(0.01))
    write_adapter(ort_bundle / "tasks" / "rain.safetensors", lies)
    with load(ort_bundle, memory_budget=budget(ort_bundle, 3), threads=1) as session:
        for wanted in ("rain", {"rain": 0.5}, "noise"):
            session.prefetch(wanted)
        settle(session)
        session.restore(picture(8, 8), "")
        assert hot(session) == ("noise",)


def test_a_bundle_replaced_under_a_session_builds_nothing(mini: Any, null_bundle: Path, picture: Any) -> None:
    with load(null_bundle, "null", "merged") as session:
        write_bundle(null_bundle, mini.fill_with_graph)
        session.prefetch("rain")
        settle(session)
        with pytest.raises(BundleError, match="was replaced while it was in use: load it again"):
            session.restore(picture(8, 8), "rain")


def in_threads(work: Callable[[int], None]) -> None:
    threads = [threading.Thread(target=work, args=(i,)) for i in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()


def test_threads_announce_and_use_at_once(null_bundle: Path, picture: Any) -> None:
    image, tasks = picture(8, 8), ["rain", "noise", MIX, ""]
    wrong: list[Any] = []

    def work(i: int) -> None:
        for n in range(12):
            session.prefetch(tasks[(n + i + 1) % 4])
            if not np.array_equal(session.restore(image, tasks[(n + i) % 4]), image):
                wrong.append((i, n))
            if len(session._switcher.hot.keys) > 2:
                wrong.append((i, "room"))

    with load(null_bundle, "null", memory_budget=budget(null_bundle, 2)) as session:
        in_threads(work)
        assert session.metrics().restores == 8 * 12
    assert wrong == []
