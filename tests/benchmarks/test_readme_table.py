"""README's measured tables are what the records give, and what a record says gets into its table."""

from __future__ import annotations

import json
from dataclasses import asdict
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner
from colora.benchmarks.memory_systems import ORT, ORT_BEST, REFIT
from colora.benchmarks.readme_table import (
    BEGIN,
    END,
    TABLES,
    command,
    compiled_table,
    memory_table,
    newest,
    quality_table,
    renewed,
)
from colora.benchmarks.record import RESULTS
from colora.benchmarks.section import Column, Section
from colora.devices.errors import ReportError

ROOT = Path(__file__).parents[2]
WHERE = {
    "date_utc": "2026-01-02T03:04:05Z",
    "commit": "0123456789abcdef",
    "clean_tree": True,
    "cpu": "Some(R) Board CPU",
    "cores": 2,
    "packages": {"onnxruntime": "1.2.3"},
}


def test_readme_is_what_the_records_give() -> None:
    text = (ROOT / "README.md").read_text("utf-8")
    assert renewed(text, ROOT / RESULTS) == text, "run python -m colora.benchmarks.readme_table"


def score(column: str, psnr_db: float, told: str) -> dict[str, Any]:
    return {"set": "jpeg", "column": column, "n": 3, "psnr_db": psnr_db, "ssim": 0.5, "told": told}


def rows_of(table: str) -> list[str]:
    return [line for line in table.splitlines() if line.startswith("|")][2:]


def test_quality_shows_the_best_classical_method_and_marks_the_best_of_all() -> None:
    scores = [
        score("input", 20.0, "as given"),
        score("opencv", 21.0, "one gamma for a mean of 0.5: the best of 2"),
        score("bm3d", 25.004, "BM3D, told σ"),
        score("backbone", 22.0, "no adapter"),
        score("adapter", 24.0, "task jpeg, in ONNX Runtime"),
    ]
    record = {"environment": WHERE, "scores": scores}
    (row,) = rows_of(quality_table(record, "r/quality.json"))
    assert row == (
        "| jpeg | jpeg (quality 10 to 40) | 3 | 20.00 / 0.500 | BM3D **25.00 / 0.500** | 22.00 / 0.500 "
        "| 24.00 / 0.500 |"
    )
    scores[2] |= {"psnr_db": 20.5}
    (row,) = rows_of(quality_table(record, "r/quality.json"))
    assert "| gamma 21.00 / 0.500 | 22.00 / 0.500 | **24.00 / 0.500** |" in row
    assert "2026-01-02, commit 0123456, CPU" in " ".join(quality_table(record, "r/quality.json").split())


def memory_record(n: int, rss: dict[str, float | None]) -> dict[str, Any]:
    """What the memory scenario writes."""
    names = ("tasks kept as", "N", "files", "RSS")
    rows = tuple((system, n, 50.0 if system == REFIT else 200.0, value) for system, value in rss.items())
    section = Section("memory", "Memory", "", tuple(Column(name) for name in names), rows)
    content = {"kind": "memory-systems", "environment": WHERE, "settings": {"size": 64}}
    told: dict[str, Any] = json.loads(json.dumps(content | {"section": asdict(section)}))
    return told


def test_memory_shows_counts_at_which_all_three_were_measured() -> None:
    table = memory_table(memory_record(4, {REFIT: 100.0, ORT: 640.0, ORT_BEST: 90.0}), "r/x.json")
    # a loss, 0.90, is shown as plainly as a win
    assert rows_of(table) == ["| 4 | 50.0 MB, 100 MB | 200.0 MB, 640 MB | 90 MB | 4.00 | 6.40, 0.90 |"]
    assert "two Some Board cores, ONNX Runtime 1.2.3" in " ".join(table.split())
    assert not rows_of(memory_table(memory_record(4, {REFIT: 100.0, ORT: None, ORT_BEST: 90.0}), "x"))


def test_compiled_takes_the_last_form() -> None:
    def ratio(value: float) -> dict[str, float]:
        return {"ms_p50": 1234.5, "ratio_to_plain_p50": value}

    found = {"plain": 1.0, "merged: a": 0.9, "merged: b": 0.8, "refit: a": 0.95, "refit: b": 0.85}
    found["convolutions: ENABLE_ALL"] = 0.4
    record = {
        "environment": WHERE,
        "settings": {"rounds": 5},
        "forms": {"a": [], "b": []},
        "latency": {"64": {name: ratio(value) for name, value in found.items()}},
    }
    row = "| 64×64 | 1,234 ms | 0.80 | 0.85 | 0.40 |"
    assert rows_of(compiled_table(record, "r/x.json")) == [row]
    other = record | {"settings": {"rounds": 4, "backbone": "nafnet-sidd-w32"}}
    table = compiled_table(record, "r/x.json", (other, "r/y.json"))
    assert rows_of(table) == [row, row.replace("64×64", "64×64, nafnet-sidd-w32")]
    told = " ".join(table.split())
    assert "29 M parameters, random weights; 2026-01-02, commit 0123456, 4 rounds, [record](r/y.json)" in told


def test_the_newest_record_of_a_clean_commit_and_the_default_backbone_counts(tmp_path: Path) -> None:
    for name, date, clean in (
        ("a", "2026-01-01", True),
        ("b", "2026-01-02", True),
        ("c", "2026-01-03", False),
    ):
        where = WHERE | {"date_utc": date, "clean_tree": clean}
        (tmp_path / f"{name}.json").write_text(json.dumps({"kind": "compiled", "environment": where}))
    other = {
        "kind": "compiled",
        "environment": WHERE | {"date_utc": "2026-01-09"},
        "settings": {"backbone": "other"},
    }
    (tmp_path / "other.json").write_text(json.dumps(other))
    (tmp_path / "baseline.json").write_text(json.dumps({"machine_info": {}}))
    assert newest(TABLES["compiled"], tmp_path)[1] == "b.json"
    with pytest.raises(
        ReportError,
        match=r"kind 'memory-systems' made of a clean commit: make one by python -m .*scenario_memory$",
    ):
        newest(TABLES["memory"], tmp_path)


def test_the_command_replaces_what_is_between_the_comments_and_nothing_else(tmp_path: Path) -> None:
    readme = tmp_path / "README.md"
    parts = [f"{BEGIN.format(name)}\nold\n{END.format(name)}\n" for name in TABLES]
    readme.write_text("# before\n" + "between\n".join(parts) + "after\n")
    arguments = ["--readme", str(readme), "--results", str(ROOT / RESULTS)]
    assert CliRunner().invoke(command, arguments, catch_exceptions=False).output.endswith("renewed\n")
    text = readme.read_text()
    assert text.startswith("# before\n") and text.endswith("after\n") and text.count("between\n") == 2
    assert "old" not in text.split("\n") and text.count("\n| ---") == 3
    assert CliRunner().invoke(command, arguments).output.endswith("as the records say\n")
    with pytest.raises(
        ReportError, match=r"expected one line '<!-- table quality: .* put them around the table"
    ):
        renewed("no comments", ROOT / RESULTS)
