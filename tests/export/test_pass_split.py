"""SimpleGate without Split: one convolution, a chain with a depthwise one, and the reasons to refuse."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from colora.export.pass_split import run
from colora.runtime.program import Step

WEIGHTS = {"weight": (6, 4, 1, 1), "bias": (6,), "deep": (6, 1, 3, 3), "deep_bias": (6,), "vector": (6,)}
HEAD = """gate (float[1,4,h,w] input, float[6,4,1,1] weight, float[6] bias, float[6,1,3,3] deep, float[6] deep_bias,
float[1,6,1,1] vector) => (float[1,3,h,w] output) <int64[1] axes = {1}, int64[2] uneven = {2, 4}> {"""
CONV = "[conv] y = Conv (input, weight, bias)\n"
DEPTHWISE = "[depthwise] z = Conv <group=6, pads=[1,1,1,1]> (y, deep, deep_bias)\n"
GATE = "[split] a, b = Split <axis=1, num_outputs=2> ({})\n output = Mul (a, b)\n"


@pytest.mark.parametrize(
    ("body", "kinds"),
    [
        (CONV + GATE.format("y"), ["Conv", "Conv", "Mul"]),
        (CONV + DEPTHWISE + GATE.format("z"), ["Conv"] * 4 + ["Mul"]),
        (
            CONV
            + "m = ReduceMean (input, axes)\n s = Mul (m, y)\n t = Add (s, vector)\n"
            + DEPTHWISE.replace("(y", "(t")
            + GATE.format("z"),
            ["ReduceMean", *(["Conv", "Mul", "Add", "Conv"] * 2), "Mul"],
        ),
    ],
    ids=["one", "depthwise", "norm between"],
)
def test_the_same_numbers_without_split(
    draft_of: Any, open_graph: Any, random_params: Any, body: str, kinds: list[str]
) -> None:
    draft = draft_of(HEAD + body + "}")
    draft.sweep()
    before, program_before = draft.proto(), dict(draft.program)
    outcome = run(draft)
    assert (outcome.fired, outcome.refused) == (1, ())
    after = draft.proto()
    assert [node.op_type for node in after.graph.node] == kinds
    assert draft.program["weight.1"] == (Step("param", ("weight",)), Step("slice_out", (3, 6)))
    assert draft.shapes["weight.0"] == (3, 4, 1, 1) and "weight" not in draft.program
    params = random_params(0, **WEIGHTS)
    image = np.random.default_rng(1).standard_normal((1, 4, 5, 7), dtype=np.float32)
    expected = open_graph(before, program_before, params, image)
    # the same sums, perhaps by another kernel
    np.testing.assert_allclose(
        open_graph(after, draft.program, params, image), expected, rtol=1e-5, atol=1e-6
    )


def test_parts_that_are_outputs_of_the_graph_keep_their_names(draft_of: Any) -> None:
    text = HEAD.replace("float[1,3,h,w] output", "float[1,3,h,w] a, float[1,3,h,w] b")
    draft = draft_of(text + CONV + GATE.format("y").splitlines()[0] + "}")
    assert run(draft).fired == 1
    assert [value.name for value in draft.proto().graph.output] == ["a", "b"]


@pytest.mark.parametrize(
    ("body", "reason"),
    [
        (CONV + "r = Relu (y)\n" + GATE.format("r"), "it comes from Relu, not from a convolution"),
        (CONV + GATE.format("y").replace("axis=1", "axis=2"), "it splits axis 2, not the channels"),
        (
            CONV + GATE.format("y, uneven").replace(", num_outputs=2", ""),
            "its parts are not equal",
        ),
        (CONV + GATE.format("y").replace("Mul (a, b)", "Sum (a, y)"), "y is read by Sum too"),
        (
            CONV + DEPTHWISE.replace("group=6", "group=2").replace("deep,", "grouped,") + GATE.format("z"),
            "depthwise has 2 groups",
        ),
        (
            CONV + "s = Mul (y, one)\n" + GATE.format("s"),
            "one is of 1 channels, what is split of 6",
        ),
        (CONV + "[q] q = Mul (y, y)\n" + GATE.format("q"), "q is a Mul of two pictures"),
    ],
)
def test_reasons_to_refuse(draft_of: Any, body: str, reason: str) -> None:
    text = HEAD.replace("float[1,6,1,1] vector", "float[6,3,3,3] grouped, float[1,1,1,1] one")
    (refusal,) = run(draft_of(text + body + "}")).refused
    assert (refusal.node, refusal.reason) == ("split", reason)
