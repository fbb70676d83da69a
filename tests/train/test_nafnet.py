from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
from colora.train.nafnet import NAFNet, NAFNetConfig

SMALL = [
    NAFNetConfig(width=8, enc_blocks=(1, 2), middle_blocks=1, dec_blocks=(2, 1)),
    NAFNetConfig(width=6, enc_blocks=(1, 1, 1, 1), middle_blocks=2, dec_blocks=(1, 1, 1, 1)),
    NAFNetConfig(width=4, enc_blocks=(1,), middle_blocks=1, dec_blocks=(1,), in_channels=1),
]


def random_nafnet(config: NAFNetConfig) -> NAFNet:
    """Norms away from the identity, beta and gamma away from zero: else the blocks would not show."""
    torch.manual_seed(0)
    model = NAFNet(config).eval()
    for name, parameter in model.named_parameters():
        if "norm" in name or name.endswith(("beta", "gamma")):
            parameter.data += 0.3 * torch.randn_like(parameter)
    return model


def padded(image: torch.Tensor, multiple_of: int) -> torch.Tensor:
    """The official padding: zeros at the right and at the bottom."""
    height, width = image.shape[-2:]
    return torch.nn.functional.pad(image, (0, -width % multiple_of, 0, -height % multiple_of))


@pytest.mark.parametrize(
    ("config", "count"),
    [
        (NAFNetConfig(32, (2, 2, 4, 8), 12, (2, 2, 2, 2)), 29_159_715),  # SIDD
        (NAFNetConfig(32, (1, 1, 1, 28), 1, (1, 1, 1, 1)), 17_111_907),  # GoPro
    ],
)
def test_parameter_count_is_the_published_one(config: NAFNetConfig, count: int) -> None:
    with torch.device("meta"):
        model = NAFNet(config)
    assert sum(p.numel() for p in model.parameters()) == count
    assert len(model.state_dict()) == 664  # 36 blocks in either layout


def test_names_are_the_official_ones() -> None:
    keys = NAFNet(SMALL[0]).state_dict().keys()
    expected = "intro.weight encoders.1.1.sca.1.bias downs.0.weight middle_blks.0.beta ups.1.0.weight"
    assert set(expected.split()) < set(keys)


@pytest.mark.parametrize("config", SMALL)
@torch.no_grad()
def test_loads_into_spandrel_and_gives_its_output(
    config: NAFNetConfig, spandrel_load: Callable[[torch.nn.Module], Any]
) -> None:
    model = random_nafnet(config)
    reference = spandrel_load(model).model.eval()
    assert type(reference).__module__.startswith("spandrel.architectures.NAFNet.")
    assert reference.state_dict().keys() == model.state_dict().keys()
    model.load_state_dict(reference.state_dict(), strict=True)
    for height, width in [(32, 48), (33, 17), (1, 1), (7, 50)]:
        image = torch.rand(2, config.in_channels, height, width)
        restored = model(padded(image, config.multiple_of))[..., :height, :width]
        # the same sums in another order: a few float32 roundings of values about 1
        torch.testing.assert_close(restored, reference(image), rtol=0, atol=1e-5)


@pytest.mark.parametrize("config", SMALL)
def test_every_parameter_matters(config: NAFNetConfig) -> None:
    """Else the comparison with spandrel could not see a wrong one."""
    model = random_nafnet(config)
    model(torch.rand(1, config.in_channels, 32, 32)).square().sum().backward()
    idle = [name for name, p in model.named_parameters() if p.grad is None or p.grad.abs().max() == 0]
    assert idle == []


def test_strict_loading_refuses_another_layout() -> None:
    with pytest.raises(RuntimeError, match=r"encoders\.1\.1\.beta"):
        NAFNet(SMALL[1]).load_state_dict(NAFNet(SMALL[0]).state_dict(), strict=True)


def test_stages_must_agree() -> None:
    with pytest.raises(ValueError, match=r"enc_blocks has 2 stages and dec_blocks 1"):
        NAFNetConfig(enc_blocks=(1, 1), dec_blocks=(1,))
