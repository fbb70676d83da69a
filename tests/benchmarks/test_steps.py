"""The step benchmark: both ways to train an adapter are the same function, and the command writes what it found."""

import json
from pathlib import Path

import pytest
from click.testing import CliRunner
from colora.benchmarks.steps import Training, activation_space, agreement, command, weight_space
from colora.benchmarks.tiny import Tiny


@pytest.mark.parametrize("layout", ["nafnet", "restormer"])
def test_activation_space_is_weight_space(tiny: Tiny, tmp_path: Path, layout: str) -> None:
    from colora.benchmarks.tiny import make_tiny
    from colora.train.allocations import uniform
    from colora.train.checkpoint import load_backbone

    file = tiny.backbone if layout == "nafnet" else make_tiny(tmp_path, backbone="restormer-tiny").backbone
    backbone = load_backbone(str(file))
    ranks = uniform(backbone.shapes, {}, sum(p.numel() for p in backbone.module.parameters()) // 2)
    one, other = (
        Training(f(backbone, ranks), (1, 3, 16, 16), False) for f in (weight_space, activation_space)
    )
    outputs, gradients = agreement(one, other)
    assert outputs < 1e-5 and gradients < 1e-4  # fp32 sums in another order; of gradients over 256 pixels
    with_change = one.model(one.degraded) - backbone.module(one.degraded)
    assert with_change.abs().max() > 100 * outputs  # or it would say nothing about the adapter


def test_command(tmp_path: Path) -> None:
    output = tmp_path / "steps.json"
    arguments = [
        "--tiny",
        "--patch",
        "8",
        "--batch",
        "1",
        "--rounds",
        "2",
        "--budget",
        "0.4",
        "-o",
        str(output),
    ]
    done = CliRunner().invoke(command, arguments, catch_exceptions=False)
    assert done.exit_code == 0 and "activation space" in done.output and "≤ 0.15" in done.output
    record = json.loads(output.read_text())
    full, weights, activations, bound = record["rows"]
    assert full["memory"] == full["speed"]["p50"] == 1 and bound["optimizer_bytes"] == 0
    assert weights["optimizer_bytes"] == activations["optimizer_bytes"] < 0.4 * full["optimizer_bytes"]
