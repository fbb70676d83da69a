"""Adapters in weight space: identity at the start, merge bit-equal and traceless, the file carries them unchanged."""

from pathlib import Path

import pytest
import torch
from colora.devices.errors import CheckpointError
from colora.runtime.adapter import Adapter, read_adapter, write_adapter
from colora.runtime.golden import golden_input
from colora.runtime.weights import weights_sha256
from colora.train.backbones import BACKBONES
from colora.train.checkpoint import Checkpoint, arrays
from colora.train.methods import attach, collect, merged
from colora.train.ranks import allocate
from torch import nn


@pytest.fixture(params=["nafnet-tiny", "restormer-tiny"])
def backbone(request: pytest.FixtureRequest) -> Checkpoint:
    torch.manual_seed(0)
    spec = BACKBONES[request.param]
    module = spec.build().eval()
    for parameter in module.parameters():
        nn.init.normal_(parameter, 0.0, 0.15)
    return Checkpoint(spec, module, weights_sha256(arrays(module)))


def adapted(backbone: Checkpoint) -> nn.Module:
    """An attached copy with random, non-zero deltas."""
    shapes = {name: tuple(p.shape) for name, p in backbone.module.named_parameters()}
    total = sum(p.numel() for p in backbone.module.parameters())
    scores = {name: float(i % 5) for i, name in enumerate(shapes)}
    model = merged(backbone, {})
    attach(model, allocate(shapes, scores, total // 2).ranks, scores, seed=1)
    return model


def randomise(model: nn.Module) -> None:
    for parameter in model.parameters():
        if parameter.requires_grad:
            nn.init.normal_(parameter, 0.0, 0.1)


def image() -> torch.Tensor:
    return torch.from_numpy(golden_input())


def test_is_the_backbone_at_the_start_and_trains_only_deltas(backbone: Checkpoint) -> None:
    model = adapted(backbone)
    with torch.no_grad():
        assert torch.equal(model(image()), backbone.module(image()))
    model(image()).square().mean().backward()
    for name, parameter in model.named_parameters():
        assert parameter.requires_grad == (".tensors." in name)
    assert any(p.grad is not None and p.grad.abs().max() > 0 for p in model.parameters())


def test_merged_equals_attached_bit_by_bit_and_is_plain(backbone: Checkpoint, tmp_path: Path) -> None:
    model = adapted(backbone)
    randomise(model)
    plain = merged(backbone, collect(model))
    with torch.no_grad():
        output = model(image())
        assert torch.equal(plain(image()), output)
        assert not torch.equal(plain(image()), backbone.module(image()))
    assert plain.state_dict().keys() == backbone.module.state_dict().keys()
    assert {type(m) for m in plain.modules()} == {type(m) for m in backbone.module.modules()}
    assert weights_sha256(arrays(backbone.module)) == backbone.sha256  # the original is untouched

    adapter = Adapter("rain", "colora", backbone.sha256, collect(model), output.numpy())
    write_adapter(tmp_path / "rain.safetensors", adapter)
    again = merged(backbone, read_adapter(tmp_path / "rain.safetensors", backbone.sha256).params)
    with torch.no_grad():
        assert torch.equal(again(image()), output)


def test_refuses_a_second_adapter_and_foreign_names(backbone: Checkpoint) -> None:
    model = adapted(backbone)
    with pytest.raises(CheckpointError, match="carries an adapter already: attach to a fresh backbone"):
        attach(model, {}, {}, 0)
    with pytest.raises(
        CheckpointError, match=r"name 1 parameters that the backbone lacks, first 'nothing\.weight'"
    ):
        attach(merged(backbone, {}), {"nothing.weight": 1}, {}, 0)
