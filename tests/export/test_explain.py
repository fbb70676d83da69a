"""What `--explain` prints: passes, refusals, costs, in aligned columns."""

from __future__ import annotations

import io

import pytest
from colora.export.cost import Cost
from colora.export.draft import Outcome, Refusal
from colora.export.explain import explain
from rich.console import Console


def printed(outcomes: dict[str, Outcome], before: Cost, after: Cost) -> list[str]:
    text = io.StringIO()
    explain(Console(file=text, width=200, soft_wrap=True), outcomes, before, after, (256, 512))
    return [" ".join(line.split()) for line in text.getvalue().splitlines()]


def test_fired_refused_and_costs() -> None:
    refused = tuple(Refusal(f"conv{i}", "its kernel is 3×3, not 1×1") for i in range(5))
    outcomes = {"affine": Outcome(2, refused), "split": Outcome(0, (Refusal("s", "it splits axis 2"),))}
    before = Cost(20, {"Mul": 12, "Conv": 8}, 2_000, 10_000, 0)
    after = Cost(10, {"Conv": 8, "Mul": 1, "Add": 1}, 1_900, 6_000, 1)
    lines = printed(outcomes, before, after)
    assert "affine 2 5 a norm's weight and bias → the 1×1 convolution behind it" in lines
    assert "onnxsim not run the public simplifier" in lines
    assert "affine 5 its kernel is 3×3, not 1×1 conv0, conv1, conv2 and 2 more" in lines
    assert "split 1 it splits axis 2 s" in lines
    assert "at 256×512 exporter bundle ratio" in lines
    assert "bytes moved 10,000 6,000 0.60" in lines
    assert "Mul 12 1 0.08" in lines and "Add 0 1 new" in lines
    assert not any(line.startswith("Conv ") for line in lines)  # as many as before
    assert "of unknown shape, and left out: 0 operators before, 1 after" in lines


def test_nothing_refused_is_no_table() -> None:
    same = Cost(1, {"Conv": 1}, 1, 1, 0)
    lines = printed({"affine": Outcome(1)}, same, same)
    assert not any("refused by" in line or "unknown" in line for line in lines)


@pytest.mark.parametrize("affine", [True, False])
def test_a_pass_that_finds_nothing_says_so(affine: bool) -> None:
    same = Cost(1, {"Conv": 1}, 1, 1, 0)
    lines = printed({**({"affine": Outcome(1)} if affine else {}), "mean": Outcome(0)}, same, same)
    nothing = "mean 0 nothing of its form in this graph"
    assert (nothing if affine else f"{nothing}: it works on what affine leaves, which was not run") in lines
