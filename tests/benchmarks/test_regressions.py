"""A regression table from two files that pytest-benchmark saved."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from click.testing import CliRunner
from colora.benchmarks.regressions import Bench, command, read_saved, verdict
from colora.devices.errors import ReportError

BASELINES = Path(__file__).parents[2] / "benchmarks/results/baseline"


def saved(path: Path, commit: str, cores: int = 2, **medians: float) -> Path:
    """A run whose middle half is within 2 % of its median, in seconds."""
    benches = [
        {"fullname": name, "stats": {"q1": 0.98 * s, "median": s, "q3": 1.02 * s, "rounds": 5}}
        for name, s in medians.items()
    ]
    told = {
        "machine_info": {"cpu": "x", "cores": cores},
        "commit_info": {"id": commit, "dirty": cores > 2},
        "benchmarks": benches,
    }
    path.write_text(json.dumps(told))
    return path


def test_the_table_has_the_worst_first_and_what_is_new_or_gone(tmp_path: Path) -> None:
    a = saved(tmp_path / "a", "aaaaaaaaaa", same=0.001, slow=0.01, fast=0.03, old=1.0)
    b = saved(tmp_path / "b", "bbbbbbbbbb", same=0.00105, slow=0.02, fast=0.01, young=1.0)
    result = CliRunner().invoke(command, [str(a), str(b)], catch_exceptions=False)
    assert result.exit_code == 0 and result.stderr == ""
    lines = result.stdout.splitlines()
    assert lines[0].split() == ["benchmark", "aaaaaaa,", "ms", "bbbbbbb,", "ms", "ratio", "rounds"]
    assert [line.split()[0] for line in lines[1:6]] == ["slow", "same", "fast", "old", "young"]
    assert lines[1].split()[-3:] == ["2.00", "5/5", "slower"] and lines[3].endswith("0.33   5/5     faster")
    assert lines[2].endswith("5/5") and lines[4].endswith("gone") and lines[5].endswith("new")
    assert lines[6] == "1 slower by more than 10%, quartiles apart: slow"
    assert len({line.index("5/5") for line in lines[1:4]}) == 1  # aligned


def test_the_exit_code_is_1_only_when_asked(tmp_path: Path) -> None:
    a, b = saved(tmp_path / "a", "a", one=1.0), saved(tmp_path / "b", "b", cores=4, one=2.0)
    assert CliRunner().invoke(command, [str(a), str(b), "--fail"]).exit_code == 1
    assert CliRunner().invoke(command, [str(b), str(a), "--fail"]).exit_code == 0
    told = CliRunner().invoke(command, [str(a), str(b)])
    assert told.exit_code == 0 and "not the same machine: cores: 2 and 4" in told.stderr
    assert "b+, ms" in told.stdout  # not a clean commit


def test_quartiles_that_touch_are_no_regression() -> None:
    wide, moved = Bench("x", 0.5, 1.0, 1.6, 5), Bench("x", 1.1, 1.5, 1.9, 5)
    assert verdict(wide, moved, 0.1) == "" and verdict(moved, wide, 0.1) == ""
    assert verdict(Bench("x", 0.9, 1.0, 1.05, 5), moved, 0.1) == "slower"
    assert verdict(Bench("x", 0.9, 1.0, 1.05, 5), moved, 0.6) == ""


def test_another_file_is_refused(tmp_path: Path) -> None:
    for text in ("no json", "[]", '{"benchmarks": []}'):
        (tmp_path / "x").write_text(text)
        with pytest.raises(
            ReportError, match=r"expected a run saved by pytest-benchmark .* --benchmark-json=FILE"
        ):
            read_saved(tmp_path / "x")


@pytest.mark.parametrize("file", sorted(BASELINES.glob("*/*.json")), ids=lambda file: file.stem)
def test_a_committed_baseline_is_small_and_names_no_host(file: Path) -> None:
    found = read_saved(file)
    assert "project" not in json.loads(file.read_text())["commit_info"]  # the name of a folder
    assert found.benches and "node" not in found.machine and found.machine["cores"] > 0
    assert file.stat().st_size < 60_000  # without the times of every round
