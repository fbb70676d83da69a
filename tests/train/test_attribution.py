"""FAIG: completeness, against a reference written out by hand, and what it leaves alone."""

import pytest
import torch
from colora.devices.errors import ColoraError
from colora.train.attribution import along_path, faig
from colora.train.contribution import kind_of
from colora.train.nafnet import NAFNet, NAFNetConfig
from colora.train.restormer import Restormer, RestormerConfig
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


def test_every_parameter_is_scored_biases_norms_and_scales_too() -> None:
    torch.manual_seed(3)
    tiny = Restormer(RestormerConfig(dim=8, blocks=(1, 1, 1, 1), refinement_blocks=1))
    for model in (network(2), tiny):
        baseline = {name: p.detach().clone() for name, p in model.named_parameters()}
        found = faig(model, baseline, perturbed(model, 0.02), images(1), 2)
        assert found.contribution.keys() == baseline.keys()
        assert found.numbers == {name: p.numel() for name, p in baseline.items()}
        kinds = {kind_of(name) for name, score in found.contribution.items() if score > 0}
        assert kinds >= {"convolution", "norm", "scale"}
        assert ("bias" in kinds) == (model is not tiny)  # Restormer's convolutions have none


def test_every_kth_point_of_a_path_is_a_coarser_path() -> None:
    model = network(4)
    baseline = {name: p.detach().clone() for name, p in model.named_parameters()}
    target = perturbed(model, 0.02)
    fine, coarse = (list(along_path(model, baseline, target, images(1)[0], n)) for n in (6, 2))
    for a, b in zip(fine[::3], coarse, strict=True):
        assert all(torch.equal(a[name], b[name]) for name in baseline)


@pytest.mark.parametrize(("count", "steps"), [(0, 3), (1, 0)])
def test_nothing_to_attribute_on_is_refused(count: int, steps: int) -> None:
    model = network(0)
    weights = {name: p.detach() for name, p in model.named_parameters()}
    with pytest.raises(
        ColoraError, match=f"FAIG along {steps} points over {count} images: expected at least 1"
    ):
        faig(model, weights, weights, images(count), steps)
