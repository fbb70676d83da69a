"""The precision table: what is amplified stays the same function, and rows say what they are."""

from __future__ import annotations

import numpy as np
import pytest
from colora.benchmarks.amplified import amplified
from colora.benchmarks.precision_table import HEADER, Row, cells, worst


@pytest.mark.parametrize("name", ["nafnet-tiny", "restormer-tiny"])
def test_amplified_network_is_the_same_function(name: str) -> None:
    import torch
    from colora.export.parity import run_module
    from colora.runtime.golden import golden_input
    from colora.train.backbones import find_backbone
    from colora.train.checkpoint import arrays

    torch.manual_seed(0)
    module = find_backbone(name).build().eval()
    for parameter in module.parameters():
        parameter.data += 0.1 * torch.randn_like(parameter)
    weights = arrays(module)
    weights = amplified(weights, 64.0)  # so that ε does not count beside variances of 0.01 any more
    large = amplified(weights, 256.0)
    changed = {n for n in weights if not np.array_equal(weights[n], large[n])}
    assert 4 < len(changed) < len(weights) / 2
    before, after = (run_module(module, w, golden_input()) for w in (weights, large))
    # powers of two scale exactly, and so do float32's sums of them, but for what is left of ε
    np.testing.assert_allclose(after, before, rtol=0, atol=1e-4 * np.abs(before).max())


ROW = Row(
    "rain",
    "int8",
    "rain100h, 8",
    6_450_000,
    48.871,
    25.47,
    -0.031,
    0.155,
    None,
    ("ending",),
    "integer kernels",
)


def test_cells_are_in_the_order_of_the_header() -> None:
    assert dict(zip(HEADER, cells(ROW), strict=True)) == {
        "task": "rain",
        "form": "int8",
        "pictures": "rain100h, 8",
        "MB": "6.45",
        "PSNR dB": "48.87",
        "clean dB": "25.47",
        "change dB": "-0.0310",
        "lost/allowed": "0.155",
        "infinite": "–",
        "left in fp32": "1: ending",
        "by": "integer kernels",
    }


def test_result_that_is_not_finite_is_called_so() -> None:
    from dataclasses import replace

    assert cells(replace(ROW, psnr_db=None, infinite=36))[4:9:4] == ("not finite", "36")


def test_worst_row_is_said_in_parts_of_what_is_allowed() -> None:
    from dataclasses import replace

    rows = [ROW, replace(ROW, task="noise", change_db=-0.25, lost_of_allowed=1.25), replace(ROW, form="fp32")]
    assert worst(rows) == [
        "int8: 1 of 2 within what is allowed; at worst noise on rain100h, 8: -0.2500 dB, 1.25 of it"
    ]
