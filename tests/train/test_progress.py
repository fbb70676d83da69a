"""What a training reports: to TensorBoard every step, and a missing package by name."""

import sys
from pathlib import Path

import pytest
from colora.devices.errors import MissingExtra
from colora.train.fit import Progress
from colora.train.progress import counting, reporting


def test_tensorboard_gets_every_step(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    events = pytest.importorskip("tensorboard.backend.event_processing.event_accumulator")
    with reporting("tuning", tmp_path / "run") as report:
        for step in (1, 2, 3):
            report(Progress(step, 3, -20.0 - step, 20.0 + step, 9.0, 0.0, 25.0 if step == 3 else None))
    assert capsys.readouterr().out.splitlines()[0] == "tuning"  # no terminal: the title, and lines
    log = events.EventAccumulator(str(tmp_path / "run")).Reload()
    told = {name: [(e.step, e.value) for e in log.Scalars(name)] for name in log.Tags()["scalars"]}
    assert told == {
        "loss": [(1, -21.0), (2, -22.0), (3, -23.0)],
        "psnr_db/batch": [(1, 21.0), (2, 22.0), (3, 23.0)],
        "psnr_db/held_out": [(3, 25.0)],
        "images_per_s": [(1, 9.0), (2, 9.0), (3, 9.0)],
    }


def test_missing_tensorboard_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "torch.utils.tensorboard", None)
    with (
        pytest.raises(MissingExtra, match=r"--tensorboard needs .* pip install 'colora\[tensorboard\]'"),
        reporting("tuning", tmp_path),
    ):
        pytest.fail("went on")


def test_a_count_is_told_at_every_tenth_or_by_a_bar(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    with counting("attribution") as report:
        for done in range(1, 26):
            report(done, 25)
    tenths = [
        f"{done:6d}/25" for done in (3, 5, 8, 10, 13, 15, 18, 20, 23, 25)
    ]  # the first step at or above each
    assert capsys.readouterr().out.splitlines() == ["attribution", *tenths]

    monkeypatch.setenv("FORCE_COLOR", "1")  # rich then takes the output for a terminal
    monkeypatch.setenv("TERM", "xterm")
    with counting("attribution") as report:
        for done in (1, 25):
            report(done, 25)
    shown = capsys.readouterr().out
    assert "attribution" in shown and "100%" in shown and "25/25" not in shown


def test_other_processes_are_silent(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr("colora.train.progress.rank_and_world", lambda: (1, 2))
    with reporting("tuning", tmp_path / "run") as report:
        report(Progress(50, 50, 1.0, 1.0, 1.0, 0.0, 1.0))
    with counting("attribution") as count:
        count(1, 1)
    assert capsys.readouterr().out == "" and not (tmp_path / "run").exists()
