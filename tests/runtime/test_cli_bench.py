"""`colora bench`."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from click.testing import CliRunner
from colora.devices.sensors import NoSensors, Reading
from colora.runtime import latency
from colora.runtime.cli import main
from colora.runtime.cli_bench import command, lines
from colora.runtime.latency import device_copy_ms, measure, percentiles
from colora.runtime.record import FORMAT
from colora.runtime.session import load
from colora.runtime.telemetry import Spread, Telemetry


def test_percentiles_are_nearest_ranks() -> None:
    found = percentiles([float(n) for n in range(100, 0, -1)])
    assert (found.n, found.p50_ms, found.p95_ms, found.p99_ms) == (100, 50, 95, 99)
    assert percentiles([3.0]).p99_ms == 3


def test_compute_and_copies_make_up_the_whole(null_bundle: Path) -> None:
    with load(null_bundle, backend="null") as session:
        found = measure(session, np.zeros((40, 50, 3), np.uint8), session.tasks[0], rounds=1, warmups=0)
    assert found.tiles >= 1 and found.device_copy_ms == 0
    assert found.compute.p50_ms + found.copies.p50_ms == pytest.approx(found.restore.p50_ms)
    assert min(found.compute.p50_ms, found.copies.p50_ms) > 0


class Cuda:
    """What `device_copy_ms` asks of runtime/cuda_memory.py, on the host."""

    def __init__(self) -> None:
        self.calls: list[str] = []

    def pinned(self, shape: tuple[int, ...]) -> Any:
        return np.zeros(shape, np.float32)

    def __getattr__(self, name: str) -> Any:
        return lambda *args: self.calls.append(name) or 1


def test_copies_to_a_gpu_are_taken_from_compute(null_bundle: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(latency, "on_cpu", lambda session: False)
    monkeypatch.setattr(latency, "device_copy_ms", lambda shape: 1e6)
    with load(null_bundle, backend="null") as session:
        found = measure(session, np.zeros((40, 50, 3), np.uint8), session.tasks[0], rounds=1, warmups=0)
    assert found.device_copy_ms == 1e6 * found.tiles
    assert found.compute.p50_ms == 0 and found.copies.p50_ms == found.restore.p50_ms


def test_each_copy_goes_there_and_back_and_all_is_freed(monkeypatch: pytest.MonkeyPatch) -> None:
    double = Cuda()
    monkeypatch.setattr("colora.runtime.cuda_memory.cuda", lambda: double)
    assert device_copy_ms((1, 3, 4, 4), rounds=2) >= 0
    assert double.calls.count("copy") == 4 and double.calls.count("synchronize") == 2
    assert {"free", "free_pinned", "destroy_stream"} <= set(double.calls)


def test_a_record_with_telemetry_is_written_and_told(null_bundle: Path, tmp_path: Path) -> None:
    path = tmp_path / "record.json"
    asked = [str(null_bundle), "--backend", "null", "--image", "50x40", "--rounds", "2", "-o", str(path)]
    result = CliRunner().invoke(command, [*asked, "--interval", "0.02"])
    assert result.exit_code == 0, result.output
    record = json.loads(path.read_text())
    assert (record["format"], record["kind"]) == (FORMAT, "bench")
    assert record["latency"]["restore"]["n"] == 2
    assert record["telemetry"]["source"] == "linux"
    assert record["telemetry"]["readings"] >= 1
    assert {"cpu", "device", "power_mode", "packages"} <= record["environment"].keys()
    assert f"record: {path}" in result.output and "throttled: " in result.output


def test_colora_bench_on_device_needs_neither_torch_nor_what_draws_a_report(
    null_bundle: Path, tmp_path: Path
) -> None:
    """That it is the runtime's command is told by its options; tests run it without torch on other Pythons."""
    path = tmp_path / "record.json"
    asked = [str(null_bundle), "--backend", "null", "--image", "50x40", "--rounds", "1", "--source", "none"]
    result = CliRunner().invoke(main, ["bench", *asked, "--on-device", "-o", str(path)])
    assert result.exit_code == 0, result.output
    assert json.loads(path.read_text())["kind"] == "bench"


def test_no_permission_is_told_and_nothing_lost(
    null_bundle: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Refused(NoSensors):
        name = "linux"

        def read(self) -> Reading:
            self.missing["power"] = "no permission to read /sys/x: run as root, or sudo chmod a+r /sys/x"
            return Reading(temperature_c={"cpu": 40.0})

    monkeypatch.setattr("colora.runtime.cli_bench.open_sensors", lambda *_: Refused())
    path = tmp_path / "record.json"
    asked = [str(null_bundle), "--backend", "null", "--image", "50x40", "--rounds", "1", "-o", str(path)]
    result = CliRunner().invoke(command, asked)
    assert result.exit_code == 0, result.output
    assert "not read: power: no permission to read /sys/x" in result.output
    telemetry = json.loads(path.read_text())["telemetry"]
    assert telemetry["temperature_c"]["cpu"]["most"] == 40
    assert telemetry["missing"]["power"].startswith("no permission")


def test_a_throttle_is_flagged() -> None:
    one = percentiles([1.0])
    telemetry = Telemetry(
        *("jtop", 2.0, 4, {"VDD_IN": Spread(1, 2, 3)}, {}, {}, {}, None, True),
        throttle_reasons=("2 events in /sys/oc3",),
        missing={},
    )
    told = lines(latency.Latency(one, one, one, 0.0, 1), telemetry, "board")
    assert "throttled: YES: 2 events in /sys/oc3" in told
    assert "power, mW VDD_IN  1      2     3" in told
