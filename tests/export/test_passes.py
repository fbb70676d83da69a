"""Any passes, any weights: program(weights with an adapter) in the rewritten graph is the graph as it was, merged."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from colora.devices.catalogue import DEVICES, find_device
from colora.devices.errors import GraphError, UnknownName
from colora.export.graph import check_map
from colora.export.passes import PASSES, TARGET_PASSES, find_passes, run_passes, target_passes
from colora.runtime.adapter import ParamDelta
from colora.runtime.program import operands, parse_program, program_json
from colora.runtime.weights import Array
from hypothesis import given, settings
from hypothesis import strategies as st

C = 4
HALF = """
  {x}mean = ReduceMean ({x}, axes)
  {x}centred = Sub ({x}, {x}mean)
  {x}square = Mul ({x}centred, {x}centred)
  {x}variance = ReduceMean ({x}square, axes)
  {x}shifted = Add ({x}variance, eps)
  {x}sigma = Sqrt ({x}shifted)
  {x}rstd = Reciprocal ({x}sigma)
  {x}normal = Mul ({divided}, {x}rstd)
  {x}scaled = Mul ({x}normal, {x}_gamma)
"""
NAFNET = (
    "input (float[1,4,h,w] input, float[1,4,1,1] input_gamma, float[1,4,1,1] input_beta, float[8,4,1,1] c1_weight, "
    "float[8] c1_bias, float[8,1,3,3] c2_weight, float[8] c2_bias, float[4,4,1,1] sca_weight, float[4] sca_bias, "
    "float[4,4,1,1] c3_weight, float[4] c3_bias, float[1,4,1,1] x_gamma, float[1,4,1,1] x_beta, "
    "float[8,4,1,1] c4_weight, float[8] c4_bias, float[4,4,1,1] c5_weight, float[4] c5_bias)"
    " => (float[1,4,h,w] output) <int64[1] axes = {1}, int64[2] space = {-1, -2}, float eps = {1e-6}> {"
    + HALF.format(x="input", divided="inputcentred")
    + """
  n1 = Add (inputscaled, input_beta)
  y1 = Conv (n1, c1_weight, c1_bias)
  y2 = Conv <group=8, pads=[1,1,1,1]> (y1, c2_weight, c2_bias)
  a, b = Split <axis=1, num_outputs=2> (y2)
  g = Mul (a, b)
  p = ReduceMean <keepdims=1> (g, space)
  s = Conv (p, sca_weight, sca_bias)
  gs = Mul (g, s)
  y3 = Conv (gs, c3_weight, c3_bias)
  x = Add (input, y3)
"""
    + HALF.format(x="x", divided="xcentred")
    + """
  n2 = Add (xscaled, x_beta)
  y4 = Conv (n2, c4_weight, c4_bias)
  a2, b2 = Split <axis=1, num_outputs=2> (y4)
  g2 = Mul (a2, b2)
  y5 = Conv (g2, c5_weight, c5_bias)
  output = Add (x, y5)
}"""
)
FEED_FORWARD = (
    "input (float[1,4,h,w] input, float[1,4,1,1] input_gamma, {beta} float[20,4,1,1] in_weight, "
    "float[20,1,3,3] deep_weight, float[4,10,1,1] out_weight)"
    " => (float[1,4,h,w] output) <int64[1] axes = {{1}}, float eps = {{1e-5}}> {{"
    "{half}{moved} y = Conv ({n}, in_weight)\n z = Conv <group=20, pads=[1,1,1,1]> (y, deep_weight)\n"
    "a, b = Split <axis=1, num_outputs=2> (z)\n e = Erf (a)\n f = Mul (a, e)\n g = Mul (f, b)\n"
    "v = Conv (g, out_weight)\n output = Add (input, v) }}"
)
LAYOUTS = {
    "NAFNet": NAFNET,
    "Restormer": FEED_FORWARD.format(
        beta="float[1,4,1,1] input_beta,",
        half=HALF.format(x="input", divided="inputcentred"),
        moved="n = Add (inputscaled, input_beta)\n",
        n="n",
    ),
    "Restormer BiasFree": FEED_FORWARD.format(
        beta="", half=HALF.format(x="input", divided="input"), moved="", n="inputscaled"
    ),
}


def source_shapes(draft: Any) -> dict[str, tuple[int, ...]]:
    """Of the source parameters: as the graph's tensors, vectors flat."""
    return {
        name: shape if len(shape) != 4 or shape[0] > 1 else shape[1:2] for name, shape in draft.shapes.items()
    }


def adapted(params: dict[str, Array], seed: int, strength: float) -> dict[str, Array]:
    """Under a random adapter of every parameter: low-rank where it has two wide axes, dense elsewhere."""
    rng = np.random.default_rng(seed)
    changed = {}
    for name, w0 in params.items():
        if w0.ndim == 4 and w0.shape[1] > 1:
            shapes = {"lora_A": (2, w0[0].size), "lora_B": (len(w0), 2)}
            factors = {key: rng.standard_normal(shape, dtype=np.float32) for key, shape in shapes.items()}
            delta = ParamDelta("low-rank", w0.shape, factors, scale=0.25, rank=2)
        else:
            dense = 0.3 * rng.standard_normal(w0.shape, dtype=np.float32)
            delta = ParamDelta("dense", w0.shape, {"delta": dense.astype(np.float32)})
        changed[name] = w0 + np.float32(strength) * delta.delta(w0)
    return changed


@settings(max_examples=40)
@given(
    layout=st.sampled_from(sorted(LAYOUTS)),
    names=st.sets(st.sampled_from(sorted(PASSES.keys() - {"onnxsim"}))),
    seed=st.integers(0, 2**31),
    strength=st.floats(-1, 2),
    size=st.sampled_from([(1, 1), (5, 7), (16, 8)]),
)
def test_program_of_adapted_weights_equals_the_merged_graph(
    draft_of: Any,
    open_graph: Any,
    random_params: Any,
    layout: str,
    names: set[str],
    seed: int,
    strength: float,
    size: tuple[int, int],
) -> None:
    draft = draft_of(LAYOUTS[layout])
    before, program_before = draft.proto(), dict(draft.program)
    pristine = random_params(seed, **source_shapes(draft))
    params = adapted(pristine, seed, strength)
    run_passes(draft, find_passes(names))
    check_map(draft.proto(), draft.shapes)
    assert parse_program(program_json(draft.program)) == draft.program
    assert {p for steps in draft.program.values() for p in operands(steps)} == pristine.keys()
    image = np.random.default_rng(seed).standard_normal((1, C, *size), dtype=np.float32)
    expected = open_graph(before, program_before, params, image)
    found = open_graph(draft.proto(), draft.program, params, image)
    # float32, the same sums in another order: 1e-5 of the largest number, of which there are two products in a row
    np.testing.assert_allclose(found, expected, rtol=0, atol=1e-5 * float(np.abs(expected).max()))


@pytest.mark.parametrize("layout", LAYOUTS)
def test_every_pass_fires_where_it_is_meant_to(draft_of: Any, layout: str) -> None:
    draft = draft_of(LAYOUTS[layout])
    outcomes = run_passes(draft, find_passes(PASSES.keys() - {"onnxsim"}))
    naf = layout == "NAFNet"
    per_block = 2 if naf else 1
    fired = {name: outcome.fired for name, outcome in outcomes.items()}
    assert fired == {
        "constants": 0,
        "affine": per_block,
        "pixel-scale": per_block,
        "mean": 0 if "BiasFree" in layout else per_block,
        "split": per_block,
        "moments": per_block,
        "shuffle": 0,
        "blocks": 0,
        "pool": int(naf),
    }
    refused = {name: outcome.refused for name, outcome in outcomes.items() if outcome.refused}
    if (
        "BiasFree" in layout
    ):  # with no β after it, 1/σ reaches the depthwise convolution, and must stay before it
        assert [refusal.reason for refusal in refused.pop("pixel-scale")] == ["its kernel is 3×3, not 1×1"]
    assert refused == {}


def test_onnxsim_keeps_every_weight(draft_of: Any) -> None:
    draft = draft_of(NAFNET)
    outcome = run_passes(draft, find_passes(["onnxsim"]))["onnxsim"]
    assert outcome.refused == () and len(draft.shapes) == 16


def test_constants_are_folded_and_weights_are_not(draft_of: Any) -> None:
    draft = draft_of(
        "g (float[1,3,h,w] input, float[3] w) => (float[1,3,h,w] output) "
        "<float[1] one = {1}, float[1] two = {2}, int64[1] many = {2000}> {"
        "three = Add (one, two)\n nine = Mul (three, three)\n big = ConstantOfShape (many)\n"
        "total = ReduceSum <keepdims=0> (big)\n ww = Mul (w, nine)\n shape = Constant <value_ints=[1,3,1,1]> ()\n"
        "r = Reshape (ww, shape)\n t = Add (r, total)\n output = Mul (input, t) }"
    )
    outcome = run_passes(draft, find_passes(["constants"]))["constants"]
    assert outcome.fired == 3
    (refusal,) = outcome.refused
    assert refusal.reason == "the result has 2000 numbers, more than 1024"
    kinds = [node.op_type for node in draft.proto().graph.node]
    assert kinds == ["ConstantOfShape", "ReduceSum", "Mul", "Reshape", "Add", "Mul"]


def test_dropped_mean_over_the_picture_is_no_pool(draft_of: Any) -> None:
    draft = draft_of(
        "g (float[1,3,h,w] input) => (float[1,3] output) <int64[2] space = {2, 3}> "
        "{ [mean] output = ReduceMean <keepdims=0> (input, space) }"
    )
    (refusal,) = run_passes(draft, find_passes(["pool"]))["pool"].refused
    assert (refusal.node, refusal.reason) == ("mean", "it drops the axes that it reduces")


def test_passes_are_found_by_name_in_their_own_order() -> None:
    assert [p.name for p in find_passes(["split", "affine"])] == ["affine", "split"]
    assert [p.name for p in find_passes(["gpu", "blocks"])] == [
        "onnxsim",
        "affine",
        "blocks",
    ]
    with pytest.raises(UnknownName, match=r"unknown pass 'afine': did you mean affine\?"):
        find_passes(["afine"])


def test_every_target_has_its_passes() -> None:
    for device in DEVICES.values():
        find_passes(target_passes(device))
    assert target_passes(find_device("cpu")) == TARGET_PASSES["cpu"]
    assert target_passes(find_device("jetson")) == TARGET_PASSES["gpu"]


def test_a_weight_s_name_is_taken_once(draft_of: Any) -> None:
    draft = draft_of(NAFNET)
    with pytest.raises(GraphError, match=r"a pass wanted to add c1_bias, which is there"):
        draft.add_weight("c1_bias", (8,), draft.program["c1_bias"])
