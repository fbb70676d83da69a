"""The trend page: every version of every record in a repository's history, in order, as lines."""

from __future__ import annotations

import json
import subprocess
from html.parser import HTMLParser
from pathlib import Path

import pytest
from click.testing import CliRunner
from colora.benchmarks.record import FORMAT, RESULTS
from colora.benchmarks.trend import HEADLINES, command, history, sections
from colora.devices.errors import ReportError

FILE = RESULTS / "start-x.json"


def git(repository: Path, *args: str) -> None:
    identity = ["-c", "user.name=t", "-c", "user.email=t@example.org", "-c", "commit.gpgsign=false"]
    subprocess.run(["git", *identity, *args], cwd=repository, check=True, capture_output=True)


def keep(repository: Path, day: int, value: float, clean: bool = True, form: int = FORMAT) -> None:
    """Commit a record of that day."""
    where = {"date_utc": f"2026-01-{day:02}T00:00:00Z", "commit": f"{day}" * 10, "clean_tree": clean}
    demand = {"what": "later start", "value": value}
    record = {"format": form, "kind": "start", "environment": where, "demands": [demand]}
    (repository / RESULTS).mkdir(parents=True, exist_ok=True)
    (repository / FILE).write_text(json.dumps(record))
    git(repository, "add", "-A")
    git(repository, "commit", "-m", "record")


@pytest.fixture
def repository(tmp_path: Path) -> Path:
    git(tmp_path, "init", "-q")
    return tmp_path


def test_records_stand_in_the_order_in_which_they_were_measured(repository: Path) -> None:
    for day, value in ((2, 200.0), (1, 100.0), (3, 50.0)):  # the first was committed late
        keep(repository, day, value)
    keep(repository, 4, 1.0, clean=False)
    keep(repository, 5, 2.0, form=99)
    (repository / FILE).unlink()
    git(repository, "commit", "-am", "renamed device")  # its versions stay in the history
    kept, left_out = history(repository)
    assert [reason.split(" of ", 1)[0] for reason in left_out] == ["start-x.json"] * 2
    assert "not of a clean commit" in " ".join(left_out) and "has format 99" in " ".join(left_out)
    (found,) = sections(kept)
    (line,) = found.plots[0].series
    assert line.name == "later start" and line.y == (100.0, 200.0, 50.0)
    assert line.x == ("01-01 1111111", "01-02 2222222", "01-03 3333333")
    assert found.rows == (("Start to first picture", "later start", 100.0, 200.0, 50.0, 0.25, 3),)
    assert (
        found.said
        == "Most changed by the last record: Start to first picture, later start: 0.25 times what it was."
    )


def test_the_page_is_whole_and_loads_nothing(repository: Path, tmp_path: Path) -> None:
    pytest.importorskip("jinja2", reason="draws the page: pip install 'colora[report]'")
    keep(repository, 1, 5.0)
    page = tmp_path / "trend.html"
    told = CliRunner().invoke(
        command, ["-o", str(page), "--repository", str(repository)], catch_exceptions=False
    )
    assert told.output == f"{page}: 1 records of 1 measurements, 0 left out\n"
    loaded: list[str] = []

    class Links(HTMLParser):
        def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
            loaded.extend(value or "" for name, value in attrs if name in ("src", "href"))

    text = page.read_text("utf-8")
    Links().feed(text)
    assert all(link.startswith(("#", "data:")) for link in loaded) and "01-01 1111111" in text


def test_a_folder_without_history_is_refused(
    repository: Path, tmp_path_factory: pytest.TempPathFactory
) -> None:
    with pytest.raises(ReportError, match="not a git repository"):
        history(tmp_path_factory.mktemp("plain"))
    git(repository, "commit", "--allow-empty", "-m", "nothing")
    with pytest.raises(ReportError, match="git has no record under benchmarks/results; run it in a checkout"):
        history(repository)


def test_headlines_are_found_in_the_committed_records() -> None:
    """A renamed figure would silently drop out of the page."""
    from colora.benchmarks.figures import read_figures
    from colora.benchmarks.trend import Kept

    root = Path(__file__).parents[2] / RESULTS
    kept = [Kept(file.stem, read_figures(file)) for file in sorted(root.glob("*.json"))]
    shown = {section.name for section in sections(kept) if section.plots}
    assert shown == {each.recorded.kind for each in kept} & HEADLINES.keys()
