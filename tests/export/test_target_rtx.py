"""Engines of TensorRT for RTX: built for real where the package is (`colora[rtx]`), refused by name where it is not."""

from __future__ import annotations

import importlib.util
import json
import sys
from hashlib import sha256
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner
from colora.devices.errors import MissingExtra, UnknownName
from colora.export import cli
from colora.export.target_rtx import find_capabilities, read_engines, rtx_boards, write_engines

MISSING = importlib.util.find_spec("tensorrt_rtx") is None
needs_rtx = pytest.mark.skipif(MISSING, reason="tensorrt_rtx is not installed: pip install 'colora[rtx]'")


def options(nafnet: Any, folder: Path, *more: str) -> list[str]:
    adapter = nafnet.write(folder, "rain", 1)
    return [
        *("--backbone", str(nafnet.file), "--adapter", str(adapter), "-o", str(folder / "out")),
        *("--target", "rtx", *more),
    ]


def test_boards_are_those_of_the_table() -> None:
    assert rtx_boards() == {"7.5": "rtx-20", "8.6": "rtx-30", "8.9": "rtx-40", "12.0": "rtx-50"}


def test_missing_package_names_the_extra_and_nothing_is_written(
    nafnet: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "tensorrt_rtx", None)
    with pytest.raises(
        MissingExtra, match=r"'tensorrt_rtx', which is not installed: pip install 'colora\[rtx\]'"
    ):
        CliRunner().invoke(cli.command, options(nafnet, tmp_path), catch_exceptions=False)
    assert not (tmp_path / "out").exists()


def test_capability_is_for_rtx_alone() -> None:
    result = CliRunner().invoke(cli.command, ["--task", "rain", "--capability", "8.6"])
    assert result.exit_code == 2
    assert "--capability is for --target rtx; got --target cpu" in result.output


@needs_rtx
def test_unknown_capability_lists_what_the_builder_knows() -> None:
    with pytest.raises(UnknownName, match=r"unknown compute capability '8.7': .*7\.5, 8\.0, 8\.6, 8\.9"):
        find_capabilities(["8.7"])


@needs_rtx
@pytest.mark.parametrize("precision", ["fp32", "fp16"])
def test_export_writes_engines_with_a_record_and_builds_only_what_is_new(
    nafnet: Any, tmp_path: Path, precision: str
) -> None:
    arguments = options(nafnet, tmp_path, "--capability", "8.6", "--precision", precision)
    photographs = tmp_path / "photographs"
    if precision == "fp16":  # random adapters name no known degradation
        photographs.mkdir()
        arguments += ["--calibrate", str(_pair(photographs))]
    result = CliRunner().invoke(cli.command, arguments, catch_exceptions=False)
    assert result.exit_code == 0, result.output
    assert "rtx-30 (8.6)" in result.output and "without a GPU, not run" in result.output
    folder = tmp_path / "out" / "engines" / "rtx-30"
    record = json.loads((folder / "record.json").read_text())
    (engine,) = record["engines"]
    plan = (folder / "rain.engine").read_bytes()
    assert engine["sha256"] == sha256(plan).hexdigest() and engine["bytes"] == len(plan)
    assert (record["compute_capability"], record["precision"]) == ("8.6", precision)
    weights = sum(p.numel() for p in nafnet.module.parameters()) * (4 if precision == "fp32" else 2)
    assert (
        weights <= engine["weight_bytes"] <= 1.5 * weights
    )  # aligned tensor by tensor, and the tensors are tiny
    assert engine["activation_bytes"] > 0

    seen: list[str] = []
    out = tmp_path / "out"
    assert write_engines(out, ["8.6"], seen.append)[0] == read_engines(out, "rtx-30") and not seen
    (folder / "rain.engine").write_bytes(plan[:-1])
    assert read_engines(out, "rtx-30") is None
    write_engines(out, ["8.6"], seen.append)
    assert seen == ["engine of rain for rtx-30"]
    assert (folder / "rain.engine").read_bytes() == plan  # the builder has no chance in it


def _pair(folder: Path) -> Path:
    import numpy as np
    from PIL import Image

    rng = np.random.default_rng(0)
    for name in ("input", "target"):
        (folder / name).mkdir()
        Image.fromarray(rng.integers(0, 256, (64, 64, 3), np.uint8)).save(folder / name / "0.png")
    return folder
