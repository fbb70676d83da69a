"""The benchmark of the compiler: a run with a tiny network fills every field, and the floor has every convolution."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import onnx
import onnxruntime as ort
from click.testing import CliRunner
from colora.benchmarks.compiled import FORMS, REFERENCE, command
from colora.benchmarks.compiled_models import convolutions
from colora.export.passes import TARGET_PASSES


def test_the_floor_runs_every_convolution_and_nothing_else() -> None:
    text = """<ir_version: 8, opset_import: ["": 18]>
    g (float[1,4,8,8] input) => (float[1,2,8,8] output)
    <float[8,4,1,1] a, float[8,1,3,3] d, float[2,4,1,1] b> {
      x = Conv (input, a)
      y = Conv <group=8, pads=[1,1,1,1]> (x, d)
      p, q = Split <axis=1, num_outputs=2> (y)
      g = Mul (p, q)
      output = Conv (g, b)
    }"""
    model = onnx.parser.parse_model(text)
    rng = np.random.default_rng(0)
    for name, shape in {"a": (8, 4, 1, 1), "d": (8, 1, 3, 3), "b": (2, 4, 1, 1)}.items():
        value = rng.standard_normal(shape, dtype=np.float32)
        model.graph.initializer.append(onnx.numpy_helper.from_array(value, name))
    floor = convolutions(model)
    onnx.checker.check_model(floor, full_check=True)
    assert [node.op_type for node in floor.graph.node] == ["Conv"] * 3 + ["MaxPool"] * 2
    assert floor.graph.node[2].input[0] == "input"  # the gate's shape is the image's
    session = ort.InferenceSession(floor.SerializeToString(), providers=["CPUExecutionProvider"])
    outputs = session.run(None, {"input": rng.random((1, 4, 8, 8), dtype=np.float32)})
    assert [output.shape for output in outputs] == [(1, 8, 1, 1), (1, 2, 1, 1)]


def test_a_layout_with_random_weights_fills_the_record(tmp_path: Path) -> None:
    arguments = ["--backbone", "nafnet-tiny", "--size", "16", "--rounds", "2", "--threads", "1"]
    result = CliRunner().invoke(command, [*arguments, "-o", str(tmp_path)], catch_exceptions=False)
    assert result.exit_code == 0, result.output
    (file,) = tmp_path.glob("compiled-*.json")
    record = json.loads(file.read_text())
    names = [REFERENCE, *(f"{policy}: {name}" for name in FORMS for policy in ("merged", "refit"))]
    assert list(record["latency"]["16"]) == [*names, "convolutions: ENABLE_ALL", "convolutions: EXTENDED"]
    assert all(row["ms_p50"] > 0 for row in record["latency"]["16"].values())
    assert list(FORMS.values())[-1] == TARGET_PASSES["cpu"]  # what --last-form takes
    assert record["bytes_moved_256"].keys() == FORMS.keys() and record["kind"] == "compiled"
    assert file.name.startswith("compiled-nafnet-tiny-")  # that of the default backbone is another record
    assert record["bytes_moved_256"]["affine, split"] < record["bytes_moved_256"]["no pass"]
