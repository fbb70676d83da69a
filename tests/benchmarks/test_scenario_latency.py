"""The latency scenario on a tiny network: what is measured is real, few rounds; what a figure says, on made numbers."""

from __future__ import annotations

import importlib
import json
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from colora.benchmarks import latency_view as view
from colora.benchmarks import scenario_latency, starts
from colora.benchmarks.latency_run import HOT, OPEN, REFIT, plan
from colora.benchmarks.latency_view import Times
from colora.benchmarks.page_cache import evict, in_memory
from colora.benchmarks.section import Section
from colora.benchmarks.section_record import lines
from colora.benchmarks.settings import Settings
from colora.benchmarks.starts import COLD, SHARED, WARM, WHOLE, Starts
from colora.runtime.backend import BACKENDS


def here(function: str, *args: object) -> Any:
    """As `in_fresh_process`, without a process."""
    module, _, name = function.partition(":")
    return json.loads(json.dumps(getattr(importlib.import_module(module), name)(*map(str, args))))


@pytest.fixture
def begun(monkeypatch: pytest.MonkeyPatch) -> None:
    """Starts that take no time, and no process of its own for the rest."""
    found = Starts({(kind, who): [30.0, 20.0] for kind in (WARM, COLD) for who in (SHARED, WHOLE)}, 0.0)
    monkeypatch.setattr(scenario_latency, "starts", lambda *_: found)
    monkeypatch.setattr(scenario_latency, "in_fresh_process", here)
    monkeypatch.setattr(scenario_latency, "SWITCHES", 1)
    monkeypatch.setattr(scenario_latency, "BACKENDS", {name: BACKENDS[name] for name in ("ort", "tensorrt")})


@pytest.mark.usefixtures("begun")
def test_a_section_of_a_bundle(bundle: Path, tmp_path: Path) -> None:
    settings = Settings(tmp_path, size=32, sizes=(48, 32), rounds=3, seconds=99)
    said: list[str] = []
    found = scenario_latency.section(bundle, settings, said.append)
    assert Section.read(json.loads(json.dumps(asdict(found)))) == found
    names = [column.name for column in found.columns]
    rows = [dict(zip(names, row, strict=True)) for row in found.rows]
    pictures = [row for row in rows if row["what"] == "picture"]
    assert {row["size"] for row in pictures} == {32, 48}
    assert {row["by"] for row in pictures} == {"ort, refit", "ort, merged"}
    assert {row["by"] for row in rows if row["what"] == "change of task"} == {REFIT, HOT, OPEN}
    assert {(row["what"], row["by"]) for row in rows if "start" in row["what"]} == {
        (kind, who) for kind in (WARM, COLD) for who in (SHARED, WHOLE)
    }
    for row in rows:
        assert 0 <= row["p50 low"] <= row["p50"] <= row["p50 high"] and row["p50"] <= row["p95"] <= row["p99"]
        assert (row["ratio"] is None) == (row["against"] == "")
    for row in pictures:
        assert row["compute"] > 0 and row["copies"] > 0
    assert [plot.kind for plot in found.plots] == ["line", "bar", "steps", "bar"]
    _, percentile_bars, changes, _ = found.plots
    assert [series.name for series in percentile_bars.series] == ["p50", "p95", "p99"]
    assert set(percentile_bars.series[0].x) == {f"{row['by']}, {row['size']} px" for row in pictures}
    assert {series.name for series in changes.series} == {REFIT, HOT, OPEN}
    assert all(series.y[-1] == 1 for series in changes.series)
    assert "change of task takes" in found.said and said[0] == "latency: pictures"
    assert any("Some rows have 2 rounds instead of 3" in note for note in found.notes)  # the starts
    assert any(note.startswith("Not measured, tensorrt: ") for note in found.notes)
    assert len(lines(found)) == 2 + len(rows) + len(found.notes)


def test_a_size_that_takes_too_long_is_left_out(bundle: Path) -> None:
    found = here("colora.benchmarks.latency_run:pictures", bundle, "rain", "32,512", "ort merged", 1, 9, 0.01)
    assert list(found["sizes"]) == ["32"] and found["left_out"] == [512]
    assert len(found["sizes"]["32"]["ms"]["ort merged"]) == 3  # the least


@pytest.mark.parametrize(
    ("costs", "left", "expected"),
    [
        ((0.4, 0.8, 2.7), 25.0, (5, 0)),  # the default report on two quiet cores: 6 × 3.9 s
        ((0.4, 0.8, 2.7), 200.0, (10, 0)),
        ((0.8, 1.6, 5.4), 25.0, (3, 0)),  # half as fast: 4 × 7.8 s, within 1.5 × 25 s
        ((1.6, 3.2, 10.8), 25.0, (4, 1)),  # 4 × 15.6 s are too much, 5 × 4.8 s are not
        ((9.0, 90.0), 1.0, (3, 1)),  # the first is measured come what may
    ],
)
def test_every_size_has_rounds_before_one_has_many(
    costs: tuple[float, ...], left: float, expected: tuple[int, int]
) -> None:
    assert plan(costs, 10, left) == expected


def test_cold_starts_find_no_cache_and_no_file_in_memory(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    model = tmp_path / "model"
    model.mkdir()
    (model / "graph.onnx").write_bytes(b"x" * 100_000)
    leave = "import os, pathlib; p = pathlib.Path(os.environ['XDG_CACHE_HOME']); n = p.exists(); "
    leave += "p.mkdir(parents=True, exist_ok=True); print(int(n))"
    monkeypatch.setattr(starts, "OURS", leave)
    monkeypatch.setattr(starts, "BARE", "print(1)")
    caches: dict[tuple[str, bool], list[float]] = {}
    begin = starts.seconds_to_line

    def spy(code: str, *args: str, cache: Path) -> tuple[float, float]:
        taken, had = begin(code, *args, cache=cache)
        caches.setdefault((code, cache.name == "warm"), []).append(had)
        return taken, had

    monkeypatch.setattr(starts, "seconds_to_line", spy)
    found = starts.starts(model, model, "rain", tmp_path / "x.npy", 2, 100.0, tmp_path / "caches")
    assert found.ms.keys() == {(kind, who) for kind in (WARM, COLD) for who in (SHARED, WHOLE)}
    assert all(len(ms) == 2 and min(ms) > 0 for ms in found.ms.values())
    assert caches[leave, False] == [0, 0, 0] and caches[leave, True] == [0, 1, 1]


def test_a_file_is_in_memory_once_it_was_read(tmp_path: Path) -> None:
    file = tmp_path / "file"
    file.write_bytes(b"x" * 50_000)
    assert in_memory(file) == 1.0
    evict([file])
    before = in_memory(file)  # 0 on a disk; what lives in memory stays there
    assert before in (0.0, 1.0)
    file.read_bytes()
    assert in_memory(file) == 1.0
    file.write_bytes(b"")
    assert in_memory(file) == 0.0


def test_ratios_and_sentence() -> None:
    rng = np.random.default_rng(0)
    merged = [10.0, 20.0, 10.0, 12.0, 11.0, 40.0, 10.0]
    rows = [
        Times("picture", "ort, refit", [1.1 * ms for ms in merged], 256, "ort, merged", merged),
        Times("picture", "ort, merged", merged, 256),
    ]
    refit, plain = (view.figure(times, rng, 0.95, pace=0.5) for times in rows)
    assert refit.ratio and plain.ratio is None
    # all rounds agree: what is left is what another process differs by
    assert refit.ratio.low == pytest.approx(1.1 * (1 - view.BETWEEN))
    assert (
        refit.median.high - refit.median.value > 0.5 * refit.median.value
    )  # the pace is in it, and not in the ratio
    switch = view.figure(Times("change of task", REFIT, [2.0] * 7, None, OPEN, [40.0] * 7), rng, 0.95)
    told = view.sentence([refit, plain], [switch], 200)
    assert told == (
        "A picture of 256×256 takes 1.10 times as long with weights that can change (ort, refit) as merged "
        "(1.05 to 1.16); a change of task takes 2.0 ms, 0.050 times opening the other whole model (0.048 to 0.053)."
    )
    assert len(view.cells(refit)) == len(view.COLUMNS)
    assert view.sentence([plain], [], 256) == "A picture of 256×256 takes 11.0 ms."


def test_a_backend_that_is_not_there_is_told_once() -> None:
    told = {"trt refit": "no", "trt merged": "no package", "cuda refit": "not in place"}
    assert scenario_latency.refusals(told) == {"trt": "no package", "cuda, refit": "not in place"}
