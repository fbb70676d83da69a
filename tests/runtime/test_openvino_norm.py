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
MOMENTS = """s = Mul(input, input) q = Conv(s, part) m = Conv(input, part) n = Mul(m, m) w = Sub(q, n) v = Relu(w)
        e = Add(v, eps) l = Sqrt(e) r = Reciprocal(l) o = Conv(r, ones) p = Mul(o, input) output = Conv(p, kernel)"""
"""as the passes mean and moments leave it"""
OTHERS = {
    "over the rows": ("axis", 2),
    "of the fourth power": ("two", 4.0),
    "of others' length": ("output = Div(d, l)", "output = Div(input, l)"),
}
NOT_MOMENTS = {
    "a kernel that sees the mean": ("p, kernel", "p, other"),
    "another reader": (
        "output = Conv(p, kernel)",
        "c = Conv(p, kernel) t = Relu(p) d = Conv(t, kernel) output = Add(c, d)",
    ),
    "of others' moments": ("m = Conv(input, part)", "t = Neg(input) m = Conv(t, part)"),
    "a sum, no mean": ("q = Conv(s, part)", "q = Conv(s, sum)"),
    "no square": ("Mul(m, m)", "Mul(m, two)"),
    "not spread evenly": ("Conv(r, ones)", "Conv(r, uneven)"),
    "a kernel of neighbours": ("Conv(p, kernel)", "Conv<pads = [1, 1, 1, 1]>(p, wide)"),
}
KERNEL = np.random.default_rng(1).normal(size=(4, 6)).astype(np.float32)
CENTRED = KERNEL - KERNEL.mean(1, keepdims=True)


def initializer(name: str, *shape: int, values: Any) -> str:
    numbers = ", ".join(f"{x:.9g}" for x in np.broadcast_to(values, shape).ravel())
    return f"float[{', '.join(map(str, shape))}] {name} = {{{numbers}}}"


WEIGHTS = ", ".join((
    initializer("part", 1, 6, 1, 1, values=1 / 6),
    initializer("sum", 1, 6, 1, 1, values=1),
    initializer("ones", 6, 1, 1, 1, values=1),
    initializer("uneven", 6, 1, 1, 1, values=np.arange(6)[:, None, None, None]),
    initializer("kernel", 4, 6, 1, 1, values=CENTRED[..., None, None]),
    initializer("other", 4, 6, 1, 1, values=CENTRED[..., None, None] + 0.001),
    initializer("wide", 4, 6, 3, 3, values=CENTRED[..., None, None]),
))  # fmt: skip


def model(folder: Path, body: str, **numbers: float) -> Any:
    path = folder / "norm.onnx"
    text = f"""<ir_version: 8, opset_import: ["": 18]>
    g (float[1,6,h,w] input) => (float[1,c,h,w] output) <{WEIGHTS}> {{
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


def test_a_mean_that_lies_in_the_kernel_behind_is_taken_off_before(tmp_path: Path) -> None:
    read = model(tmp_path, MOMENTS)
    assert rewrite_norms(read) == 1
    image = np.random.default_rng(0).normal(1, 2, (1, 6, 5, 9)).astype(np.float32)
    d = image.astype(np.float64) - image.mean(1, keepdims=True, dtype=np.float64)
    expected = np.einsum("oc,nchw->nohw", CENTRED, d / np.sqrt((d * d).mean(1, keepdims=True) + EPSILON))
    assert np.abs(run(read, image) - expected).max() < CLOSE


@pytest.mark.parametrize("name", NOT_MOMENTS)
def test_what_only_looks_like_moments_is_left(tmp_path: Path, name: str) -> None:
    what, instead = NOT_MOMENTS[name]
    assert what in MOMENTS
    assert rewrite_norms(model(tmp_path, MOMENTS.replace(what, instead))) == 0
