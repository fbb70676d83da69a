"""The start benchmark: what its scripts say is read, a first start finds no cache, and ratios are judged."""

from pathlib import Path

import pytest
from colora.benchmarks import start
from colora.benchmarks.start import BARE_NAME, FIRST, IMPORTS, LATER, MERGED, judge, measure, seconds_to_line
from colora.devices.errors import BackendError


def test_a_first_start_has_an_empty_cache_and_a_later_one_that_of_before(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    leave = "import os, pathlib; p = pathlib.Path(os.environ['XDG_CACHE_HOME']); n = len([*p.glob('*')]); "
    leave += "p.mkdir(exist_ok=True); (p / str(n)).touch(); print(1000 * n)"
    monkeypatch.setattr(start, "OURS", leave)
    monkeypatch.setattr(start, "BARE", "print(7000)")
    monkeypatch.setattr(start, "IMPORTS", {})
    times, peaks = measure(tmp_path, tmp_path, "rain", tmp_path, 2, tmp_path)
    assert times.keys() == peaks.keys() == {BARE_NAME, FIRST, LATER, MERGED}
    assert peaks[BARE_NAME] == [7, 7] and peaks[FIRST] == [0, 0]
    assert all(files > 0 for files in peaks[LATER])
    assert all(ms > 0 for rounds in times.values() for ms in rounds)


def test_a_script_that_fails_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(
        BackendError, match=r"a script failed in a process of its own: (?s:.*)ZeroDivisionError"
    ):
        seconds_to_line("1 / 0", cache=tmp_path)


def test_both_starts_are_judged() -> None:
    times = {name: [10.0, 10.0] for name in IMPORTS} | {BARE_NAME: [100.0, 100.0], MERGED: [300.0, 300.0]}
    times |= {FIRST: [160.0, 160.0], LATER: [140.0, 140.0]}
    demands = {d.what: d for d in judge(times, {LATER: [5.0]})}
    assert demands[f"{FIRST}, to the first picture"].holds is False
    assert demands[f"{LATER}, to the first picture"].holds is True
    assert demands[f"{MERGED}, to the first picture"].holds is None
    assert demands["import colora.runtime"].holds is False  # as long as torch's
