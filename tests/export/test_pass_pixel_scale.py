"""1/σ moves behind the 1×1 convolution, and the reasons why it does not."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from colora.export.pass_pixel_scale import run
from colora.runtime.program import Step

SHAPES = {"weight": (6, 4, 1, 1), "bias": (6,)}
HEAD = """block (float[1,4,h,w] input, float[6,4,1,1] weight, float[6] bias, float[6,4,3,3] wide)
=> (float[1,6,h,w] output) <int64[1] axes = {1}, float eps = {1e-6}> {"""


@pytest.mark.parametrize(
    ("call", "kinds"), [("weight, bias", ["Conv", "Mul", "Add"]), ("weight", ["Conv", "Mul"])]
)
def test_the_factor_is_behind_the_convolution(
    draft_of: Any, norm: str, open_graph: Any, random_params: Any, call: str, kinds: list[str]
) -> None:
    draft = draft_of(HEAD + norm + f"output = Conv (normal, {call}) }}")
    before, program_before = draft.proto(), dict(draft.program)
    assert run(draft).fired == 1
    after = draft.proto()
    assert [node.op_type for node in after.graph.node][-len(kinds) :] == kinds
    assert [value.name for value in after.graph.output] == ["output"]
    if "bias" in call:
        assert draft.program["bias"] == (Step("param", ("bias",)), Step("reshape", (1, 6, 1, 1)))
        assert draft.shapes["bias"] == (1, 6, 1, 1)
    params = random_params(0, **SHAPES, wide=(6, 4, 3, 3))
    image = np.random.default_rng(1).standard_normal((1, 4, 5, 7), dtype=np.float32)
    used = {
        name: steps for name, steps in program_before.items() if name in {*call.split(", "), "wide", "bias"}
    }
    expected = open_graph(before, used, params, image)
    # sums of a dozen float32 products of about 1 in another order
    np.testing.assert_allclose(
        open_graph(after, draft.program, params, image), expected, rtol=1e-5, atol=1e-5
    )


@pytest.mark.parametrize(
    ("body", "reason"),
    [
        ("[conv] output = Conv <pads=[1,1,1,1]> (normal, wide, bias)", "its kernel is 3×3, not 1×1"),
        ("[conv] output = Conv <pads=[1,1,1,1]> (normal, weight, bias)", "it pads its input"),
        (
            "[conv] y = Conv (normal, weight, bias)\n [late] z = Relu (normal)\n output = Add (y, z)",
            "the product is read by late too",
        ),
    ],
)
def test_reasons_to_refuse(draft_of: Any, norm: str, body: str, reason: str) -> None:
    (refusal,) = run(draft_of(HEAD + norm + body + "}")).refused
    assert (refusal.node, refusal.reason) == ("conv", reason)


def test_a_product_of_two_pictures_is_no_place_for_it(draft_of: Any, norm: str) -> None:
    outcome = run(draft_of(HEAD + norm + "both = Mul (input, normal)\n output = Conv (both, weight, bias) }"))
    assert (outcome.fired, outcome.refused) == (0, ())
