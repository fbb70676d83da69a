"""The mean goes into the kernel, also where it is large; and the reasons why it does not."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from colora.export.pass_mean import run
from colora.runtime.program import Step

HEAD = """block (float[1,4,h,w] input, float[6,4,1,1] weight, float[6,4,3,3] wide)
=> (float[1,6,h,w] output) <int64[1] axes = {1}, int64[2] space = {2, 3}, float eps = {1e-6}> {"""
BEHIND = """
  y = Conv (centred, weight)
  output = Mul (y, rstd)
}"""
BEFORE = "output = Conv (normal, weight) }"


@pytest.mark.parametrize("mean", [0.0, 100.0])
@pytest.mark.parametrize(("factor", "reads"), [(BEHIND, "input"), (BEFORE, "normal")])
def test_the_convolution_reads_the_picture_itself(
    draft_of: Any, norm: str, open_graph: Any, random_params: Any, mean: float, factor: str, reads: str
) -> None:
    draft = draft_of(HEAD + norm + factor)
    before, program_before = draft.proto(), dict(draft.program)
    assert run(draft).fired == 1
    after = draft.proto()
    (conv,) = [node for node in after.graph.node if node.op_type == "Conv"]
    assert list(conv.input) == [reads, "weight"]
    (product,) = [node for node in after.graph.node if node.op_type == "Mul" and "rstd" in node.input]
    assert "centred" not in product.input
    assert draft.program["weight"] == (Step("param", ("weight",)), Step("center_in"))
    params = random_params(0, weight=(6, 4, 1, 1), wide=(6, 4, 3, 3))
    image = np.float32(mean) + np.random.default_rng(1).standard_normal((1, 4, 5, 7), dtype=np.float32)
    expected = open_graph(before, program_before, params, image)
    # float32 has 7 digits; a mean of 100 σ costs two of them in either form. E[x²] − mean² would cost four.
    np.testing.assert_allclose(
        open_graph(after, draft.program, params, image), expected, rtol=0, atol=1e-5 * max(1.0, mean)
    )


@pytest.mark.parametrize(
    ("body", "reason"),
    [
        ("[conv] output = Conv <pads=[1,1,1,1]> (centred, wide)", "its kernel is 3×3, not 1×1"),
        (
            "m = ReduceMean (input, space)\n d = Sub (input, m)\n [conv] output = Conv (d, weight)",
            "the mean is not that of the channels",
        ),
        (
            "[conv] y = Conv (normal, weight)\n [late] z = Relu (normal)\n output = Add (y, z)",
            "the product is read by late too",
        ),
    ],
)
def test_reasons_to_refuse(draft_of: Any, norm: str, body: str, reason: str) -> None:
    (refusal,) = run(draft_of(HEAD + norm + body + "}")).refused
    assert (refusal.node, refusal.reason) == ("conv", reason)


def test_a_kernel_of_another_shape_by_now_is_left(draft_of: Any, norm: str) -> None:
    draft = draft_of(HEAD + norm + BEHIND)
    draft.program["weight"] += (Step("reshape", (6, 4, 1, 1)),)
    (refusal,) = run(draft).refused
    assert refusal.reason == "weight has been through reshape"
