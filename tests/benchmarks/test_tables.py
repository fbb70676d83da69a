"""A record's page: what stands above it, and a table in it."""

from types import SimpleNamespace
from typing import Any

import pytest
from colora.benchmarks.tables import heading, markdown, show

WHERE: Any = SimpleNamespace(
    cpu="Some CPU",
    cores=2,
    date_utc="2026-01-02T03:04:05Z",
    commit="0123456789abcdef",
    packages={"a": "1", "b": "2.0"},
)


def test_a_page_says_where_it_was_measured() -> None:
    assert heading("soak, tiny", WHERE) == (
        "# soak, tiny: Some CPU, 2 cores, 2026-01-02T03:04:05Z, commit 0123456789ab\n\na 1, b 2.0\n"
    )


def test_numbers_stand_on_the_right() -> None:
    assert markdown(("name", "of", "ms"), [("x", "y", "1.5")], left=2) == (
        "| name | of | ms |\n| --- | --- | ---: |\n| x | y | 1.5 |\n"
    )


def test_a_table_is_not_cut_where_there_is_no_terminal(capsys: pytest.CaptureFixture[str]) -> None:
    show(("name", "ms"), [("x" * 150, "1.5"), ("y", "12.0")], title="times")
    lines = capsys.readouterr().out.splitlines()
    assert any("x" * 150 in line for line in lines) and "times" in lines[0]
    assert any(line.rstrip(" │").endswith(" 1.5") for line in lines)
