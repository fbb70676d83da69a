"""The evaluator rounds every float16 value, and nothing else."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import onnx
import pytest
from colora.devices.errors import BackendError
from colora.export.precision_fp16 import type_float16
from colora.export.rounding import RoundingEvaluator, rounded
from colora.runtime.weights import Array
from hypothesis import given
from hypothesis import strategies as st

CHAIN = """
chain (float[1,4,h,w] input, float[4,4,1,1] w) => (float[1,4,h,w] output)
{ a = Conv (input, w)
  b = Mul (a, a)
  c = Add (b, a)
  s = Sqrt (c)
  d = Conv (s, w)
  output = Mul (d, input) }
"""


def half(x: Array) -> Array:
    with np.errstate(over="ignore", invalid="ignore"):
        return x.astype(np.float16).astype(np.float32)


@given(seed=st.integers(0, 2**31), scale=st.sampled_from([1e-4, 1.0, 300.0]))
def test_equals_numpy_that_rounds_after_each_operator(
    draft_of: Callable[..., Any], seed: int, scale: float
) -> None:
    """A diagonal kernel: no sum, so float32 has one right answer."""
    draft = draft_of(CHAIN)
    typed, _ = type_float16(draft.proto(), draft.program, statistics=False)
    rng = np.random.default_rng(seed)
    factors = (scale * rng.random(4, dtype=np.float32)).astype(np.float16)
    image = rng.random((1, 4, 3, 5), dtype=np.float32)
    kernel = np.diag(factors)[:, :, None, None]
    found = RoundingEvaluator(typed, 1).run(image, {"w": kernel})
    f = factors.astype(np.float32)[None, :, None, None]
    x = half(image)
    a = half(x * f)
    with np.errstate(over="ignore", invalid="ignore"):
        c = half(half(a * a) + a)
        expected = half(half(half(np.sqrt(c)) * f) * x)
    assert np.array_equal(found, expected, equal_nan=True) or _only_infinite_sums(found, expected)


def _only_infinite_sums(found: Array, expected: Array) -> bool:
    """∞ · 0 in the other terms of a convolution's sum is NaN: only such pixels may differ."""
    bad = ~np.isfinite(expected).all(1, keepdims=True) | np.zeros_like(expected, bool)
    return bool(np.array_equal(found[~bad], expected[~bad]))


def test_no_rounding_is_optimised_away(draft_of: Callable[..., Any]) -> None:
    """With every value an output of the graph nothing can be left out; the result is the same."""
    draft = draft_of(CHAIN)
    typed, _ = type_float16(draft.proto(), draft.program, statistics=False)
    rng = np.random.default_rng(0)
    image, w = rng.random((1, 4, 6, 6), dtype=np.float32), rng.random((4, 4, 1, 1)).astype(np.float16)
    found = RoundingEvaluator(typed, 1).run(image, {"w": w})
    shown = rounded(typed)
    names = [n for node in shown.graph.node for n in node.output if n != "output" and not n.endswith("_half")]
    shown.graph.output.extend(onnx.helper.make_tensor_value_info(n, 1, None) for n in names)
    import onnxruntime as ort

    session = ort.InferenceSession(shown.SerializeToString(), providers=["CPUExecutionProvider"])
    values = dict(
        zip(
            ["output", *names],
            session.run(["output", *names], {"input": image, "w": w.astype(np.float32)}),
            strict=True,
        )
    )
    assert np.array_equal(values["output"], found)
    for name in ("a", "b", "c", "s", "d"):
        assert np.array_equal(values[name], half(values[name]))
        assert not np.array_equal(values[f"{name}_exact"], half(values[f"{name}_exact"]))


def test_weights_of_another_type_are_refused(draft_of: Callable[..., Any]) -> None:
    draft = draft_of(CHAIN)
    typed, _ = type_float16(draft.proto(), draft.program)
    image = np.zeros((1, 4, 2, 2), np.float32)
    with pytest.raises(BackendError, match="w is float32; in the graph it is float16"):
        RoundingEvaluator(typed, 1).run(image, {"w": np.zeros((4, 4, 1, 1), np.float32)})
