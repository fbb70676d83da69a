"""Pixel shuffle phase by phase gives the same picture, from rows in another order."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from colora.export.pass_shuffle import run
from colora.runtime.program import Step
from hypothesis import given
from hypothesis import strategies as st

HEAD = "up (float[1,3,h,w] input, float[12,3,1,1] weight, float[12] bias) => (float[1,3,a,b] output) {\n"


@given(size=st.integers(2, 3), count=st.integers(1, 3), seed=st.integers(0, 99))
def test_bit_for_bit(
    draft_of: Any, open_graph: Any, random_params: Any, size: int, count: int, seed: int
) -> None:
    wide = count * size**2
    text = (
        f"up (float[1,3,h,w] input, float[{wide},3,3,3] weight, float[{wide}] bias) => (float[1,{count},a,b] output)"
        f" {{\n y = Conv <pads=[1,1,1,1]> (input, weight, bias)\n"
        f' output = DepthToSpace <blocksize={size}, mode="CRD"> (y) }}'
    )
    draft = draft_of(text)
    before, program = draft.proto(), dict(draft.program)
    assert run(draft).fired == 1
    assert draft.program["bias"] == (Step("param", ("bias",)), Step("phases_out", (size**2,)))
    image = np.random.default_rng(seed).standard_normal((1, 3, 4, 5), dtype=np.float32)
    params = random_params(seed, weight=(wide, 3, 3, 3), bias=(wide,))
    plain = open_graph(before, program, params, image)
    # each number is the same sum, by whatever lane of the product: a rounding of 27 terms
    np.testing.assert_allclose(
        open_graph(draft.proto(), draft.program, params, image), plain, rtol=1e-5, atol=1e-5
    )


@pytest.mark.parametrize(
    ("body", "reason"),
    [
        (
            "y = Conv (input, weight, bias)\n r = Relu (y)",
            "what it shuffles comes from no convolution of weights",
        ),
        ("r = Conv (input, weight, bias)\n [other] y = Relu (r)", "r is read by other too"),
        (
            "r = Conv (input, weight, bias)\n y = Conv (input, weight)",
            "weight is read by another operator too",
        ),
    ],
)
def test_what_must_stay(draft_of: Any, body: str, reason: str) -> None:
    rest = '\n s = DepthToSpace <blocksize=2, mode="CRD"> (r)\n z = ReduceSum (y)\n output = Add (s, z) }'
    outcome = run(draft_of(HEAD + body + rest))
    assert outcome.fired == 0
    assert [refusal.reason for refusal in outcome.refused] == [reason]


def test_the_order_of_phases_already_is_left(draft_of: Any) -> None:
    body = "r = Conv (input, weight, bias)\n output = DepthToSpace <blocksize=2> (r) }"
    assert run(draft_of(HEAD + body)).fired == 0
