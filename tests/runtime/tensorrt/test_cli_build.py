"""`colora build`."""

from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner
from colora.devices.errors import ParityError, UnknownName
from colora.runtime.cli import main
from colora.runtime.cli_build import build_engines


def test_one_engine_is_built_and_turned_to_every_task(ort_bundle: Path, trt: Any) -> None:
    result = CliRunner().invoke(main, ["build", str(ort_bundle)])
    assert result.exit_code == 0, result.output
    assert result.output.splitlines()[-3:] == [
        "refit engine: TensorRT 10.3.0 on Orin (SM 8.7); the backbone is proven",
        "refit engine: task noise is proven",
        "refit engine: task rain is proven",
    ]
    assert len(trt.builds) == 1
    CliRunner().invoke(main, ["build", str(ort_bundle)])
    assert len(trt.builds) == 1


def test_merged_engines_for_the_tasks_asked(ort_bundle: Path, trt: Any) -> None:
    lines = list(build_engines(ort_bundle, ["rain"], "merged"))
    assert [line.rpartition("; ")[2] for line in lines] == ["the backbone is proven", "rain is proven"]
    assert len(trt.builds) == 2


def test_where_refit_does_not_work_tasks_are_merged(ort_bundle: Path, trt: Any) -> None:
    trt.faults.bias = 0.01
    lines = list(build_engines(ort_bundle))
    assert "refit does not work here: it is off its golden output by 0.01" in lines[0]
    assert len(lines) == 4 and len(trt.builds) == 4


def test_an_engine_that_computes_something_else_is_told(ort_bundle: Path, trt: Any) -> None:
    with pytest.raises(ParityError, match=r"the backbone differs from its golden output"):
        list(build_engines(ort_bundle, golden_tolerance=1e-12))


def test_an_unknown_task(ort_bundle: Path, trt: Any) -> None:
    with pytest.raises(UnknownName, match="unknown task 'rian': did you mean rain"):
        list(build_engines(ort_bundle, ["rian"]))


def test_without_tensorrt(null_bundle: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(__import__("sys").modules, "tensorrt", None)
    result = CliRunner().invoke(main, ["build", str(null_bundle)])
    assert result.exit_code == 2
    assert "backend tensorrt needs TensorRT 10.3 or later" in result.output
