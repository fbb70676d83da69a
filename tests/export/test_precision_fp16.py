"""A graph typed for float16: which operators, which weights, what survives, what is refused."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
import onnx
import pytest
from colora.devices.errors import GraphError
from colora.export.precision_fp16 import type_float16
from colora.export.rounding import RoundingEvaluator
from colora.runtime.program import Program, run_steps
from colora.runtime.weights import Array
from hypothesis import given
from hypothesis import strategies as st

BLOCK = """
block (float[1,4,h,w] input, float[4,4,1,1] first, float[1,4,1,1] gamma, float[4,4,1,1] second)
  => (float[1,4,h,w] output)
<int64[1] axes = {1}, float eps = {0.000001}>
{
  start = Conv (input, first)
  mean = ReduceMean (start, axes)
  centred = Sub (start, mean)
  square = Mul (centred, centred)
  variance = ReduceMean (square, axes)
  shifted = Add (variance, eps)
  sigma = Sqrt (shifted)
  rstd = Reciprocal (sigma)
  normal = Mul (centred, rstd)
  scaled = Mul (normal, gamma)
  end = Conv (scaled, second)
  output = Add (input, end)
}
"""


def evaluate(model: onnx.ModelProto, program: Program, params: Mapping[str, Array], image: Array) -> Array:
    weights = {name: run_steps(name, steps, params.__getitem__) for name, steps in program.items()}
    return RoundingEvaluator(model, 1).run(image, weights)


def types(model: onnx.ModelProto) -> dict[str, str]:
    """Value → its type."""
    graph = onnx.shape_inference.infer_shapes(model, strict_mode=True).graph
    names = {1: "float32", 10: "float16"}
    values = (*graph.input, *graph.value_info, *graph.output)
    return {v.name: names.get(v.type.tensor_type.elem_type, "other") for v in values}


def test_statistics_are_float32_and_products_float16(draft_of: Callable[..., Any]) -> None:
    draft = draft_of(BLOCK)
    typed, program = type_float16(draft.proto(), draft.program)
    onnx.checker.check_model(typed, full_check=True)
    found = types(typed)
    assert {n for n, t in found.items() if t == "float16"} == {
        "start", "end", "first", "second", "input_float16", "scaled_float16",
    }  # fmt: skip
    assert found["input"] == found["output"] == found["square"] == found["gamma"] == "float32"
    assert {n: steps[-1].op for n, steps in program.items()} == {
        "first": "cast", "gamma": "reshape", "second": "cast",
    }  # fmt: skip


@given(seed=st.integers(0, 2**31), power=st.integers(9, 14))
def test_squares_beyond_float16_are_survived_where_a_plain_conversion_gives_infinities(
    draft_of: Callable[..., Any],
    open_graph: Callable[..., Array],
    random_params: Callable[..., dict[str, Array]],
    seed: int,
    power: int,
) -> None:
    draft = draft_of(BLOCK)
    params = random_params(seed, first=(4, 4, 1, 1), gamma=(4,), second=(4, 4, 1, 1))
    params["first"] *= np.float32(
        2**power / np.abs(params["first"]).sum(1).max()
    )  # sums below 2^power < 65504
    image = np.random.default_rng(seed).random((1, 4, 5, 7), dtype=np.float32)
    exact = open_graph(draft.proto(), draft.program, params, image)
    kept = evaluate(*type_float16(draft.proto(), draft.program), params, image)
    plain = evaluate(*type_float16(draft.proto(), draft.program, statistics=False), params, image)
    # each term: input or kernel rounded, once, to 11 bits; four products of x̂ ≤ 2, γ and W, and σ carries both
    np.testing.assert_allclose(kept, exact, rtol=0, atol=2**-11 * 8 * 8)
    largest = float(np.abs(params["first"][:, :, 0, 0] @ image.reshape(1, 4, -1)).max())
    if largest > 4 * 256:  # then some |x − mean| is above 256, its square above 65504
        assert not np.isfinite(plain).all() or np.abs(plain - exact).max() > 0.1


def test_public_converter_gives_infinities_on_the_same_graph(
    draft_of: Callable[..., Any], open_graph: Callable[..., Array]
) -> None:
    """onnxruntime's own float16 conversion; ONNX Runtime's CPU, which computes in float32, does not show it."""
    from onnxruntime.transformers.float16 import convert_float_to_float16

    draft = draft_of(BLOCK)
    eye = np.eye(4, dtype=np.float32)[:, :, None, None]
    params = {"first": 2000 * eye, "gamma": np.ones(4, np.float32), "second": eye}
    image = np.random.default_rng(0).random((1, 4, 5, 7), dtype=np.float32)
    exact = open_graph(draft.proto(), draft.program, params, image)
    converted = convert_float_to_float16(draft.proto())
    halves = {n: run_steps(n, s, params.__getitem__).astype(np.float16) for n, s in draft.program.items()}
    plain = RoundingEvaluator(converted, 1).run(image, halves)
    assert not np.isfinite(plain).all() or np.abs(plain - exact).max() > 0.1
    kept = evaluate(*type_float16(draft.proto(), draft.program), params, image)
    np.testing.assert_allclose(kept, exact, rtol=0, atol=0.03)  # as above


def test_weight_of_two_types_is_cast_for_one(draft_of: Callable[..., Any]) -> None:
    draft = draft_of("""
      two (float[1,4,h,w] input, float[4,4,1,1] w) => (float[1,4,h,w] output)
      { a = Conv (input, w)
        b = ReduceMean (a)
        c = Mul (b, w)
        d = ReduceMean (c)
        output = Mul (input, d) }""")
    typed, program = type_float16(draft.proto(), draft.program)
    onnx.checker.check_model(typed, full_check=True)
    assert [s.op for s in program["w"]] == ["param", "cast"]
    assert [n.op_type for n in typed.graph.node if "w" in n.input] == ["Conv", "Cast"]


def test_constants_follow_their_operator(draft_of: Callable[..., Any]) -> None:
    draft = draft_of("""
      gelu (float[1,4,h,w] input, float[4,4,1,1] w) => (float[1,4,h,w] output)
      <float half = {0.5}>
      { a = Conv (input, w)
        b = Mul (a, half)
        c = ReduceMean (b)
        output = Mul (c, half) }""")
    typed, _ = type_float16(draft.proto(), draft.program)
    found = {t.name: t.data_type for t in typed.graph.initializer}
    assert found == {"half": 1, "half_float16": 10}


def test_constant_that_float16_cannot_hold_is_refused_by_name(draft_of: Callable[..., Any]) -> None:
    draft = draft_of("""
      small (float[1,4,h,w] input, float[4,4,1,1] w) => (float[1,4,h,w] output)
      <float tiny = {0.000000000001}>
      { a = Conv (input, w)
        [shift] output = Add (a, tiny) }""")
    with pytest.raises(GraphError, match=r"precision fp16: .*Add.* reads the constant 1e-12, which float16"):
        type_float16(draft.proto(), draft.program)


def test_operator_of_another_domain_is_refused_by_name(draft_of: Callable[..., Any]) -> None:
    draft = draft_of("""
      strange (float[1,4,h,w] input, float[4,4,1,1] w) => (float[1,4,h,w] output)
      { output = Conv (input, w) }""")
    model = draft.proto()
    model.opset_import.add(domain="acme", version=1)
    node = model.graph.node.add(op_type="Fancy", domain="acme", name="fancy7")
    node.input.append("output")
    node.output.append("more")
    with pytest.raises(GraphError, match=r"precision fp16: fancy7 \(Fancy\) .* domain 'acme'"):
        type_float16(model, draft.program)


def test_convolution_with_a_constant_kernel_is_a_statistic(draft_of: Callable[..., Any]) -> None:
    """Such as the pass `moments` makes: a sum of squares in the form of a convolution."""
    draft = draft_of("""
      sums (float[1,4,h,w] input, float[4,4,1,1] w) => (float[1,1,h,w] output)
      <float[1,4,1,1] quarter = {0.25, 0.25, 0.25, 0.25}>
      { a = Conv (input, w)
        square = Mul (a, a)
        output = Conv (square, quarter) }""")
    typed, _ = type_float16(draft.proto(), draft.program)
    assert types(typed)["square"] == types(typed)["output"] == "float32"
    assert [n.op_type for n in typed.graph.node] == ["Cast", "Conv", "Cast", "Mul", "Conv"]
