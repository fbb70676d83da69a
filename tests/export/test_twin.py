"""The twin computes what the network computes, from graph tensors that the weight program makes."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from colora.export.twin import make_twin
from colora.runtime.program import Step, operands, run_steps
from colora.train.checkpoint import arrays
from colora.train.nafnet import NAFNet, NAFNetConfig
from colora.train.restormer import Restormer, RestormerConfig
from torch import nn

NETWORKS = {
    "nafnet": lambda: NAFNet(NAFNetConfig(8, (1, 2), 1, (2, 1))),
    "with-bias": lambda: Restormer(RestormerConfig(8, (1, 1, 1, 1), 1)),
    "bias-free": lambda: Restormer(RestormerConfig(8, (1, 1, 1, 1), 1, norm="BiasFree")),
}


@pytest.fixture(params=NETWORKS)
def network(request: pytest.FixtureRequest) -> nn.Module:
    torch.manual_seed(0)
    network: nn.Module = NETWORKS[request.param]().eval()
    for name, parameter in network.named_parameters():
        if "norm" in name or name.endswith(("beta", "gamma", "temperature")):
            parameter.data += 0.2 * torch.randn_like(parameter)
    return network


@torch.no_grad()
def test_twin_with_the_program_s_tensors_computes_what_the_network_computes(network: nn.Module) -> None:
    twin = make_twin(network)
    weights = arrays(network)
    tensors = {name: run_steps(name, steps, weights.__getitem__) for name, steps in twin.program.items()}
    twin.module.load_state_dict({name: torch.tensor(tensor) for name, tensor in tensors.items()})
    image = torch.rand(1, 3, 16, 24)
    # the same float32 sums, but the scales are multiplied in earlier: outputs of about 1 differ in the 6th digit
    torch.testing.assert_close(twin.module(image), network(image), rtol=1e-5, atol=1e-5)


def test_program_reads_every_parameter_and_makes_every_tensor(network: nn.Module) -> None:
    twin = make_twin(network)
    read = {name for steps in twin.program.values() for name in operands(steps)}
    assert read == {name for name, _ in network.named_parameters()}
    assert list(twin.program) == list(twin.module.state_dict())


def test_scales_norms_and_temperature_have_the_documented_steps() -> None:
    program = make_twin(NETWORKS["nafnet"]()).program
    block = "encoders.1.0"
    assert program[f"{block}.conv5.bias"] == (
        Step("param", (f"{block}.conv5.bias",)),
        Step("scale_out", (f"{block}.gamma",)),
    )
    assert program[f"{block}.norm1.bias"] == (
        Step("param", (f"{block}.norm1.bias",)),
        Step("reshape", (1, 16, 1, 1)),
    )
    assert not any(name.endswith(("beta", "gamma")) for name in program)
    temperature = make_twin(NETWORKS["with-bias"]()).program["latent.0.attn.temperature"]
    assert temperature == (Step("param", ("latent.0.attn.temperature",)), Step("reshape", (8, 1)))


def test_source_network_is_left_as_it_was(network: nn.Module) -> None:
    before: dict[str, Any] = {name: tensor.clone() for name, tensor in network.state_dict().items()}
    for parameter in make_twin(network).module.parameters():
        parameter.data.fill_(7)
    assert {name: tensor.tolist() for name, tensor in network.state_dict().items()} == {
        name: tensor.tolist() for name, tensor in before.items()
    }
