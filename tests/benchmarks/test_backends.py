"""The benchmark of the backends: a run with a tiny network fills every field, and bf16 is told from fp32."""

from __future__ import annotations

import json
from importlib.util import find_spec
from pathlib import Path

import numpy as np
import onnx
import pytest
from click.testing import CliRunner
from colora.benchmarks.backends import command, psnr_table, verdicts
from colora.benchmarks.backends_bf16 import bf16_quality
from colora.benchmarks.backends_bound import Bound, bounds, told
from colora.benchmarks.backends_run import FLOOR, GEMM, OPENVINO, ORT, OURS
from colora.benchmarks.tiny import Tiny

if find_spec("openvino") is None:  # not imported here: that would report the use to its makers
    pytest.skip("openvino is not installed", allow_module_level=True)


def test_a_run_fills_the_record(tiny: Tiny, tmp_path: Path) -> None:
    arguments = [
        "--backbone",
        str(tiny.backbone),
        "--size",
        "16",
        "--rounds",
        "2",
        "--minutes",
        "0.01",
        "--threads",
        "1",
        "--no-compile",
    ]
    result = CliRunner().invoke(command, [*arguments, "-o", str(tmp_path)], catch_exceptions=False)
    assert result.exit_code == 0, result.output
    (file,) = tmp_path.glob("backends-*.json")
    record = json.loads(file.read_text())
    rows = record["latency"]["16"]
    assert record["kind"] == "backends" and len(record["aims"]["16"]) >= 3
    assert {
        ORT,
        OPENVINO,
        OURS,
        "ort: ours, merged",
        "ort: ours, refit",
        "openvino: ours, refit",
    } <= rows.keys()
    products = [name for name in rows if name.startswith(GEMM)]
    assert len(products) == 4 and max(rows[name]["share_of_gemm"] for name in products) == 1
    floors = [f"{name}{FLOOR}" for name in ("ort", "openvino")]
    assert all(rows[name]["gflops"] > 0 and rows[name]["ratio_to"][ORT]["p50"] > 0 for name in floors)
    for name in rows.keys() - {*products, *floors}:
        assert rows[name]["ratio_to"][name if name in (ORT, OPENVINO) else ORT]["p50"] > 0
        assert rows[name]["gflops"] > 0 and rows[name]["largest_difference"] < 1e-2
    assert (
        rows[ORT]["ratio_to"][ORT]["p50"] == 1 and rows[ORT]["n"] == 3
    )  # the fewest, whatever was asked for
    assert rows[ORT]["psnr_db"] is None and rows[OURS]["psnr_db"] > 40
    least = record["bounds"]["16"]
    assert {"1×1", "3×3", "3×3, depthwise", "2×2"} == least.keys()
    assert all(x["ms"] >= x["ms_memory"] > 0 for x in least.values())
    text = file.with_suffix(".md").read_text()
    assert f"| {OURS} |" in text and "aim: at most 0.9" in text


def test_a_convolution_takes_its_arithmetic_or_its_bytes_whichever_is_longer() -> None:
    text = """<ir_version: 8, opset_import: ["": 18]>
    g (float[1,8,4,4] x, float[16,8,1,1] a, float[16,1,3,3] d) => (float[1,16,4,4] z) {
      y = Conv (x, a)
      z = Conv <group=16, pads=[1,1,1,1]> (y, d)
    }"""
    found = bounds(
        onnx.parser.parse_model(text), 1e-3, lambda moved: moved / 1000
    )  # 10^6 a second, 1 MB a second
    moved = 4 * (8 * 16 + 16 * 8 + 16 * 16), 4 * (16 * 16 + 16 * 9 + 16 * 16)
    flops = 2 * 16 * 16 * 8, 2 * 16 * 16 * 9
    assert found == {
        "1×1": Bound(1, flops[0], moved[0], flops[0] / 1e3, moved[0] / 1e3, flops[0] / 1e3),
        "3×3, depthwise": Bound(1, flops[1], moved[1], flops[1] / 1e3, moved[1] / 1e3, flops[1] / 1e3),
    }
    slow = bounds(onnx.parser.parse_model(text), 1e-3, lambda moved: moved / 100)
    assert [x.ms for x in slow.values()] == [x.ms_memory for x in slow.values()] == [20.48, 26.24]
    assert told(slow)[-1][:2] == ("all", "2") and told(slow)[-1][-1] == "19"  # 8.704 of 46.72 ms


def test_verdicts_compare_with_what_is_aimed_at() -> None:
    def row(share: float, ratio: float, gflops: float) -> dict[str, object]:
        return {"share_of_gemm": share, "gflops": gflops, "ratio_to": {OPENVINO: {"p50": ratio}}}

    rows = {OPENVINO: row(0.5, 1, 50), OURS: row(0.72, 0.7, 72), f"{GEMM}numpy": row(1, 1, 100)}
    assert verdicts(rows) == [
        f"{OURS} / {OPENVINO}: 0.700 (aim: at most 0.9)",
        f"{OURS}: 72 % of the 100 GFLOP/s of {GEMM}numpy (aim: at least 70 %)",
    ]


def test_bf16_is_compared_on_pairs(bundle: Path, tmp_path: Path) -> None:
    from colora.runtime.backend_openvino import capabilities
    from PIL import Image

    if "BF16" not in capabilities():
        pytest.skip("this CPU does not multiply bfloat16")
    rng = np.random.default_rng(0)
    for side in ("input", "target"):
        (tmp_path / side).mkdir()
        for name in "ab":
            Image.fromarray(rng.integers(0, 256, (24, 32, 3), np.uint8)).save(tmp_path / side / f"{name}.png")
    found = bf16_quality(str(bundle), "rain", str(tmp_path), "2", "1")
    near = found["to_fp32_db"]
    assert found["n"] == 2 and 40 < near["lowest"] <= near["mean"] < 90
    assert found["worst_change_db"] <= found["to_target_db"]["bf16"] - found["to_target_db"]["fp32"]
    assert psnr_table({"x (rain)": found})[1][:2] == ("x (rain)", "2")
