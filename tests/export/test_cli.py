"""`colora-export` and `colora export`: the plan, the table, and exit code 2 for what is refused."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from click.testing import CliRunner, Result
from colora.devices.errors import UnknownName
from colora.export import cli
from colora.runtime.cli import main as colora
from colora.runtime.session import load


def run(*arguments: object) -> Result:
    return CliRunner().invoke(cli.command, [str(a) for a in arguments], catch_exceptions=False)


@pytest.fixture
def options(nafnet: Any, tmp_path: Path) -> list[object]:
    return ["--backbone", nafnet.file, "--adapter", nafnet.write(tmp_path, "rain", 1), "-o", tmp_path / "out"]


def test_dry_run_prints_the_plan_and_writes_nothing(options: list[object], tmp_path: Path) -> None:
    before = set(tmp_path.rglob("*"))
    result = run(*options, "--dry-run", "--target", "jetson")
    assert result.exit_code == 0
    assert set(tmp_path.rglob("*")) == before
    assert "target jetson means jetson-orin-nano-8gb: Jetson Orin Nano 8 GB" in result.output
    assert "engines are built on the device" in result.output
    assert "nothing was written" in result.output
    for name in (
        "graph.data",
        "graph.onnx",
        "tasks/rain.safetensors",
        "weights.safetensors",
        "manifest.json",
    ):
        assert name in result.output


def test_export_prints_what_it_wrote_and_planned_sizes_were_right(
    options: list[object], tmp_path: Path
) -> None:
    planned = sizes(run(*options, "--dry-run").output)
    result = run(*options)
    assert result.exit_code == 0
    written = sizes(result.output)
    on_disk = {
        f.relative_to(tmp_path / "out").as_posix(): f.stat().st_size for f in (tmp_path / "out").rglob("*.*")
    }
    assert written == on_disk
    assert planned.keys() <= written.keys()
    header = 100_000  # weights.safetensors is planned without its header
    assert all(
        0 <= written[name] - planned[name] < (header if name.startswith("weights") else 1) for name in planned
    )
    assert "switchable tensors, each seen to follow an edit in place" in result.output
    assert (
        f"next: colora restore photo.jpg --task rain --bundle {tmp_path / 'out'} -o restored.png"
        in result.output
    )
    again = run(*options)
    assert "adding rain to" in again.output and sizes(again.output).keys() == {"tasks/rain.safetensors"}


def test_explain_prints_what_passes_did_and_the_bundle_restores_its_task(
    options: list[object], tmp_path: Path
) -> None:
    result = run(*options, "--passes", "onnxsim,affine,split,pool", "--explain")
    assert result.exit_code == 0
    lines = [" ".join(line.split()) for line in result.output.splitlines()]
    assert any(line.startswith("affine 10 0 a norm's weight and bias → the 1×1") for line in lines)
    assert any(re.fullmatch(r"bytes moved [\d,]+ [\d,]+ 0\.[5-9]\d", line) for line in lines)
    with load(tmp_path / "out", policy="refit") as session:  # its golden check is passed on the way
        session.restore(np.full((16, 16, 3), 0.5, np.float32), "rain")


def sizes(output: str) -> dict[str, int]:
    """File → bytes, from a printed table."""
    rows = re.findall(r"^(\S+\.(?:onnx|data|json|npz|safetensors)) +([\d,]+)$", output, re.MULTILINE)
    return {name: int(size.replace(",", "")) for name, size in rows}


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        (["--task", "rian"], "unknown task 'rian': did you mean rain"),
        (["--target", "jetsn"], "unknown target 'jetsn': did you mean jetson"),
        (["--backbone", "nafnet-smal"], "unknown trained backbone 'nafnet-smal'"),
    ],
)
def test_unknown_names_leave_with_2_and_the_nearest(
    options: list[object],
    wrong: list[str],
    message: str,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    arguments = [str(a) for a in [*options, *wrong]]
    with pytest.raises(UnknownName):
        run(*arguments)
    monkeypatch.setattr("sys.argv", ["colora-export", *arguments])
    with pytest.raises(SystemExit) as left:
        cli.main()
    assert left.value.code == 2
    assert capsys.readouterr().err.startswith(f"colora-export: {message}")
    result = CliRunner().invoke(colora, ["export", *arguments])
    assert result.exit_code == 2 and message in result.output
