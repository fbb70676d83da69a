"""The benchmark of switches: a run over a tiny bundle fills every field, and no page of W0 stays."""

from __future__ import annotations

import json
import shutil
import sys
from pathlib import Path

import pytest
from click.testing import CliRunner
from colora.benchmarks.switching import BY_COPY, BY_OPEN, COPY, HOT, HOT_MS, OPEN, REFIT, command

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="resident pages are read from /proc")


def test_a_run_fills_the_record(bundle: Path, tmp_path: Path) -> None:
    work = shutil.copytree(bundle, tmp_path / "tiny")
    arguments = ["--bundle", str(work), "--rounds", "2", "--threads", "1", "-o", str(tmp_path)]
    result = CliRunner().invoke(command, arguments, catch_exceptions=False)
    assert result.exit_code == 0, result.output
    (file,) = tmp_path.glob("switching-*.json")
    record = json.loads(file.read_text())
    found = record["backbones"]["tiny"]
    assert list(found["times"]) == [COPY, REFIT, HOT, OPEN]
    assert all(x["n"] == 2 and x["ms_p50"] > 0 for x in found["times"].values())
    assert found["ratios"].keys() == record["targets"].keys() == {BY_COPY, BY_OPEN, HOT_MS}
    assert found["source_resident_bytes"] == 0 < found["changed_bytes"] <= found["source_bytes"]
    assert record["kind"] == "switching"
    assert "copy in memory" in file.with_suffix(".md").read_text()
