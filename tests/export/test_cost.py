"""Operations and bytes of graphs small enough to count by hand."""

from __future__ import annotations

from typing import Any

from colora.export.cost import Cost, cost


def test_a_convolution_and_a_gate(draft_of: Any) -> None:
    draft = draft_of(
        "g (float[1,4,h,w] input, float[6,4,1,1] weight, float[6] bias) => (float[1,3,h,w] output) {"
        "y = Conv (input, weight, bias)\n a, b = Split <axis=1, num_outputs=2> (y)\n output = Mul (a, b) }"
    )
    pixels = 10 * 8
    assert cost(draft.proto(), 10, 8) == Cost(
        nodes=3,
        kinds={"Conv": 1, "Split": 1, "Mul": 1},
        flops=pixels * (2 * 6 * 4 + 3),
        bytes=4 * (pixels * ((4 + 6) + (6 + 6) + (3 + 3 + 3)) + 24 + 6),
        unknown=0,
    )


def test_depthwise_reduction_views_and_what_is_not_known(draft_of: Any) -> None:
    draft = draft_of(
        "g (float[1,4,h,w] input, float[4,1,3,3] deep) => (float[1,4,1,1] output) "
        "<int64[2] space = {2, 3}, int64[4] same = {0, 0, 0, 0}> {"
        "y = Conv <group=4, pads=[1,1,1,1]> (input, deep)\n z = Reshape (y, same)\n"
        "output = ReduceMean <keepdims=1> (z, space)\n odd = NonZero (z) }"
    )
    found = cost(draft.proto(), 5, 5)
    assert found.flops == 2 * 9 * 4 * 25 + 4 * 25
    assert found.bytes == 4 * (100 + 36 + 100) + (400 + 2 * 8 + 4 * 4)
    assert (found.nodes, found.unknown) == (4, 1)


def test_every_operator_of_both_backbones_is_counted(bundle: Any, tiny: Any) -> None:
    """PyTorch's own counter knows convolutions and matrix products alone; what is more is element by element."""
    import torch
    from colora.export.compile import EXPLAINED
    from torch.utils.flop_counter import FlopCounterMode

    with FlopCounterMode(display=False) as counter, torch.no_grad():
        tiny.module(torch.zeros(1, 3, *EXPLAINED))
    compiled = bundle.compiled
    for found in (compiled.before, compiled.after):
        assert found.unknown == 0
        assert counter.get_total_flops() < found.flops < 1.8 * counter.get_total_flops()
    assert compiled.after.bytes < compiled.before.bytes
