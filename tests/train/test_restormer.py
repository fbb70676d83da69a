from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest
import torch
from colora.train.restormer import Restormer, RestormerConfig

TINY = RestormerConfig(dim=8, blocks=(1, 2, 1, 1), refinement_blocks=1, heads=(1, 2, 2, 4))
SMALL = [
    pytest.param(TINY, id="deraining"),
    pytest.param(replace(TINY, norm="BiasFree"), id="colour denoising"),
    pytest.param(replace(TINY, norm="BiasFree", in_channels=1, out_channels=1), id="grey denoising"),
    pytest.param(replace(TINY, in_channels=6, dual_pixel=True), id="dual-pixel defocus"),
]


def random_restormer(config: RestormerConfig) -> Restormer:
    """Norms and temperatures away from one, so that leaving one out would show."""
    torch.manual_seed(0)
    model = Restormer(config).eval()
    for name, parameter in model.named_parameters():
        if "norm" in name or name.endswith("temperature"):
            parameter.data += 0.3 * torch.randn_like(parameter)
    return model


def padded(image: torch.Tensor) -> torch.Tensor:
    """The official padding: reflection at the right and at the bottom, to multiples of 8."""
    height, width = image.shape[-2:]
    return torch.nn.functional.pad(image, (0, -width % 8, 0, -height % 8), mode="reflect")


@pytest.mark.parametrize(
    ("norm", "count", "entries"), [("WithBias", 26_126_644, 494), ("BiasFree", 26_111_668, 406)]
)
def test_parameter_count_is_the_published_one(norm: Any, count: int, entries: int) -> None:
    with torch.device("meta"):
        model = Restormer(RestormerConfig(norm=norm))
    assert sum(p.numel() for p in model.parameters()) == count
    assert len(model.state_dict()) == entries


def test_names_are_the_official_ones() -> None:
    with torch.device("meta"):
        model = Restormer(RestormerConfig())
    tensors = model.state_dict()
    expected = (
        "patch_embed.proj.weight encoder_level2.1.norm1.body.bias latent.0.attn.temperature "
        "down1_2.body.0.weight reduce_chan_level3.weight refinement.0.ffn.project_out.weight output.weight"
    )
    assert set(expected.split()) < set(tensors)
    assert tensors["latent.0.ffn.dwconv.weight"].shape == (2 * 1021, 1, 3, 3)


@pytest.mark.parametrize("config", SMALL)
@torch.no_grad()
def test_loads_into_spandrel_and_gives_its_output(
    config: RestormerConfig, spandrel_load: Callable[[torch.nn.Module], Any]
) -> None:
    model = random_restormer(config)
    descriptor = spandrel_load(model)
    assert descriptor.architecture.id == "Restormer"
    assert descriptor.model.state_dict().keys() == model.state_dict().keys()
    model.load_state_dict(descriptor.model.state_dict(), strict=True)
    for height, width in [(32, 48), (33, 17), (9, 14)]:
        image = torch.rand(2, config.in_channels, height, width)
        restored = model(padded(image))
        # the same sums in another order: a few float32 roundings of values about 1
        torch.testing.assert_close(restored, descriptor.model(padded(image)), rtol=0, atol=1e-5)
        if not config.dual_pixel:  # whose random output lies outside [0, 1]
            cropped = restored[..., :height, :width].clamp(0, 1)
            torch.testing.assert_close(cropped, descriptor(image), rtol=0, atol=1e-5)


@pytest.mark.parametrize("config", SMALL)
def test_every_parameter_matters(config: RestormerConfig) -> None:
    """Else the comparison with spandrel could not see a wrong one."""
    model = random_restormer(config)
    model(torch.rand(1, config.in_channels, 32, 32)).square().sum().backward()
    idle = [name for name, p in model.named_parameters() if p.grad is None or p.grad.abs().max() == 0]
    assert idle == []


def test_strict_loading_refuses_the_other_norm() -> None:
    with pytest.raises(RuntimeError, match=r"norm1\.body\.bias"):
        Restormer(replace(TINY, norm="BiasFree")).load_state_dict(Restormer(TINY).state_dict(), strict=True)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"norm": "BatchNorm"}, r"norm is 'BatchNorm': expected 'WithBias' or 'BiasFree'"),
        ({"in_channels": 6}, r"in_channels is 6 and out_channels 3: expected the same number"),
        ({"heads": (1, 3, 4, 8)}, r"level 2 has 16 channels, 3 heads: expected a divisor"),
    ],
)
def test_impossible_layouts_are_refused(change: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        replace(TINY, **change)
