"""Signs of a noisy machine, from files made here; nothing is timed."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

from colora.benchmarks.noise import REFERENCE, Moment, interleave_watched, moment, noise
from colora.devices.throttle import Signs

QUIET = Moment(100.0, 2, 5.0, 50.0, 1.0, (2000.0, 1200.0), Signs({}, {}))
STEADY = [10.0, 10.1, 9.9, 10.0, 10.1, 10.0, 9.9, 10.0, 10.1]


def after(**changes: object) -> Moment:
    """Ten seconds later, in which this process worked for nine."""
    return replace(QUIET, **{"seconds": 110.0, "own_s": 14.0, "busy_s": 59.5} | changes)  # type: ignore[arg-type]


def test_a_quiet_machine_has_no_flags() -> None:
    found = noise(QUIET, after(clocks_mhz=(1300.0, 2010.0)), STEADY)  # the work moved to the other core
    assert found.flags == () and found.drift < 0.02 and found.others_cores == 0.05
    assert found.sentence() == "The machine was quiet: no sign of throttling, other work or wandering speed."


def test_each_sign_is_told() -> None:
    def flag(told: Moment, reference: list[float] = STEADY) -> str:
        (text,) = noise(QUIET, told, reference).flags
        return text

    assert flag(after(busy_s=69.0)) == "others kept 1.0 cores busy"
    assert flag(after(stolen_s=3.0)) == "the host took 10% of the processor time"
    assert flag(after(clocks_mhz=(1000.0, 1200.0))) == "a clock changed by 40%"
    assert flag(after(signs=Signs({}, {"cooling device cpu": True}))) == "cooling device cpu"
    rough = [8.0, 8.0, 10.0, 12.0, 12.0] * 3
    assert flag(after(), rough) == "the reference loop's quartiles lie 40% apart"
    slower = [9.8] * 10 + [10.0] * 10 + [10.2] * 10
    assert flag(after(), slower) == "the machine's speed wandered by 4% within the run"
    told = noise(QUIET, after(), slower).sentence()
    assert told.startswith("Noisy machine: the machine's speed") and told.endswith(
        "of times are widened by its pace."
    )


def test_throttling_during_the_run_is_told() -> None:
    before = replace(QUIET, signs=Signs({"c": 1}, {}))
    assert noise(before, after(signs=Signs({"c": 3}, {})), STEADY).flags == ("2 events in /c",)


def test_a_system_that_tells_nothing(tmp_path: Path) -> None:
    told = moment(tmp_path)
    assert told.busy_s is None and told.clocks_mhz == ()
    found = noise(told, told, [1.0])
    assert (found.others_cores, found.clock_change, found.spread, found.drift) == (None, None, 0.0, 0.0)
    assert found.flags == ()


def test_files_of_the_system_are_read(tmp_path: Path) -> None:
    (tmp_path / "proc").mkdir()
    (tmp_path / "proc/stat").write_text("cpu  100 20 30 1000 5 6 7 400 0 0\ncpu0 1 1 1 1 1 1 1 1\n")
    (tmp_path / "proc/cpuinfo").write_text("model name : x\ncpu MHz\t\t: 2000.5\ncpu MHz\t\t: 800.0\n")
    told = moment(tmp_path)
    assert told.clocks_mhz == (2000.5, 800.0)
    assert told.busy_s and told.stolen_s / told.busy_s == 400 / 163  # not idle, not waiting, not stolen
    frequency = tmp_path / "sys/devices/system/cpu/cpu0/cpufreq/scaling_cur_freq"
    frequency.parent.mkdir(parents=True)
    frequency.write_text("1500000\n")
    assert moment(tmp_path).clocks_mhz == (1500.0,)


def test_the_reference_takes_its_turn() -> None:
    times, found = interleave_watched({"a": lambda: None}, 3, warmups=0, pause_s=0)
    assert times.keys() == {"a", REFERENCE} and len(times[REFERENCE]) == 3
    assert found.spread >= 0
