"""FAIG: completeness, against a reference written out by hand, and what it leaves alone."""

import pytest
import torch
from colora.train.attribution import faig
from colora.train.nafnet import NAFNet, NAFNetConfig
from torch import Tensor, nn


def network(seed: int) -> NAFNet:
    torch.manual_seed(seed)
    model = NAFNet(NAFNetConfig(4, (1,), 1, (1,)))
    for parameter in model.parameters():  # beta and gamma start at zero and would hide the blocks
        nn.init.normal_(parameter, 0.0, 0.2)
    return model


def perturbed(model: nn.Module, size: float) -> dict[str, Tensor]:
    torch.manual_seed(9)
    return {name: p.detach() + size * torch.randn_like(p) for name, p in model.named_parameters()}


def images(count: int) -> list[tuple[Tensor, Tensor]]:
    torch.manual_seed(5)
    return [(torch.rand(1, 3, 8, 8), torch.rand(1, 3, 8, 8)) for _ in range(count)]


def test_signed_sum_tends_to_the_change_of_the_loss() -> None:
    model = network(0)
    baseline = {name: p.detach().clone() for name, p in model.named_parameters()}
    target = perturbed(model, 0.02)
    errors = []
    for steps in (10, 40):
        found = faig(model, baseline, target, images(2), steps)
        errors.append(abs(found.explained - found.change) / abs(found.change))
    # a left Riemann sum: the error falls as 1/N, and at N = 40 it is small beside the change itself
    assert errors[1] < 0.05
    assert errors[1] == pytest.approx(errors[0] / 4, rel=0.2)


def test_follows_the_official_discretisation() -> None:
    class Scale(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.w = nn.Parameter(torch.zeros(()))

        def forward(self, x: Tensor) -> Tensor:
            return self.w * x

    x, y = torch.ones(1, 3, 2, 2), torch.zeros(1, 3, 2, 2)
    # L = 12 w², dL/dw = 24 w; at w = 1, 0.75, 0.5, 0.25 its mean is 15, times (1 - 0)
    found = faig(Scale(), {"w": torch.tensor(0.0)}, {"w": torch.tensor(1.0)}, [(x, y)], steps=4)
    assert found.contribution["w"] == pytest.approx(15.0)
    assert (found.explained, found.change) == (pytest.approx(15.0), pytest.approx(12.0))


def test_a_parameter_that_did_not_change_contributes_nothing() -> None:
    model = network(1)
    baseline = {name: p.detach().clone() for name, p in model.named_parameters()}
    target = perturbed(model, 0.02) | {"intro.weight": baseline["intro.weight"]}
    found = faig(model, baseline, target, images(1), 3)
    assert found.contribution["intro.weight"] == 0.0
    assert all(value > 0 for name, value in found.contribution.items() if name != "intro.weight")
    for name, p in model.named_parameters():
        assert torch.equal(p, baseline[name])
