"""The soak: a short run with a tiny network fills the record, and what goes wrong in it is found."""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner
from colora.benchmarks import soak
from colora.benchmarks.soak_plan import make_call, make_plan
from colora.benchmarks.soak_run import Outcome
from colora.devices.errors import MissingExtra
from colora.runtime.session import Session

SHORT = ["--count", "24", "--pictures", "2", "--size", "20"]


@pytest.fixture(autouse=True)
def short(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("colora.benchmarks.soak.FLAT", math.inf)  # two dozen calls say nothing of memory
    monkeypatch.setattr("colora.benchmarks.soak.THREADS", (1,))
    monkeypatch.setattr("colora.benchmarks.soak_run.SHIFTS", 4)
    monkeypatch.setattr("colora.benchmarks.soak_run.SHIFTS_A_SESSION", 2)
    monkeypatch.setattr("colora.benchmarks.soak_plan.SWAP", 0.4)
    monkeypatch.setattr("colora.benchmarks.soak_plan.BREAK", 0.2)


@pytest.mark.parametrize("policy", ["refit", "auto"])
def test_a_run_fills_the_record(bundle: Path, tmp_path: Path, policy: str) -> None:
    before = {file: file.read_bytes() for file in (bundle / "tasks").iterdir()}
    args = [*SHORT, "--bundle", str(bundle), "--policy", policy, "-o", str(tmp_path)]
    result = CliRunner().invoke(soak.command, args, catch_exceptions=False)
    assert result.exit_code == 0, result.output
    (file,) = tmp_path.glob(f"soak-{policy}-*.json")
    record = json.loads(file.read_text())
    assert (record["restores"], record["wrong"], record["errors"], record["sessions"]) == (24, 0, 0, 2)
    assert len(record["rss_bytes"]) == 24 and record["swaps"] > 0 and record["damaged"] > 0
    assert record["totals"]["swapped_adapters"] > 0
    assert (record["totals"]["prefetches"] > 0) == (policy == "auto")
    assert file.with_suffix(".png").is_file() and "must be 0" in file.with_suffix(".md").read_text()
    assert before == {file: file.read_bytes() for file in (bundle / "tasks").iterdir()}  # a copy was used


def test_a_wrong_pixel_and_an_error_are_found(
    bundle: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from colora.benchmarks.soak_run import Soak

    real, call = Session.restore, Soak._call

    def restore(self: Session, *args: Any) -> Any:
        result = real(self, *args)
        result[0, 0, 0] = 255 - result[0, 0, 0]
        return result

    def at(self: Soak, session: Session, threads: int, number: int) -> None:
        if number == 5:
            monkeypatch.setattr(Session, "restore", restore)
        elif number == 6:
            monkeypatch.setattr(Session, "restore", None)
        call(self, session, threads, number)
        monkeypatch.setattr(Session, "restore", real)

    monkeypatch.setattr(Soak, "_call", at)
    monkeypatch.setattr("colora.benchmarks.soak_run.MOST_CALLERS", 1)
    args = [*SHORT, "--bundle", str(bundle), "-o", str(tmp_path)]
    result = CliRunner().invoke(soak.command, args, catch_exceptions=False)
    assert result.exit_code == 1
    assert "call 5: Call(" in result.output and "a result that no reference has" in result.output
    assert (
        "call 6: Call(" in result.output and "TypeError: 'NoneType' object is not callable" in result.output
    )


def test_what_the_plot_needs_is_missed_before_the_first_call(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(soak, "find_spec", lambda package: None)
    with pytest.raises(MissingExtra, match=r"the plot of a soak needs the package 'matplotlib'"):
        CliRunner().invoke(soak.command, SHORT, catch_exceptions=False)


def test_growth_is_of_the_last_quarter_over_the_second() -> None:
    outcome = Outcome(rss_bytes=[9, 9, 100, 100, 500, 500, 101, 103])
    assert outcome.growth() == pytest.approx(0.02)


def test_calls_depend_on_seed_and_number_alone(bundle: Path) -> None:
    plan = make_plan(bundle, 3, 20, 0)
    calls = [make_call(plan, 0, n) for n in range(40)]
    assert calls == [make_call(plan, 0, n) for n in range(40)] != [make_call(plan, 1, n) for n in range(40)]
    assert {call.picture for call in calls} == {0, 1, 2}
    first, second = plan.versions["rain"]
    assert first == (bundle / "tasks" / "rain.safetensors").read_bytes() != second
