"""`colora bench` as a whole on a tiny bundle, and what its own scenarios compute."""

from __future__ import annotations

import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest
from click.testing import CliRunner
from colora.benchmarks import scenario_ops
from colora.benchmarks.report import read_report
from colora.benchmarks.report_cli import command
from colora.benchmarks.report_pairs import Case, Pair, cases
from colora.benchmarks.report_run import SCENARIOS, Scenario, measure, run_scenario
from colora.benchmarks.scenario_device import told as device_told
from colora.benchmarks.scenario_environment import bundle_facts
from colora.benchmarks.scenario_ops import Kind, Roof, read_events
from colora.benchmarks.scenario_ops import told as ops_told
from colora.benchmarks.scenario_quality import Score, Variant, cut, front
from colora.benchmarks.section import Section
from colora.benchmarks.settings import Settings
from colora.devices.errors import BackendError, ImageError
from colora.runtime.adapter import ParamDelta, read_adapter
from colora.runtime.bundle import open_bundle
from colora.runtime.image import write_image
from colora.runtime.telemetry import Spread, Telemetry


@pytest.fixture
def settings(tmp_path: Path) -> Settings:
    return Settings(tmp_path, size=48, rounds=2, seconds=5, pictures=1)


def nothing(told: str) -> None:
    pass


def test_a_report_of_a_bundle(bundle: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(scenario_ops, "in_fresh_process", lambda *_, **__: (1e11, 1e10))  # seconds, for real
    only = [f"--only={name}" for name in ("quality", "ops", "environment")]
    asked = [str(bundle), "-o", str(tmp_path / "report"), "--size=48", "--rounds=2", *only]
    result = CliRunner().invoke(command, asked)
    assert result.exit_code == 0, result.output
    report = read_report(tmp_path / "report" / "report.json")
    quality, ops, where = report.sections
    assert [p.task for p in report.pictures] == ["noise", "rain"] and "gain" in quality.said
    assert {row[0] for row in quality.rows} == {"noise", "rain"}
    assert {row[3] for row in quality.rows} >= {"as in the bundle", "backbone alone", "1/8 of the rank"}
    assert any(str(row[0]).startswith("Conv") for row in ops.rows) and len(ops.plots) == 2
    assert ("bundle", "kind", "shared") in where.rows
    page = (tmp_path / "report" / "report.html").read_text()
    assert page.count("data:image/jpeg;base64,") == 4

    again = CliRunner().invoke(
        command, ["--from", str(tmp_path / "report" / "report.json"), "-o", str(tmp_path / "again")]
    )
    assert again.exit_code == 0 and (tmp_path / "again" / "report.html").read_text() == page


@pytest.mark.parametrize(
    ("asked", "message"),
    [
        (["--only", "qualty"], "unknown scenario 'qualty': did you mean quality"),
        (["--pairs", "rain"], "got 'rain', expected TASK=FOLDER"),
        (["--sizes", "big"], "got 'big', expected pixels such as 128,256,512"),
    ],
)
def test_what_was_mistyped_is_told(asked: list[str], message: str) -> None:
    result = CliRunner().invoke(command, asked)
    assert result.exit_code != 0 and message in result.output + str(result.exception)


def scenario(monkeypatch: pytest.MonkeyPatch, function: Callable[..., Section]) -> None:
    module = ModuleType("colora.benchmarks.scenario_double")
    module.section = function  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, module.__name__, module)
    monkeypatch.setitem(SCENARIOS, "double", Scenario(module.__name__, "A double", "bench", 0.9))


def test_a_scenario_that_can_not_run_is_a_note(monkeypatch: pytest.MonkeyPatch, settings: Settings) -> None:
    def without(*_: object) -> Section:
        raise ModuleNotFoundError("No module named 'ncnn'", name="ncnn")

    def refused(*_: object) -> Section:
        raise BackendError("this CPU can't")

    for function, note in (
        (without, "Not measured: the package 'ncnn' is not installed: pip install 'colora[bench]'"),
        (refused, "Not measured: this CPU can't"),
    ):
        scenario(monkeypatch, function)
        found, broke = run_scenario("double", Path("bundle"), settings, nothing)
        assert found.title == "A double" and found.notes == (note,) and not broke


def test_a_scenario_that_breaks_costs_itself_alone(
    monkeypatch: pytest.MonkeyPatch, settings: Settings, bundle: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    def broken(*_: object) -> Section:
        raise ZeroDivisionError("of nothing")

    scenario(monkeypatch, broken)
    report, failed = measure(bundle, settings, ["double", "environment"], lambda told, done: None)
    assert failed == ["double"] and "ZeroDivisionError" in capsys.readouterr().err
    assert report.sections[0].notes == ("Failed, ZeroDivisionError: of nothing",)
    assert report.sections[1].rows


def test_a_run_that_is_stopped_is_still_a_report(
    monkeypatch: pytest.MonkeyPatch, settings: Settings, bundle: Path
) -> None:
    def stopped(*_: object) -> Section:
        raise KeyboardInterrupt

    scenario(monkeypatch, stopped)
    report, failed = measure(bundle, settings, ["environment", "double", "ops"], nothing2)
    assert report.sections[0].rows and not failed
    assert [s.notes for s in report.sections[1:]] == [("Not measured: stopped by Ctrl-C.",)] * 2


def test_each_scenario_has_its_share_of_the_time_left(
    monkeypatch: pytest.MonkeyPatch, settings: Settings, bundle: Path
) -> None:
    shares = []

    def quick(_: Path, own: Settings, report: Callable[[str], None]) -> Section:
        shares.append(own.seconds)
        return Section("double", "A double", "")

    scenario(monkeypatch, quick)
    monkeypatch.setitem(
        SCENARIOS, "environment", replace(SCENARIOS["environment"], share=0.1, fixed=settings.seconds)
    )
    settings = replace(settings, seconds=90.0)
    measure(bundle, settings, ["double"], lambda told, done: None)
    again = replace(settings, scratch=settings.scratch / "double")
    measure(bundle, again, ["double", "environment"], nothing2)
    # 5 of them are set aside; abs: seconds that hashing took, on a busy machine
    assert shares == pytest.approx([90, 0.9 * 85], abs=5)
    monkeypatch.setitem(SCENARIOS, "environment", replace(SCENARIOS["environment"], fixed=1000))
    again = replace(again, scratch=again.scratch / "double")
    measure(bundle, again, ["double", "environment"], nothing2)
    assert shares[-1] == pytest.approx(0.9 * 45, abs=5)  # no more than half


def test_the_default_report_gives_each_scenario_the_seconds_that_its_share_says() -> None:
    """And less than five minutes for all."""
    (minutes,) = (option.default for option in command.params if option.name == "minutes")
    whole = sum(one.share + one.fixed for one in SCENARIOS.values())
    assert whole == pytest.approx(60 * minutes, rel=0.02) and whole < 290


def nothing2(told: str, done: int) -> None:
    pass


def test_facts_name_every_file_of_a_bundle(bundle: Path) -> None:
    facts = bundle_facts(open_bundle(bundle))
    assert facts.tasks.keys() == {"rain", "noise"}
    assert all(len(sha256) == 64 for sha256 in (facts.manifest_sha256, *facts.tasks.values()))


def test_a_cut_adapter_is_the_best_of_its_rank(bundle: Path) -> None:
    rng = np.random.default_rng(0)
    a, b = rng.standard_normal((4, 18), np.float32), rng.standard_normal((6, 4), np.float32)
    param = ParamDelta("low-rank", (6, 2, 3, 3), {"lora_A": a, "lora_B": b}, scale=0.5, rank=4)
    bias = ParamDelta("dense", (6,), {"delta": b[:, 0].copy()})
    rain = read_adapter(bundle / "tasks" / "rain.safetensors")
    adapter = replace(rain, params={"w": param, "bias": bias})
    for divisor, rank in ((2, 2), (4, 1), (8, 1)):
        lesser = cut(adapter, divisor).params["w"]
        values = np.linalg.svd(0.5 * b @ a, compute_uv=False)
        error = np.linalg.norm(lesser.delta(np.zeros((6, 2, 3, 3), np.float32)).reshape(6, 18) - 0.5 * b @ a)
        assert lesser.rank == rank
        # 1e-2: numbers of 16 bits have three digits
        assert error == pytest.approx(np.linalg.norm(values[rank:]), rel=1e-2)
    assert cut(adapter, 8).params["bias"].kind == "dense"


def test_the_front_holds_what_nothing_beats() -> None:
    picture = np.zeros((12, 12, 3), np.uint8)
    case = Case("rain", "set", (Pair("a", picture, picture),))
    scores = [
        Score(case, Variant(name, "rain", size), db, 0.9, 20.0)
        for name, size, db in (("none", 0, 20.0), ("small", 10, 25.0), ("worse", 20, 24.0), ("big", 30, 26.0))
    ]
    assert front(scores) == {"none", "small", "big"}


def test_operators_are_counted_from_the_shapes_that_ran() -> None:
    def event(
        name: str, operator: str, ms: float, inputs: list[list[int]], output: list[int]
    ) -> dict[str, object]:
        sizes = {"activation_size": "100", "parameter_size": "20", "output_size": "30"}
        shapes = {
            "input_type_shape": [{"float": s} for s in inputs],
            "output_type_shape": [{"float": output}],
        }
        args = {"op_name": operator, "node_index": "0", **sizes, **shapes}
        return {"cat": "Node", "name": f"{name}_kernel_time", "dur": ms * 1e3, "args": args}

    grown = [[1, 3, 8, 8], [16, 3, 3, 3]], [1, 16, 8, 8]
    events = [event("a", "Conv", ms, *grown) for ms in (90.0, 80.0, 1.0, 2.0, 3.0)]
    events += [event("b", "Conv", 1.0, [[1, 16, 8, 8], [16, 1, 3, 3]], [1, 16, 8, 8])] * 3
    events += [event("c", "Transpose", 1.0, [[1, 16, 8, 8]], [1, 8, 8, 16])] * 3
    first, depthwise, moved = read_events([{"cat": "Session", "name": "run"}, *events])
    assert (first.kind, first.ms, first.flops) == ("Conv 3×3", 2.0, 2 * 16 * 64 * 27)
    assert (depthwise.kind, depthwise.flops) == ("Conv 3×3, depthwise", 2 * 16 * 64 * 9)
    assert (moved.flops, moved.moved_bytes) == (0, 150)


def test_rates_of_this_machine_are_taken(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(scenario_ops, "SIDE", 8)
    monkeypatch.setattr(scenario_ops, "COPIED_BYTES", 1024)
    assert min(scenario_ops.rates("2")) > 0


def test_the_roofline_says_what_limits_each_operator() -> None:
    roof = Roof(100e9, 10e9)
    assert (roof.ridge, roof.at(1), roof.at(50)) == (10, 10e9, 100e9)
    heavy, light = Kind("Conv", 1, 10.0, 10**9 // 2, 10**7), Kind("Mul", 2, 5.0, 10**6, 10**7)
    found = ops_told([heavy, light], roof, 256, 1)
    limits = [(row[9], row[10]) for row in found.rows]
    assert limits[0] == ("arithmetic", pytest.approx(50)) and limits[1] == ("memory", pytest.approx(20))
    assert "Conv takes 67 % of the 15 ms" in found.said and "33 % of the time" in found.said


def test_pairs_come_from_a_folder_and_are_cut_to_the_middle(tmp_path: Path, settings: Settings) -> None:
    ramp = np.arange(60 * 80 * 3, dtype=np.uint32).reshape(60, 80, 3).astype(np.uint8)
    for name in ("input", "target"):
        (tmp_path / "set" / name).mkdir(parents=True)
        for number in (1, 2):
            write_image(tmp_path / "set" / name / f"{number}.png", ramp)
    given = replace(settings, pairs=(("rain", tmp_path / "set"),), pictures=1)
    (case,) = cases(["rain", "no-such-task"], given)
    assert (case.task, case.told, len(case.pairs)) == ("rain", "set", 1)
    assert np.array_equal(case.pairs[0].degraded, ramp[6:54, 16:64])

    (tmp_path / "set" / "target" / "2.png").unlink()
    with pytest.raises(ImageError, match="'2' is in one of input/ and target/ only"):
        cases(["rain"], given)
    with pytest.raises(ImageError, match="no folder input/ in it"):
        cases(["rain"], replace(given, pairs=(("rain", tmp_path),)))


def test_low_light_is_judged_on_photographs_exposed_as_it_was_learnt(settings: Settings) -> None:
    dark, rain = (case.pairs[0].clean for case in cases(["lowlight", "rain"], settings))
    assert dark.shape == rain.shape and dark.mean() + 20 < rain.mean()  # the garage's wall is white


def test_a_machine_that_was_slowed_down_is_told() -> None:
    mode = ("jtop", 2.0, 4, {"VDD_IN": Spread(1, 2, 3)}, {}, {}, {}, None)
    told = device_told(Telemetry(*mode, True, ("2 events",), {"clock": "no permission"}), 7, "ort 1 on cpu")
    assert told.said == "While 7 pictures ran on ort 1 on cpu, it WAS SLOWED DOWN: 2 events."
    assert told.rows == (("power", "VDD_IN", "mW", 1, 2, 3),)
    assert told.notes == ("Not read: clock: no permission",)


@pytest.mark.parametrize("wrong", [{"size": 0}, {"seconds": 0.0}, {"confidence": 1.0}, {"sizes": (64, 0)}])
def test_settings_that_no_scenario_could_use_are_refused(
    wrong: dict[str, object], settings: Settings
) -> None:
    with pytest.raises(ValueError, match="expected sizes, rounds, pictures and counts of at least 1"):
        replace(settings, **wrong)  # type: ignore[arg-type]
