"""The figures of records by name, and two records beside each other."""

from __future__ import annotations

import json
from dataclasses import asdict
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner
from colora.benchmarks.compare import compare
from colora.benchmarks.figures import Found, figures_of, read_figures
from colora.benchmarks.record import FORMAT, RESULTS
from colora.benchmarks.report_cli import command
from colora.benchmarks.section import Column, Section
from colora.devices.errors import ReportError

WHERE = {
    "date_utc": "2026-01-02T03:04:05Z",
    "commit": "0123456789",
    "clean_tree": True,
    "cpu": "x",
    "cores": 2,
}


def write(path: Path, kind: str = "latency", where: dict[str, Any] | None = None, **content: Any) -> Path:
    path.write_text(
        json.dumps({"format": FORMAT, "kind": kind, "environment": WHERE | (where or {})} | content)
    )
    return path


def section(p50: float, ratio: float | None = 1.1) -> dict[str, Any]:
    columns = [
        *(Column("by"), Column("size", "px"), Column("p50", "ms"), Column("p50 low", "ms")),
        *(Column("p50 high", "ms"), Column("ratio", "×"), Column("rounds")),
    ]
    rows = (("ort", 64, p50, p50 - 1, p50 + 1, ratio, 10), ("trt", 64, 7.0, 6.5, 7.5, None, 3))
    return asdict(Section("speed", "Speed", "", tuple(columns), rows))


def test_figures_of_a_table_are_named_by_its_texts_and_counts() -> None:
    record = {"format": FORMAT, "kind": "latency", "environment": WHERE, "section": section(5.0)}
    assert figures_of(json.loads(json.dumps(record)), "x").figures == {
        "speed / ort / 64 / p50": Found(5.0, "ms", 4.0, 6.0),
        "speed / ort / 64 / ratio": Found(1.1, "×"),
        "speed / trt / 64 / p50": Found(7.0, "ms", 6.5, 7.5),
    }


def test_figures_of_another_record_are_named_by_where_they_stand() -> None:
    record = {
        "format": FORMAT,
        "kind": "memory",
        "environment": WHERE | {"load": 3.0},
        "settings": {"rounds": 5},
        "memory": [
            {"system": "a", "tasks": 2, "rss_bytes": 5, "told": "long"},
            {"system": "a", "tasks": 2, "rss_bytes": 6},
        ],
        "latency": {"merged": {"n": 10, "ms_p50": 1.5, "ok": True, "none": None, "raw": [1.0, 2.0]}},
    }
    assert {name: found.value for name, found in figures_of(record, "x").figures.items()} == {
        "memory / a / 2 / rss_bytes": 5.0,
        "memory / a / 2 / rss_bytes #2": 6.0,
        "latency / merged / ms_p50": 1.5,
    }


def test_two_records_beside_each_other(tmp_path: Path) -> None:
    a = write(tmp_path / "a", section=section(5.0), settings={"rounds": 10})
    b = write(
        tmp_path / "b",
        where={"cores": 4, "clean_tree": False},
        section=section(6.5, ratio=None),
        settings={"rounds": 5},
    )
    assert compare(a, b) == [
        "A: 2026-01-02T03:04 commit 0123456",
        "B: 2026-01-02T03:04 commit 0123456, not clean",
        "machine: cores: 2 and 4",
        "settings: rounds: 10 and 5",
        "figure                      A                       B                       B / A",
        "speed / ort / 64 / p50, ms  5.000 (4.000 to 6.000)  6.500 (5.500 to 7.500)  1.300  outside A's interval",
        "1 figures within 1%, 1 not",
        "only in A: 1, speed / ort / 64 / ratio",
    ]
    b = write(tmp_path / "b", section=section(5.9))
    assert "as an equal run" in compare(a, b)[-2]
    assert compare(a, a)[2:] == ["3 figures within 1%, 0 not"]


def test_colora_bench_compares(tmp_path: Path) -> None:
    a = write(tmp_path / "a", section=section(5.0))
    told = CliRunner().invoke(command, ["--compare", str(a), str(a)], catch_exceptions=False)
    assert told.exit_code == 0 and told.output.endswith("3 figures within 1%, 0 not\n")


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("no", r"no record .*expected JSON that a benchmark"),
        ("[]", "no record; expected JSON"),
        (
            '{"kind": "memory", "environment": {}, "format": 99}',
            r"has format 99; this version of colora reads 1 to 2: update colora",
        ),
        (
            '{"kind": "x", "environment": {}, "format": 2, "section": {"name": "x"}}',
            r"is damaged \(KeyError: 'plots'\): measure it again",
        ),
        (
            '{"kind": "report", "environment": {}, "format": 2, "schema": 0}',
            r"has schema 0; this version of colora reads",
        ),
    ],
)
def test_what_is_no_record_of_this_version_is_refused(tmp_path: Path, text: str, message: str) -> None:
    (tmp_path / "x").write_text(text)
    with pytest.raises(ReportError, match=message):
        read_figures(tmp_path / "x")


def test_two_kinds_are_not_compared(tmp_path: Path) -> None:
    a, b = write(tmp_path / "a", "memory", rss=1), write(tmp_path / "b", "quality", rss=1)
    with pytest.raises(
        ReportError, match=r"of the kind 'memory' and .* of 'quality': compare two of one kind"
    ):
        compare(a, b)


def test_every_committed_record_has_figures() -> None:
    files = sorted((Path(__file__).parents[2] / RESULTS).glob("*.json"))
    assert files and all(read_figures(file).figures for file in files)
