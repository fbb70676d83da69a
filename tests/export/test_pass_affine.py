"""A norm's weight and bias go into the 1×1 convolution behind it, and the reasons why they do not."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from colora.export.pass_affine import run
from colora.runtime.program import Step

SHAPES = {"gamma": (4,), "beta": (4,), "weight": (6, 4, 1, 1), "bias": (6,)}
WEIGHTS = "float[1,4,1,1] gamma, float[1,4,1,1] beta, float[6,4,1,1] weight, float[6] bias"
HEAD = "block (float[1,4,h,w] input, {}) => (float[1,6,h,w] output) <int64[1] axes = {{1}}, float eps = {{1e-6}}> {{"
FULL = """
  scaled = Mul (normal, gamma)
  moved = Add (beta, scaled)
  [conv] output = Conv (moved, weight, bias)
}"""
BIAS_FREE = """
  divided = Mul (input, rstd)
  scaled = Mul (gamma, divided)
  [conv] output = Conv (scaled, weight)
}"""
NO_BIAS = """
  scaled = Mul (normal, gamma)
  moved = Add (scaled, beta)
  [conv] output = Conv (moved, weight)
}"""


@pytest.mark.parametrize(
    ("weights", "body", "program"),
    [
        (
            WEIGHTS,
            FULL,
            {
                "weight": (Step("param", ("weight",)), Step("scale_in", ("gamma",))),
                "bias": (Step("param", ("bias",)), Step("add_through", ("weight", "beta"))),
            },
        ),
        (
            WEIGHTS.rpartition(",")[0],
            NO_BIAS,
            {
                "weight": (Step("param", ("weight",)), Step("scale_in", ("gamma",))),
                "bias": (Step("add_through", ("weight", "beta")),),
            },
        ),
        (
            "float[1,4,1,1] gamma, float[6,4,1,1] weight",
            BIAS_FREE,
            {"weight": (Step("param", ("weight",)), Step("scale_in", ("gamma",)))},
        ),
    ],
    ids=["NAFNet", "Restormer", "Restormer BiasFree"],
)
def test_the_same_numbers_from_fewer_operators(
    draft_of: Any, norm: str, open_graph: Any, random_params: Any, weights: str, body: str, program: Any
) -> None:
    draft = draft_of(HEAD.format(weights) + norm + body)
    before, program_before = draft.proto(), dict(draft.program)
    outcome = run(draft)
    after = draft.proto()
    assert (outcome.fired, outcome.refused) == (1, ())
    assert draft.program == program
    kinds = [node.op_type for node in after.graph.node]
    assert kinds.count("Mul") == 2 and kinds.count("Add") == 1  # those of the variance, and x̂
    params = random_params(0, **SHAPES)
    image = np.random.default_rng(1).standard_normal((1, 4, 5, 7), dtype=np.float32)
    expected = open_graph(before, program_before, params, image)
    # sums of a dozen float32 products of about 1 in another order
    np.testing.assert_allclose(
        open_graph(after, draft.program, params, image), expected, rtol=1e-5, atol=1e-5
    )


@pytest.mark.parametrize(
    ("body", "reason"),
    [
        (
            FULL.replace("Conv (", "Conv <pads=[1,1,1,1]> (").replace("weight,", "wide,"),
            "its kernel is 3×3, not 1×1",
        ),
        (FULL.replace("Conv (", "Conv <strides=[2,2]> ("), "its stride is not 1"),
        (FULL.replace("gamma", "one"), "one is of 1 channels, the convolution reads 4"),
        (FULL.replace("beta", "one"), "one is of 1 channels, the convolution reads 4"),
        (FULL.replace("normal,", "mean,"), "mean is of 1 channels, the convolution reads 4"),
        (FULL.replace("output", "y") + "[late] output = Conv (moved, weight2)}", "read by late too"),
        (FULL.replace("output", "y") + "output = Conv (normal, weight, bias)}", "weight is read by another"),
    ],
)
def test_reasons_to_refuse(draft_of: Any, norm: str, body: str, reason: str) -> None:
    weights = WEIGHTS + ", float[1,1,1,1] one, float[6,4,3,3] wide, float[6,4,1,1] weight2"
    draft = draft_of(HEAD.format(weights) + norm + body.replace("}[", "[").replace("}output", "output"))
    before = dict(draft.program)
    outcome = run(draft)
    assert outcome.fired == 0
    assert any(refusal.node == "conv" and reason in refusal.reason for refusal in outcome.refused), outcome
    assert {name: steps for name, steps in before.items() if name in draft.program} == draft.program


def test_a_weight_that_another_pass_has_changed_is_left(draft_of: Any, norm: str) -> None:
    draft = draft_of(HEAD.format(WEIGHTS) + norm + FULL)
    draft.program["weight"] += (Step("scale_out", ("beta",)),)
    (refusal,) = run(draft).refused
    assert refusal.reason == "weight is no source parameter as it is"
