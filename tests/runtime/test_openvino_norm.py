"""The norm that OpenVINO has a kernel for: found in every way of writing it, and the same numbers."""

from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from colora.runtime.backend_openvino import _core
from colora.runtime.openvino_norm import rewrite_norms

onnx = pytest.importorskip("onnx")
if find_spec("openvino") is None:  # not imported here: that would report the use to its makers
    pytest.skip("openvino is not installed", allow_module_level=True)

EPSILON = 1e-6
CLOSE = 2e-6
"""A square root and a quotient in another order, of numbers up to 4: a few units of float32's last place."""

BODY = {
    "as our exporter writes it": """m = ReduceMean(input, axis) d = Sub(input, m) s = Mul(d, d) v = ReduceMean(s, axis)
        e = Add(v, eps) l = Sqrt(e) r = Reciprocal(l) output = Mul(d, r)""",
    "power and quotient": """m = ReduceMean(input, axis) d = Sub(input, m) s = Pow(d, two) v = ReduceMean(s, axis)
        e = Add(v, eps) l = Sqrt(e) output = Div(d, l)""",
    "without the mean": """s = Mul(input, input) v = ReduceMean(s, axis)
        e = Add(v, eps) l = Sqrt(e) r = Reciprocal(l) output = Mul(r, input)""",
}
OTHERS = {
    "over the rows": ("axis", 2),
    "of the fourth power": ("two", 4.0),
    "of others' length": ("output = Div(d, l)", "output = Div(input, l)"),
}


def model(folder: Path, body: str, **numbers: float) -> Any:
    path = folder / "norm.onnx"
    text = f"""<ir_version: 8, opset_import: ["": 18]>
    g (float[1,6,h,w] input) => (float[1,6,h,w] output) {{
      axis = Constant <value_ints = [{int(numbers.get("axis", 1))}]> ()
      two = Constant <value_float = {float(numbers.get("two", 2.0))}> ()
      eps = Constant <value_float = {EPSILON:.7f}> ()
      {body}
    }}"""
    onnx.save(onnx.parser.parse_model(text), path)
    return _core().read_model(path)


def run(read: Any, image: Any) -> Any:
    return _core().compile_model(read, "CPU", {"INFERENCE_PRECISION_HINT": "f32"})(image)[0]


@pytest.mark.parametrize("name", BODY)
def test_it_is_found_and_computes_the_same(tmp_path: Path, name: str) -> None:
    read = model(tmp_path, BODY[name])
    assert rewrite_norms(read) == 1
    rng = np.random.default_rng(0)
    for size in ((5, 9), (16, 16)):
        image = rng.normal(1, 2, (1, 6, *size)).astype(np.float32)
        image[:, :, 0] *= 1e-4  # where epsilon counts
        d = image.astype(np.float64)
        if name != "without the mean":
            d = d - d.mean(1, keepdims=True)
        expected = d / np.sqrt((d * d).mean(1, keepdims=True) + EPSILON)
        assert np.abs(run(read, image) - expected).max() < CLOSE


@pytest.mark.parametrize("name", OTHERS)
def test_what_only_looks_like_it_is_left(tmp_path: Path, name: str) -> None:
    what, instead = OTHERS[name]
    body = BODY["power and quotient"]
    image = np.random.default_rng(0).normal(1, 2, (1, 6, 8, 8)).astype(np.float32)
    read = model(tmp_path, body.replace(what, instead) if isinstance(instead, str) else body,
                 **({} if isinstance(instead, str) else {what: instead}))  # fmt: skip
    before = run(read.clone(), image)
    assert rewrite_norms(read) == 0
    assert np.array_equal(run(read, image), before)
