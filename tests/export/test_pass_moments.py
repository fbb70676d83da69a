"""A norm's 1/σ by 1×1 convolutions is the 1/σ of before, and the reasons to leave it."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from colora.export.pass_moments import run

HEAD = """block (float[1,4,h,w] input, float[6,4,1,1] weight, float[6,4,1,1] other)
=> (float[1,6,h,w] output) <int64[1] axes = {1}, int64[2] space = {2, 3}, float eps = {1e-6}> {"""
ALONE = HEAD.replace(", float[6,4,1,1] other", "")
ONE = "output = Conv (normal, weight) }"
TWO = """
  y = Conv (centred, weight)
  z = Conv (normal, other)
  scaled = Mul (rstd, y)
  output = Add (scaled, z) }"""


@pytest.mark.parametrize("mean", [0.0, 3.0])
@pytest.mark.parametrize(("behind", "widths"), [(ONE, 1), (TWO, 2)])
def test_the_norm_is_the_norm_of_before(
    draft_of: Any, norm: str, open_graph: Any, random_params: Any, mean: float, behind: str, widths: int
) -> None:
    draft = draft_of((HEAD if "other" in behind else ALONE) + norm + behind)
    before, program = draft.proto(), dict(draft.program)
    assert run(draft).fired == 1
    after = draft.proto()
    kinds = [node.op_type for node in after.graph.node]
    assert kinds.count("ReduceMean") == 1  # that of the difference, which the pass `mean` removes
    assert kinds.count("ConstantOfShape") == 1 + widths  # 1/4 four times; ones for each number of channels
    assert draft.program == program
    params = random_params(0, weight=(6, 4, 1, 1), other=(6, 4, 1, 1))
    image = np.float32(mean) + np.random.default_rng(1).standard_normal((1, 4, 5, 7), dtype=np.float32)
    expected = open_graph(before, program, params, image)
    # float32 has 7 digits, of which E[x²] − E[x]² loses (mean/σ)²: one for a mean of 3 σ
    np.testing.assert_allclose(
        open_graph(after, program, params, image), expected, rtol=0, atol=1e-5 * (1 + mean**2)
    )


def test_a_picture_of_one_colour_gives_numbers(
    draft_of: Any, norm: str, open_graph: Any, random_params: Any
) -> None:
    """The difference of the moments is then rounding, below zero for some values."""
    draft = draft_of(ALONE + norm + ONE)
    run(draft)
    params = random_params(0, weight=(6, 4, 1, 1))
    for value in (0.1, 7.3, 1000.1):
        image = np.full((1, 4, 3, 3), value, np.float32)
        assert np.isfinite(open_graph(draft.proto(), draft.program, params, image)).all()


@pytest.mark.parametrize(
    ("body", "reason"),
    [
        (
            "m = ReduceMean (input, space)\n c = Sub (input, m)\n q = Mul (c, c)\n v = ReduceMean (q, axes)\n"
            "s = Add (v, eps)\n t = Sqrt (s)\n [r] u = Reciprocal (t)\n n = Mul (c, u)\n output = Conv (n, weight)",
            "the mean is not that of the channels",
        ),
        (
            "{norm} [late] n = Sub (normal, rstd)\n output = Conv (n, weight)",
            "late does not multiply it with a picture of known channels",
        ),
    ],
)
def test_reasons_to_refuse(draft_of: Any, norm: str, body: str, reason: str) -> None:
    (refusal,) = run(draft_of(HEAD + body.replace("{norm}", norm) + "}")).refused
    assert refusal.reason == reason
