"""Pixel shuffle goes through a convolution of ones on its way to a skip connection, and changes nothing."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from colora.export.pass_blocks import run

HEAD = "up (float[1,8,h,w] input, float[8,8,1,1] weight) => (float[1,2,a,b] output) {\n y = Conv (input, weight)\n"
SHUFFLE = 's = DepthToSpace <blocksize=2, mode="CRD"> (y)\n t = DepthToSpace <blocksize=2> (input)\n'


def test_bit_for_bit(draft_of: Any, open_graph: Any, random_params: Any) -> None:
    draft = draft_of(HEAD + SHUFFLE + "[skip] output = Add (t, s) }")
    before = draft.proto()
    assert run(draft).fired == 1  # for the first operand; another would only cost
    after = draft.proto()
    assert [node.op_type for node in after.graph.node][-2:] == ["Conv", "Add"]
    image = np.random.default_rng(0).standard_normal((1, 8, 3, 5), dtype=np.float32)
    params = random_params(0, weight=(8, 8, 1, 1))
    results = [open_graph(model, draft.program, params, image) for model in (before, after)]
    np.testing.assert_array_equal(*results)


@pytest.mark.parametrize(
    ("body", "fired", "reasons"),
    [
        ("u = Relu (s)\n v = Add (s, u)\n output = Add (v, t)", 0, ["s is read 2 times"]),
        ("output = Mul (s, t)", 0, []),
    ],
)
def test_only_what_goes_nowhere_but_into_a_sum(
    draft_of: Any, body: str, fired: int, reasons: list[str]
) -> None:
    outcome = run(draft_of(HEAD + SHUFFLE + body + "}"))
    assert ([r.reason for r in outcome.refused][: len(reasons)], len(outcome.refused) > 0) == (
        reasons,
        bool(reasons),
    )
    assert outcome.fired == (1 if reasons else fired)
