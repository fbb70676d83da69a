"""A section by itself: as lines, and as a page."""

from types import SimpleNamespace
from typing import Any

from colora.benchmarks.section import Column, Section
from colora.benchmarks.section_record import lines, page

WHERE: Any = SimpleNamespace(
    cpu="CPU", cores=2, date_utc="2026-01-02", commit="0123456789abcdef", packages={"a": "1"}
)
COLUMNS = (Column("what"), Column("time", "ms"))
FOUND = Section(
    "x",
    "Times",
    "One is slow.",
    COLUMNS,
    (("fast", 0.12345), ("slow", 1234.5), ("none", None)),
    (),
    ("a note",),
)


def test_numbers_stand_on_the_right() -> None:
    assert lines(FOUND) == [
        "One is slow.", "what  time, ms", "fast    0.1235", "slow     1,234", "none         –", "a note"
    ]  # fmt: skip


def test_a_page_has_all_of_it() -> None:
    text = page(FOUND, WHERE)
    assert text.startswith(
        "# Times: CPU, 2 cores, 2026-01-02, commit 0123456789ab\n\na 1\n\nOne is slow.\n\n| what |"
    )
    assert "| slow | 1,234 |\n" in text and text.endswith("\n\n- a note\n")
