"""report.json: what is written comes back, and what is not a report of this version is refused by name."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from colora.benchmarks.record import environment
from colora.benchmarks.report import BundleFacts, Picture, Report, read_report, write_report
from colora.benchmarks.schema import SCHEMA
from colora.benchmarks.section import Column, Plot, Section, Series
from colora.devices.errors import ReportError


def section(name: str, said: str = "", rows: tuple[Any, ...] = ()) -> Section:
    return Section(name, name.title(), said, (Column("task"), Column("size", "MB")), rows)


@pytest.fixture
def report() -> Report:
    plot = Plot("Memory", "tasks", "MB", (Series("shared", (1, "2"), (3.5, 4.0), (3.0, 3.5), (4.0, 4.5)),))
    full = Section(
        "memory", "Memory", "2 × less", (Column("task"),), (("rain",), (None,)), (plot,), ("noisy",)
    )
    return Report(
        environment(("numpy",)),
        BundleFacts("bundle", "shared", "net", "cpu", "fp32", "0" * 64, "1" * 64, {"rain": "2" * 64}),
        {"rain.safetensors": "3" * 64},
        {"size": 256},
        12.5,
        {"ops": 3.0},
        (section("ops", "slow", (("rain", 1),)), section("switch", "no rows"), full),
        (Picture("rain", "a photo", 8, 9, 20.0, 30.0, "YQ==", "Yg=="),),
    )


def test_what_is_written_comes_back(report: Report, tmp_path: Path) -> None:
    write_report(tmp_path / "report.json", report)
    assert read_report(tmp_path / "report.json") == report


def test_the_summary_begins_with_memory_and_leaves_out_what_was_not_measured(
    report: Report, tmp_path: Path
) -> None:
    assert [s.name for s in report.summary] == ["memory", "ops"]
    write_report(tmp_path / "report.json", report)
    assert json.loads((tmp_path / "report.json").read_text())["summary"] == "2 × less slow"


def remove_plots(told: dict[str, Any]) -> None:
    del told["sections"][0]["plots"]


@pytest.mark.parametrize(
    ("spoil", "message"),
    [
        (lambda told: told.update(kind="bench"), "is a record of the kind 'bench'; expected the report.json"),
        (
            lambda told: told.update(schema=SCHEMA + 1),
            f"has schema {SCHEMA + 1}; .* reads 1 to {SCHEMA}: update colora",
        ),
        (lambda told: told.update(schema=0), "has schema 0; .*: measure it again"),
        (lambda told: told.pop("schema"), "has schema None; .*: measure it again"),
        (lambda told: told["bundle"].update(colour="red"), r"is damaged \(TypeError: .*'colour'"),
        (remove_plots, r"is damaged \(KeyError: 'plots'\): run `colora bench` again"),
    ],
)
def test_another_kind_or_version_is_refused(
    spoil: Callable[[dict[str, Any]], object], message: str, report: Report, tmp_path: Path
) -> None:
    path = tmp_path / "report.json"
    write_report(path, report)
    told = json.loads(path.read_text())
    spoil(told)
    path.write_text(json.dumps(told))
    with pytest.raises(ReportError, match=message):
        read_report(path)


@pytest.mark.parametrize("text", ["", "[]", "{", "nonsense"])
def test_what_is_no_report_at_all_is_refused(text: str, tmp_path: Path) -> None:
    (tmp_path / "report.json").write_text(text)
    with pytest.raises(ReportError, match="no record"):
        read_report(tmp_path / "report.json")
