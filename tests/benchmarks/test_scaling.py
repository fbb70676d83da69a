"""Cost laws: known ones are found again, and a bend only where there is one."""

from __future__ import annotations

import itertools
import json
import math
from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from colora.benchmarks import scenario_scaling, scenario_scaling_cases
from colora.benchmarks.resident import Memory
from colora.benchmarks.scenario_scaling import section
from colora.benchmarks.scenario_scaling_cases import Case, Store, many_tasks, walk
from colora.benchmarks.scenario_scaling_laws import fit_law
from colora.benchmarks.scenario_scaling_rows import QUANTITIES, beyond
from colora.benchmarks.section import Cell, Section
from colora.benchmarks.section_record import lines
from colora.benchmarks.settings import Settings
from colora.benchmarks.tiny import tiny_bundle
from colora.devices.errors import BackendError
from colora.runtime.bundle import open_bundle
from hypothesis import given, settings
from hypothesis import strategies as st

exponents = st.floats(-2, 3)
scales = st.floats(1e-9, 1e9)
starts = st.floats(1e-3, 1e6)


def axis(start: float, n: int) -> list[float]:
    return [start * 2**i for i in range(n)]


@settings(max_examples=30, deadline=None)
@given(a=scales, b=exponents, start=starts, n=st.integers(2, 12))
def test_an_exact_law_is_found_and_not_bent(a: float, b: float, start: float, n: int) -> None:
    x = axis(start, n)
    law = fit_law(x, [a * each**b for each in x])
    # logarithms up to 60 in 53 bits: 1e-9 leaves room for the sums
    assert law.b == pytest.approx(b, abs=1e-9)
    assert law(x[-1] * 7) == pytest.approx(a * (x[-1] * 7) ** b, rel=1e-6)
    assert law.bend is None
    assert law.low <= law.b <= law.high


@settings(max_examples=30, deadline=None)
@given(
    a=scales, before=exponents, change=st.floats(0.5, 2), start=starts, at=st.floats(2, 5), up=st.booleans()
)
def test_a_bend_is_found_where_it_is(
    a: float, before: float, change: float, start: float, at: float, up: bool
) -> None:
    x, after = axis(start, 8), before + (change if up else -change)
    place = start * 2**at
    y = [a * each**before * max(each / place, 1) ** (after - before) for each in x]
    law = fit_law(x, y)
    assert law.bend is not None
    # PLACES lie 2^(5/199) = 1.8 % apart, and the exponents turn with the place
    assert law.bend.x == pytest.approx(place, rel=0.03)
    assert (law.b, law.bend.after) == pytest.approx((before, after), abs=0.05)
    assert law(2 * x[-1]) == pytest.approx(y[-1] * 2**after, rel=0.1)


@settings(max_examples=30, deadline=None)
@given(
    points=st.lists(
        st.tuples(st.floats(1e-6, 1e6), st.floats(1e-6, 1e6)),
        min_size=6,
        max_size=9,
        unique_by=lambda p: p[0],
    ),
    factor=st.floats(1e-3, 1e3),
)
def test_other_units_change_the_scale_alone(points: list[tuple[float, float]], factor: float) -> None:
    x, y = (list(side) for side in zip(*points, strict=True))
    if max(x) / min(x) < 1.5:
        return
    law, scaled = fit_law(x, y), fit_law(x, [factor * each for each in y])
    assert scaled.straight == pytest.approx(law.straight, rel=1e-6, abs=1e-6)


def test_noise_bends_nothing_and_lies_within_the_interval() -> None:
    rng, x = np.random.default_rng(0), axis(64, 8)
    laws = [fit_law(x, [3 * each**1.2 * math.exp(rng.normal(0, 0.1)) for each in x]) for _ in range(200)]
    # of 200, 95 % of intervals hold the exponent: 190 ± 3 by chance, so 180 is three of those away
    assert sum(law.low <= 1.2 <= law.high for law in laws) >= 180
    # SIGNIFICANT is 1 %: 2 ± 1.4 by chance
    assert sum(law.bend is not None for law in laws) <= 7


@settings(max_examples=30, deadline=None)
@given(b=exponents, step=st.sampled_from((0.1, 0.5, 2, 10)), k=st.integers(3, 8))
def test_a_step_is_found_where_it_is(b: float, step: float, k: int) -> None:
    x = axis(64, 11)
    place = x[k - 1] * 2**0.5
    y = [each**b * (1 if each < place else step) for each in x]
    law = fit_law(x, y)
    assert law.bend is not None and law.bend.step == pytest.approx(step, rel=1e-6)
    assert (law.bend.x, law.bend.after, law.b) == pytest.approx((place, b, b), rel=1e-6, abs=1e-6)
    assert [law(each) for each in x] == pytest.approx(y, rel=1e-6)


def test_a_small_step_is_no_bend() -> None:
    x = axis(64, 8)
    assert fit_law(x, [each * (1.005 if each > 1000 else 1) for each in x]).bend is None


def test_two_points_have_no_interval() -> None:
    law = fit_law([1, 2], [8, 4])
    assert (law.b, law.low, law.high) == (pytest.approx(-1), -math.inf, math.inf)


@pytest.mark.parametrize(("x", "y"), [([1.0], [1.0]), ([1.0, 1.0], [1.0, 2.0]), ([1.0, 2.0], [0.0, 1.0])])
def test_points_without_a_law_are_refused(x: list[float], y: list[float]) -> None:
    with pytest.raises(ValueError, match="expected pairs above 0"):
        fit_law(x, y)


TILE = 300
"""px, of the machine below: larger pictures run in tiles"""
CALLS: list[tuple[str, ...]] = []


def machine(function: str, *args: Any) -> Any:
    """A formula in place of what is measured: 2 µs a pixel, 100 bytes a pixel of what runs whole, 1 MB a task."""
    name, told = function.partition(":")[2], tuple(map(str, args))
    CALLS.append((name, *told))
    if name == "models":
        rest = 6e7 + 4e7 * float(told[2])
        return {"open_s": 0.1 * float(told[2]), "rest_bytes": rest, "run_s": 0.1, "run_low_s": 0.09,
                "run_high_s": 0.12, "run_bytes": 1e6, "process_bytes": rest + 1e6}  # fmt: skip
    tasks, pixels = len(told[1].split(",")), int(told[4]) * int(told[5])
    seconds = 2e-6 * pixels / int(told[3]) ** 0.8
    run = 100.0 * min(pixels, TILE**2)
    return {"open_s": 0.1 + 0.01 * tasks, "rest_bytes": 8e7 + 1e6 * tasks, "run_s": seconds, "run_low_s": seconds,
            "run_high_s": seconds, "run_bytes": run, "process_bytes": 9e7 + run, "switch_s": 0.003}  # fmt: skip


@pytest.fixture
def bundle(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """None is made: what the scenario asks of it are names and the size that runs whole."""
    opened = SimpleNamespace(
        path=tmp_path,
        tasks=("rain",),
        manifest=SimpleNamespace(kind="shared", tile=SimpleNamespace(when_above=TILE)),
    )
    CALLS.clear()
    monkeypatch.setattr(scenario_scaling, "open_bundle", lambda path: opened)
    monkeypatch.setattr(scenario_scaling, "file_sha256", lambda path: "0" * 64)
    monkeypatch.setattr(scenario_scaling, "find_spec", lambda name: None)
    monkeypatch.setattr(
        scenario_scaling, "many_tasks", lambda path, folder, n: (path, [f"task-{i}" for i in range(n)])
    )
    monkeypatch.setattr(scenario_scaling, "cores", lambda: 4)
    monkeypatch.setattr(scenario_scaling, "empty", lambda package: Memory(50_000_000, 0, 0, 0))
    for module in (scenario_scaling, scenario_scaling_cases):
        monkeypatch.setattr(module, "in_fresh_process", machine)
    return tmp_path


def rows_of(section: Section) -> dict[tuple[Cell, Cell, Cell], dict[str, Cell]]:
    names = [column.name for column in section.columns]
    return {row[:3]: dict(zip(names, row, strict=True)) for row in section.rows}


def test_a_machine_that_is_a_formula_gives_its_laws(bundle: Path) -> None:
    found = section(bundle, Settings(bundle, seconds=1e9), lambda line: None)
    rows = rows_of(found)
    time = rows["pixels", "refit", "time of a picture"]
    assert (time["exponent"], time["bends at"], time["which is"]) == (1.0, None, "extrapolated")
    assert time["costs"] == pytest.approx(2e-3 * 7680 * 4320, rel=1e-3)
    memory = rows["pixels", "refit", "memory of a picture"]
    # the place of the bend is one of 200 between 96² and 336²
    assert memory["bends at"] == pytest.approx(TILE**2, rel=0.03)
    assert (memory["before"], memory["after"]) == (pytest.approx(1, abs=0.02), pytest.approx(0, abs=0.05))
    assert (memory["at"], memory["which is"]) == ("512×512", "measured")
    assert rows["threads", "refit", "time of a picture"]["exponent"] == pytest.approx(-0.8)
    assert rows["tasks", "whole models", "memory at rest"]["costs"] == pytest.approx(10 + 40 * 64, rel=1e-3)
    assert rows["tasks", "adapters", "memory at rest"]["costs"] == pytest.approx(30 + 64, rel=1e-3)
    assert (
        "64 tasks take 94 MB with adapters (measured) and 2570 MB as whole models (extrapolated): 27.3×"
        in found.said
    )
    (plot,) = [plot for plot in found.plots if plot.title == "memory at rest by tasks"]
    ends = {series.name: (series.x[-1], series.y[-1]) for series in plot.series}
    assert ends["whole models: extrapolated"] == pytest.approx((64, 10 + 40 * 64), rel=1e-3)
    assert ends["adapters: law"][0] == 64
    assert any("torch is missing: pip install 'colora[export]'" in note for note in found.notes)
    assert Section.read(json.loads(json.dumps(asdict(found)))) == found


def test_too_little_memory_is_extrapolated_and_said(bundle: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(scenario_scaling_cases, "available_bytes", lambda: 6e8)
    found = section(bundle, Settings(bundle, seconds=1e9), lambda line: None)
    whole = rows_of(found)["tasks", "whole models", "memory at rest"]
    assert (whole["to"], whole["which is"]) == ("8", "extrapolated")
    assert whole["costs"] == pytest.approx(10 + 40 * 64, rel=1e-3)
    assert "tasks, whole models: 16 would take about 0.7 GB of 0.5 GB" in found.notes


def test_too_little_time_ends_a_walk(bundle: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(scenario_scaling_cases, "time", SimpleNamespace(perf_counter=clock(step=1.0)))
    cases = [Case(float(2**i), str(2**i), ("models", "", "", str(2**i))) for i in range(5)]
    ended = walk("tasks", "whole models", cases, Store(), 5.0, lambda line: None)
    assert [case.x for case, _ in ended.measured] == [1, 2]
    assert ended.why == "4 would take about 1 s of 0 s left"


def test_a_case_that_fails_ends_its_walk_and_the_rest_is_kept(
    bundle: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def killed(function: str, *args: Any) -> Any:
        if args[2] == "4":
            raise BackendError("a process ended with -9")
        return machine(function, *args)

    monkeypatch.setattr(scenario_scaling_cases, "in_fresh_process", killed)
    cases = [Case(float(n), str(n), ("models", "", "", str(n))) for n in (1, 2, 4, 8)]
    ended = walk("tasks", "whole models", cases, Store(), 1e9, lambda line: None)
    assert [case.x for case, _ in ended.measured] == [1, 2]
    assert ended.why == "4 failed: a process ended with -9"
    with pytest.raises(BackendError):
        walk("tasks", "whole models", cases[2:], Store(), 1e9, lambda line: None)


def test_what_falls_by_chance_is_not_extrapolated_below_nothing() -> None:
    (opening,) = (each for each in QUANTITIES if each.name == "time to open")
    points = [(1.0, 12.0, 12.0, 12.0), (2.0, 8.0, 8.0, 8.0)]
    law = fit_law([1, 2], [12, 8])
    assert beyond(opening, law, points)(64) == 10  # their mean; the line through them would give -240


def test_a_copy_of_a_bundle_that_was_stopped_is_made_anew(tmp_path: Path) -> None:
    bundle = Path(tiny_bundle(str(tmp_path / "bundle")))
    (tmp_path / "copies/many.part").mkdir(parents=True)
    (tmp_path / "copies/many.part/graph.onnx").write_bytes(b"half")
    work, names = many_tasks(bundle, tmp_path / "copies", 4)
    assert len(names) == 4 and set(names) <= set(open_bundle(work).tasks)


def clock(step: float) -> Callable[[], float]:
    ticks = itertools.count()
    return lambda: step * next(ticks)


def test_what_is_known_is_not_measured_again(bundle: Path, tmp_path: Path) -> None:
    cases = [Case(float(i), str(i), ("models", "", "", str(i))) for i in (1, 2, 3)]
    first = walk("tasks", "whole models", cases[:2], Store.open(tmp_path, "here"), 1e9, lambda line: None)
    CALLS.clear()
    again = walk("tasks", "whole models", cases, Store.open(tmp_path, "here"), 1e9, lambda line: None)
    assert [call[3] for call in CALLS] == ["3"]
    assert again.found[:2] == first.found
    assert Store.open(tmp_path, "elsewhere").known == {}


def test_the_table_is_aligned(bundle: Path) -> None:
    found = section(bundle, Settings(bundle, seconds=1e9), lambda line: None)
    header, *rows = lines(found)[1:]
    column = header.index("which is")
    assert {line[column - 1 : column + 4] for line in rows[: len(found.rows)]} <= {" meas", " extr"}
