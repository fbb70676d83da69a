"""Memory: how it is read, its laws, the fleets it is measured of, and what the scenario makes of a tiny network."""

from __future__ import annotations

import json
import mmap
import shutil
from dataclasses import asdict, replace
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
from click.testing import CliRunner
from colora.benchmarks import scenario_memory
from colora.benchmarks.fleet import make_fleet, separate_bytes, shared_bytes
from colora.benchmarks.memory_fit import fit, worst
from colora.benchmarks.memory_gpu import used_bytes
from colora.benchmarks.memory_held import open_holder
from colora.benchmarks.memory_measure import Fleet, Reading, available_bytes, make_models
from colora.benchmarks.memory_model import Facts, Law, facts_of
from colora.benchmarks.memory_systems import (
    CUDA_MERGED,
    CUDA_ORT,
    GPU_SYSTEMS,
    OPENVINO,
    ORT,
    REFIT,
    TENSORRT,
    TORCH_CUDA,
    TORCH_IN_PLACE,
)
from colora.benchmarks.memory_table import COLUMNS, cells, gpu_curve, not_measured
from colora.benchmarks.memory_torch import InPlace, one_by_one
from colora.benchmarks.record import slug
from colora.benchmarks.resident import Memory, in_fresh_process, median, memory_now, parse_memory
from colora.benchmarks.scenario_memory import fit_memory, why
from colora.benchmarks.scenarios import INPUT, OUTPUT, PEERS, open_model, picture, tensor_of
from colora.benchmarks.schema import read_record
from colora.benchmarks.section import Column, Plot, Section, Series
from colora.benchmarks.settings import Settings
from colora.benchmarks.tiny import Tiny
from colora.devices.errors import BackendError
from colora.devices.probe import Sources
from colora.runtime.bundle import GRAPH, open_bundle
from colora.runtime.session import load


def test_median_is_field_by_field() -> None:
    runs = [Memory(130, 90, 50, 200), Memory(150, 95, 55, 210), Memory(131, 70, 51, 190)]
    assert median(runs) == Memory(131, 90, 51, 200)


def test_memory_is_read_from_the_kernels_lines() -> None:
    text = "00400000-7fff [rollup]\nRss:  100 kB\nPss:  50 kB\nAnonymous:  20 kB\nName:\tpython\nVmHWM:\t     120 kB\n"
    assert parse_memory(text) == Memory(102400, 51200, 20480, 122880)
    with pytest.raises(KeyError, match="Pss"):
        parse_memory("Rss: 1 kB\n")


def test_memory_sees_what_is_held() -> None:
    before = memory_now()
    with mmap.mmap(-1, 8 * 2**20, flags=mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS) as held:
        held.write(bytes([1]) * len(held))
        after = memory_now()
    # new pages, which no allocator had before; the rest of the process may have given back some of its own
    assert after.anonymous_bytes - before.anonymous_bytes > 0.5 * 8 * 2**20
    assert after.peak_rss_bytes >= after.rss_bytes >= after.anonymous_bytes


def test_failure_in_a_fresh_process_is_told() -> None:
    told = r"empty failed in a process of its own.*ModuleNotFoundError.*'no_such_package'"
    with pytest.raises(BackendError, match=told):
        in_fresh_process("colora.benchmarks.memory_held:empty", "no_such_package")


def test_fleet_merges_what_the_session_computes(bundle: Path, tmp_path: Path) -> None:
    copy = tmp_path / "bundle"
    shutil.copytree(bundle, copy)
    members = make_fleet(copy, tmp_path / "models", 3)
    assert [m.origin for m in members] == ["bundle", "bundle", "shuffled noise"]
    image = picture(64)
    results = []
    with load(copy, policy="refit", threads=1) as session:
        for member in members:
            merged = open_model(str(member.model), PEERS["default"], 1).run(
                [OUTPUT], {INPUT: tensor_of(image)}
            )[0]
            results.append(np.rint(np.clip(merged[0].transpose(1, 2, 0), 0, 1) * 255))
            # both round to 8 bits; 1e-4 of fp32 difference can tip a value to the next level
            assert np.abs(session.restore(image, member.task) - results[-1]).max() <= 1
    assert not np.array_equal(results[0], results[1])
    assert separate_bytes(members) == 3 * separate_bytes(members[:1])
    assert (
        shared_bytes(copy, members[:2]) - shared_bytes(copy, members[:1]) == members[1].adapter.stat().st_size
    )


def test_slug_names_a_file() -> None:
    assert (
        slug("Intel(R) Xeon(R) Processor 2 cores onnxruntime 1.31.1")
        == "intel-xeon-2-cores-onnxruntime-1.31.1"
    )


FACTS = Facts(graph=200_000, weights=20_000_000, activations=30_000_000, adapter=1_000_000)
LAW = Law(5e6, 0.5, 1.1, 10.0, 1.5, 0.0, adapters=True)


def test_a_law_counts_what_is_taken_once_and_by_each_task() -> None:
    # once 5 + 10 + 33; each 2 + 30 and an adapter of 1
    assert LAW.bytes(FACTS, 2) == 48_000_000 + 2 * 33_000_000
    assert replace(LAW, adapters=False).bytes(FACTS, 2) == 48_000_000 + 2 * 32_000_000


def test_every_system_has_a_law() -> None:
    assert scenario_memory.LAWS.keys() == scenario_memory.SYSTEMS.keys()


def test_a_fit_finds_the_law_of_its_points() -> None:
    facts = [FACTS, replace(FACTS, activations=90_000_000), Facts(100_000, 60_000_000, 50_000_000, 2_000_000)]
    points = [(f, n, LAW.bytes(f, n)) for f in facts for n in (1, 2, 4)]
    law = fit(points, adapters=True)
    assert worst(law, points) < 1e-6  # rounding to bytes
    assert law.each_weights == pytest.approx(1.5, rel=1e-4)


def test_counts_without_room_are_left_out_and_say_so(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(scenario_memory.LAWS, ORT, Law(0, 0, 0, 500, 0, 0))
    base = Memory(50_000_000, 0, 0, 0)
    assert fit_memory(ORT, (1, 2, 4), FACTS, base, free=320_000_000) == (1, 2)  # 0.8 of it is used
    assert why(4, (1, 2, 4), (1, 2)) == "extrapolated: too little memory for so many models"
    assert why(4, (1, 2), (1, 2)) == "extrapolated: too little disk for so many models"
    meminfo = tmp_path / "meminfo"
    meminfo.write_text("MemTotal: 10 kB\nMemAvailable:       4096 kB\n")
    assert available_bytes(meminfo, tmp_path) == 4096 * 1024
    (tmp_path / "memory.max").write_text("3000000\n")
    (tmp_path / "memory.current").write_text("1000000\n")
    assert available_bytes(meminfo, tmp_path) == 2_000_000


def test_section_measures_predicts_and_extrapolates(
    bundle: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(
        scenario_memory, "SYSTEMS", {name: scenario_memory.SYSTEMS[name] for name in (REFIT, ORT)}
    )
    graph = open_bundle(bundle).manifest.files[GRAPH].size_bytes
    monkeypatch.setitem(scenario_memory.LAWS, ORT, Law(0, 0, 0, 5e6 / graph, 0, 0))
    free = 3 * 5_000_000 + 200_000_000  # three models, and an empty process
    monkeypatch.setattr(scenario_memory, "available_bytes", lambda: 2 * free)
    monkeypatch.setattr(scenario_memory, "SPARE", 1.0)
    settings = Settings(tmp_path, size=64, counts=(1, 3, 64), seconds=600)
    monkeypatch.setattr(scenario_memory, "used_bytes", lambda: None)  # no GPU
    monkeypatch.setattr(scenario_memory, "fit_disk", lambda counts, each, folder: (1, 3))
    found = scenario_memory.section(bundle, settings, lambda text: None)
    names = [column.name for column in found.columns]
    rows = {(row[0], row[1]): dict(zip(names, row, strict=True)) for row in found.rows}
    assert list(rows) == [
        *((system, n) for system in (REFIT, ORT) for n in (1, 3, 64)),
        *((system, None) for system in GPU_SYSTEMS),
    ]
    assert "The model was fitted at 128 to 256 px; at 64 px it may be further off than there." in found.notes
    no_gpu = rows[TORCH_CUDA, None]
    assert no_gpu["how"] == "not measured: no NVIDIA GPU answered (nvidia-smi, NVML)"
    assert no_gpu["GPU"] is None and no_gpu["RSS"] is None
    ours, theirs = rows[REFIT, 3], rows[ORT, 3]
    assert ours["how"] == theirs["how"] == "measured"
    assert theirs["ratio"] == pytest.approx(theirs["RSS"] / ours["RSS"], rel=0.1)  # both rounded to 0.1 MB
    assert theirs["error"] == pytest.approx(100 * (15 / theirs["RSS"] - 1), rel=0.1)
    assert theirs["peak, switching"] is not None and rows[ORT, 1]["peak, switching"] is None
    beyond = rows[ORT, 64]
    assert (beyond["RSS"], beyond["predicted"]) == (None, 320.0)
    assert beyond["how"] == "extrapolated: too little disk for so many models"
    assert Section.read(json.loads(json.dumps(asdict(found)))) == found
    assert found.plots[0].series[-1].name == f"{ORT}: extrapolated"


def test_the_command_writes_a_record_and_a_plot(
    bundle: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    plot = Plot("Memory", "tasks", "MB", (Series("a", (1, 2), (3.0, 4.0)), Series("b", (1, 2), (5.0, 9.0))))
    found = Section("memory", "Memory", "said", (Column("N"),), ((1,),), (plot,))
    monkeypatch.setattr(scenario_memory, "section", lambda *_: found)
    told = CliRunner().invoke(
        scenario_memory.command, [str(bundle), "-o", str(tmp_path)], catch_exceptions=False
    )
    (path,) = tmp_path.glob("memory-systems-*.json")
    assert f"record: {path}" in told.output
    assert Section.read(read_record(path)["section"]) == found
    assert path.with_suffix(".png").read_bytes().startswith(b"\x89PNG")


class NVMLError(Exception):
    """As pynvml's."""


def gpu_sources(tmp_path: Path, smi: str | None, nvml: object = None) -> Sources:
    """A machine that says of its GPU what is recorded here."""
    return Sources(release=tmp_path / "nv_tegra_release", run=lambda _: smi, nvml=lambda: nvml)


def test_gpu_memory_is_read_from_the_driver(tmp_path: Path) -> None:
    nvml = SimpleNamespace(
        NVMLError=NVMLError,
        nvmlInit=lambda: None,
        nvmlShutdown=lambda: None,
        nvmlDeviceGetHandleByIndex=lambda i: i,
        nvmlDeviceGetMemoryInfo=lambda _: SimpleNamespace(
            total=25769803776, free=25332547584, used=437256192
        ),
    )

    def fail(*_: object) -> None:
        raise NVMLError

    assert used_bytes(gpu_sources(tmp_path, "417\n3\n")) == 417 * 2**20  # two GPUs
    assert used_bytes(gpu_sources(tmp_path, None, nvml)) == 437256192
    assert used_bytes(gpu_sources(tmp_path, None)) is None
    for failing in ("nvmlInit", "nvmlDeviceGetMemoryInfo"):
        broken = SimpleNamespace(**vars(nvml) | {failing: fail})
        assert used_bytes(gpu_sources(tmp_path, "", broken)) is None
    (tmp_path / "nv_tegra_release").write_text("# R36 (release), REVISION: 4.3")
    assert (
        used_bytes(gpu_sources(tmp_path, "[N/A]\n")) or 0
    ) > 10e6  # of this system: a Jetson has one memory


def test_gpu_rows_are_of_what_runs_there_and_compare_its_memory(
    bundle: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The GPU is a double; ONNX Runtime's CUDA sessions do not start here, and say so."""
    fleet = make_models(bundle, tmp_path / "fleet", 2)
    mib = {(TENSORRT, 1): 200, (TENSORRT, 2): 210, (CUDA_MERGED, 1): 150, (CUDA_MERGED, 2): 300}

    def found(fleet: Fleet, system: str, counts: tuple[int, ...], base: Memory, **_: object) -> list[Reading]:
        if system not in (TENSORRT, CUDA_MERGED):
            raise BackendError("CUDA did not start")
        return [Reading(n, Memory(5, 5, 5, 5), None, mib[system, n] * 10**6) for n in counts]

    monkeypatch.setattr(scenario_memory, "readings", found)
    monkeypatch.setattr(scenario_memory, "empty", lambda package: Memory(1, 1, 1, 1))
    absent: dict[str, str] = {}
    settings = Settings(tmp_path, size=64)
    facts = facts_of(fleet.bundle, 64)
    rows = scenario_memory.measure_gpu(fleet, facts, (1, 2), settings, absent, lambda text: None)
    names = [column.name for column in COLUMNS]
    told = [dict(zip(names, cells(row, rows), strict=True)) for row in rows]
    assert [(t["GPU"], t["ratio"], t["predicted"], t["how"]) for t in told] == [
        (200, 1, None, "measured"), (210, 1, None, "measured"),
        (150, 0.75, None, "measured"), (300, 1.429, None, "measured"),
    ]  # fmt: skip
    assert absent == dict.fromkeys((CUDA_ORT, TORCH_IN_PLACE, TORCH_CUDA), "CUDA did not start")
    assert not_measured(CUDA_ORT, absent[CUDA_ORT])[-1] == "not measured: CUDA did not start"
    assert [series.y for series in gpu_curve(rows).series] == [(200, 210), (150, 300)]


def test_a_package_that_is_missing_is_a_row_that_says_which_extra(monkeypatch: pytest.MonkeyPatch) -> None:
    def without_openvino(package: str) -> Memory:
        if package == "openvino":
            raise BackendError("ModuleNotFoundError: No module named 'openvino'")
        return Memory(1, 1, 1, 1)

    monkeypatch.setattr(scenario_memory, "empty", without_openvino)
    absent: dict[str, str] = {}
    assert "openvino" not in scenario_memory.bare(absent)
    assert absent == {OPENVINO: "openvino is not installed: pip install 'colora[openvino]'"}


def test_a_cuda_session_says_what_is_missing(bundle: Path, tmp_path: Path) -> None:
    pytest.importorskip("onnxruntime")
    with pytest.raises(BackendError, match="has no CUDAExecutionProvider: pip install onnxruntime-gpu"):
        open_holder(CUDA_ORT, str(bundle), "", ["rain"], [str(bundle / GRAPH)], 64, 1).restore(0)


def test_one_module_edited_in_place_is_each_of_many(tiny: Tiny, bundle: Path, tmp_path: Path) -> None:
    """On the CPU what is measured on a GPU."""
    fleet, given = make_models(bundle, tmp_path / "fleet", 2, str(tiny.backbone)), tensor_of(picture(64))
    tasks = [member.task for member in fleet.members]
    one = InPlace(str(fleet.bundle.path), fleet.backbone, tasks, given, 1, "cpu")
    open_one = one_by_one(fleet.backbone, given, 1, "cpu")
    many = [open_one(str(member.model))() for member in fleet.members]
    assert not many[0].equal(many[1])
    assert all(one.restore(number).equal(many[number]) for number in (0, 1, 0, 0, 1))
