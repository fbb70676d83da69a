"""Records of earlier versions: read as of this one, or refused with what to do."""

from __future__ import annotations

import json
import shutil
from dataclasses import fields
from pathlib import Path

import pytest
from colora.benchmarks.compare import compare
from colora.benchmarks.record import FORMAT, RESULTS, Environment
from colora.benchmarks.report import read_report
from colora.benchmarks.schema import FORMATS, SCHEMA, SCHEMAS, migrated, read_record
from colora.devices.errors import ReportError

ROOT = Path(__file__).parents[2] / RESULTS
FIRST = ("date_utc", "commit", "clean_tree", "cpu", "cores", "memory_bytes", "machine", "os", "governor")
FIRST = (*FIRST, "load_average_1min", "python", "packages")
"""What the first committed records tell of their machine."""


def test_every_version_has_a_step_to_the_next() -> None:
    assert list(FORMATS) == list(range(1, FORMAT)) and list(SCHEMAS) == list(range(1, SCHEMA))


def test_committed_records_of_any_age_are_read_alike() -> None:
    files = sorted(ROOT.glob("*.json"))
    assert files
    for file in files:
        told = read_record(file)
        assert told["format"] == FORMAT
        assert told["environment"].keys() == {field.name for field in fields(Environment)}


def test_the_first_records_compare_with_those_of_today(tmp_path: Path) -> None:
    """A committed record as it is, and as one of 2026-11-22, 03:37 UTC stood: with less of its machine."""
    new, old = tmp_path / "new.json", tmp_path / "old.json"
    shutil.copy(min(ROOT.glob("start-*.json")), new)
    told = read_record(new)
    new.write_text(json.dumps(told))
    told["environment"] = {name: told["environment"][name] for name in FIRST}
    old.write_text(json.dumps(told | {"format": 1}))
    lines = compare(old, new)
    assert not [line for line in lines if line.startswith("machine:")] and lines[-1].endswith("1%, 0 not")


def test_a_report_from_before_scenarios_told_their_time_is_read(tmp_path: Path) -> None:
    environment = {name: "" for name in FIRST} | {"packages": {}}
    bundle = dict.fromkeys(("name", "kind", "backbone", "target", "precision"), "x")
    bundle |= {"backbone_sha256": "", "manifest_sha256": "", "tasks": {}}
    told = {"format": 1, "kind": "report", "environment": environment, "schema": 1, "summary": "", "zoo": {}}
    told |= {"bundle": bundle, "settings": {}, "seconds": 1.0, "sections": [], "pictures": []}
    (tmp_path / "report.json").write_text(json.dumps(told))
    report = read_report(tmp_path / "report.json")
    assert report.took == {} and report.environment.gpus == ()


@pytest.mark.parametrize(
    ("version", "message"),
    [
        (4, "x has format 4; this version of colora reads 2 to 3: update colora"),
        (1, "x has format 1; this version of colora reads 2 to 3: measure it again"),
        ("3", "x has format 3; this version of colora reads 2 to 3: measure it again"),
    ],
)
def test_what_no_step_leads_from_is_refused(version: object, message: str) -> None:
    steps = {2: lambda told: told | {"b": told["a"] + 1}}
    assert migrated({"format": 2, "a": 1}, "format", 3, steps, "x") == {"format": 3, "a": 1, "b": 2}
    with pytest.raises(ReportError, match=f"^{message}$"):
        migrated({"format": version, "a": 1}, "format", 3, steps, "x")
