"""Adapters in weight space: identity at the start, merge bit-equal and traceless, the file carries them unchanged."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from colora.devices.errors import CheckpointError
from colora.runtime.adapter import Adapter, ParamDelta, read_adapter, write_adapter
from colora.runtime.golden import golden_input
from colora.runtime.weights import weights_sha256
from colora.train.backbones import BACKBONES
from colora.train.checkpoint import Checkpoint, arrays
from colora.train.methods import attach, collect, load, merged
from colora.train.ranks import allocate, allocation_of
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


def test_goes_on_from_what_another_adapter_stores(backbone: Checkpoint) -> None:
    model = adapted(backbone)
    randomise(model)
    params = {name: replace(p, scale=0.5) for name, p in collect(model).items()}
    found = allocation_of(params)
    assert found.stored == sum(t.size for p in params.values() for t in p.tensors.values())
    again = merged(backbone, {})
    attach(again, found.ranks, found.contribution, seed=2)
    load(again, params)
    with torch.no_grad():
        assert torch.equal(again(image()), merged(backbone, params)(image()))
    told, given = (
        {n: (p.kind, p.scale, p.rank, p.contribution) for n, p in q.items()} for q in (collect(again), params)
    )
    assert told == given
    assert all(p.requires_grad == (".tensors." in name) for name, p in again.named_parameters())


def test_refuses_to_go_on_from_what_does_not_fit(backbone: Checkpoint) -> None:
    model = adapted(backbone)
    params = collect(model)
    first, last = min(params), max(params)
    with pytest.raises(CheckpointError, match=f"expected the same, '{first}' is on one side only"):
        load(model, {name: p for name, p in params.items() if name != first})
    size = tuple(params[last].shape)
    other = ParamDelta("dense", (*size, 1), {"delta": np.zeros((*size, 1), np.float32)})
    with pytest.raises(
        CheckpointError, match=f"the change of {last} is .*1\\), 0\\); expected .* to train it"
    ):
        load(model, params | {last: other})
