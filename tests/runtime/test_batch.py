"""Pictures of several tasks in one call: results in order, switches as few as can be."""

from concurrent.futures import wait
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from colora.devices.errors import BackendError, ImageError, UnknownName
from colora.runtime.backend_null import NullBackend
from colora.runtime.session import Session, load

MIX = {"rain": 0.5, "noise": 0.5}


@pytest.fixture
def pictures(picture: Any) -> list[Any]:
    return [picture(8 + i, 12) for i in range(7)]


def switches(session: Session) -> int:
    return session._switcher.switches


def test_the_order_is_kept_and_each_task_is_switched_to_once(null_bundle: Path, pictures: list[Any]) -> None:
    with load(null_bundle, "null") as session:
        session.verify()
        session.restore(pictures[0], "noise")
        graph, before = session._switcher._graph, switches(session)
        assert isinstance(graph, NullBackend)
        tasks: list[Any] = ["rain", "noise", MIX, "rain", {"noise": 0.5, "rain": 0.5}, "noise", "rain"]
        graph.changed.clear()
        results = session.restore_batch(pictures, tasks)
        assert all(np.array_equal(got, given) for got, given in zip(results, pictures, strict=True))
        assert switches(session) - before == 2  # noise, at hand, goes first; then rain and the mixture
        rain, noise = ["w1", "b1", "w3", "b3"], ["w2a", "b2a", "w2b", "b2b"]
        assert sorted(graph.changed) == sorted(rain + noise + rain + noise)
        session.restore_batch(pictures, tasks)
        assert switches(session) - before == 4  # the mixture is at hand now


def test_merged_graphs_at_hand_go_first_and_are_not_opened_twice(
    null_bundle: Path, pictures: list[Any], monkeypatch: Any
) -> None:
    opened: list[bool] = []
    real = NullBackend.__init__

    def counts(self: NullBackend, weights: Any, refit: bool) -> None:
        opened.append(refit)
        real(self, weights, refit)

    monkeypatch.setattr(NullBackend, "__init__", counts)
    with load(null_bundle, "null", policy="merged", hot_tasks=2) as session:
        session.restore(pictures[0], "noise")
        session.restore(pictures[0], "rain")
        opened.clear()
        session.restore_batch(pictures[:4], [MIX, "noise", MIX, "rain"])
        assert len(opened) == 1


def test_graphs_of_hot_tasks_and_the_edited_one_are_used_side_by_side(
    null_bundle: Path, pictures: list[Any]
) -> None:
    with load(null_bundle, "null", memory_budget=10**9, hot_tasks=2) as session:
        for task in ("rain", "noise"):
            session.prefetch(task)
        wait(session._switcher.hot._building.values())
        session.restore(pictures[0], MIX)
        graph, before = session._switcher._graph, switches(session)
        assert isinstance(graph, NullBackend)
        graph.changed.clear()
        session.restore_batch(pictures[:5], ["rain", MIX, "noise", MIX, "rain"])
        assert graph.changed == []
        assert switches(session) - before <= 3  # MIX is in use


def test_results_are_those_of_single_calls(ort_bundle: Path, pictures: list[Any]) -> None:
    tasks: list[Any] = ["rain", "noise", MIX, "", {}, "noise", "rain"]
    with load(ort_bundle, threads=1) as session:
        expected = [session.restore(p, t, 0.5) for p, t in zip(pictures, tasks, strict=True)]
        for got, single in zip(session.restore_batch(pictures, tasks, 0.5), expected, strict=True):
            assert np.array_equal(got, single)
    with pytest.raises(BackendError, match="is closed"):
        session.restore_batch(pictures, tasks)


def test_nothing_is_run_where_something_is_wrong(null_bundle: Path, pictures: list[Any]) -> None:
    with load(null_bundle, "null") as session:
        graph = session._switcher._graph
        assert isinstance(graph, NullBackend)
        with pytest.raises(ImageError, match="7 pictures and 1 tasks; expected a task for each"):
            session.restore_batch(pictures, ["rain"])
        with pytest.raises(ImageError, match="picture 1 of the batch: image is float64"):
            session.restore_batch([pictures[0], np.zeros((4, 4, 3))], ["rain", "rain"])
        with pytest.raises(UnknownName, match="unknown task 'rian': did you mean rain"):
            session.restore_batch(pictures[:2], ["rain", "rian"])
        assert graph.runs == 0
        assert session.restore_batch([], []) == []


@pytest.mark.parametrize("dtype", ["uint8", "uint16", "float16", "float32"])
@pytest.mark.parametrize("size", [(20, 24), (130, 100)])  # whole, and in tiles
def test_the_dtype_is_kept(null_bundle: Path, picture: Any, dtype: str, size: tuple[int, int]) -> None:
    white = {"uint8": 255, "uint16": 65535}.get(dtype, 1)
    given = (picture(*size) / 255 * white).astype(dtype)
    with load(null_bundle, "null") as session:
        got = session.restore(given, "rain")
        assert (got.dtype, got.shape) == (given.dtype, given.shape)
        # the null backend returns its input; tiles are blended with weights that sum to 1 within 1e-6
        assert np.allclose(got, given, atol=1e-6 if dtype == "float32" else 0, rtol=0)
        assert session.restore(given[:, :, 0], "rain").shape == given.shape  # grey comes back as RGB
