"""The memory record: its arithmetic, and that a run with a tiny network fills every field."""

from __future__ import annotations

import json
import mmap
import shutil
from dataclasses import fields, replace
from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner
from colora.benchmarks.fleet import make_fleet, separate_bytes, shared_bytes
from colora.benchmarks.memory import command
from colora.benchmarks.memory_rows import SHARED, Row, RowRatio, make_ratios, make_row
from colora.benchmarks.record import Environment, slug
from colora.benchmarks.resident import Memory, in_fresh_process, memory_now, parse_memory
from colora.benchmarks.scenarios import INPUT, OUTPUT, PEERS, open_model, picture, tensor_of
from colora.devices.errors import BackendError
from colora.runtime.session import load


def test_row_is_the_median_above_an_empty_process() -> None:
    runs = [Memory(130, 90, 50, 200), Memory(150, 95, 55, 210), Memory(131, 70, 51, 190)]
    row = make_row("x", 2, 7, runs, empty=Memory(30, 20, 10, 100))
    assert row == Row("x", 2, 7, 101, 70, 41, 100, rss_spread_bytes=20)


def test_ratio_is_whole_models_over_shared_at_the_same_count() -> None:
    ours = Row(SHARED, 1, 100, 10, 20, 0, 40, 0)
    rows = [
        ours,
        replace(ours, system="default", rss_bytes=15),
        replace(ours, tasks=2, files_bytes=110),
        replace(
            ours, system="default", tasks=2, files_bytes=220, rss_bytes=30, pss_bytes=10, peak_rss_bytes=60
        ),
    ]
    assert make_ratios(rows) == [
        RowRatio("default", 1, files=1.0, rss=1.5, pss=1.0, peak_rss=1.0),
        RowRatio("default", 2, files=2.0, rss=3.0, pss=0.5, peak_rss=1.5),
    ]


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
    with pytest.raises(
        BackendError, match=r"separate failed in a process of its own.*unknown peer 'defualt'"
    ):
        in_fresh_process("colora.benchmarks.scenarios:separate", "defualt", "x.onnx", "64", "1")


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


def test_record_has_every_field(bundle: Path, tmp_path: Path) -> None:
    sizes = ["--tasks", "2", "--size", "64", "--threads", "1", "--repeats", "1", "--rounds", "2"]
    args = ["--bundle", str(bundle), *sizes, "-o", str(tmp_path)]
    result = CliRunner().invoke(command, args, catch_exceptions=False)
    assert result.exit_code == 0, result.output
    (path,) = tmp_path.glob("*.json")
    record = json.loads(path.read_text("utf-8"))
    assert record["format"] == 1 and record["kind"] == "memory"
    assert record["environment"].keys() == {f.name for f in fields(Environment)}
    assert path.stem.endswith("onnxruntime-" + record["environment"]["packages"]["onnxruntime"])
    assert record["settings"] == {
        "backbone": "nafnet-tiny",
        "backbone_sha256": record["settings"]["backbone_sha256"],
        "size_px": 64,
        "threads": 1,
        "repeats": 1,
    }
    assert [(row["tasks"], row["system"]) for row in record["memory"]] == [
        (2, system) for system in (SHARED, *PEERS)
    ]
    for row in record["memory"]:
        assert row.keys() == {f.name for f in fields(Row)}
        assert row["rss_bytes"] > 0 and row["files_bytes"] > 0
    assert record["ratios"] == [vars(r) for r in make_ratios(Row(**row) for row in record["memory"])]
    for figures in record["latency"].values():
        assert figures["n"] == 2 and figures["ms_p50"] > 0 and figures["told"]
    assert record["latency"]["merged"]["ratio_to_merged_p50"] == 1
    assert record["peers"].keys() == PEERS.keys() and record["measured"]
    assert str(tmp_path) not in path.read_text("utf-8"), "a record holds no paths of the machine"
    assert path.with_suffix(".png").read_bytes().startswith(b"\x89PNG")
    assert sorted(p.name for p in (bundle / "tasks").iterdir()) == [
        "noise.safetensors",
        "rain.safetensors",
    ]


def test_slug_names_a_file() -> None:
    assert (
        slug("Intel(R) Xeon(R) Processor 2 cores onnxruntime 1.31.1")
        == "intel-xeon-2-cores-onnxruntime-1.31.1"
    )
