"""Published checkpoints: every layout gives what spandrel's network gives, and what doesn't fit is refused by name."""

from __future__ import annotations

import importlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from click.testing import CliRunner
from colora.devices.errors import CheckpointError, UnknownName
from colora.export.plan import make_plan
from colora.runtime.adapter import Adapter, ParamDelta, write_adapter
from colora.runtime.cli import main
from colora.runtime.golden import golden_input
from colora.train.adapt import adapt
from colora.train.adapt_config import AdaptConfig
from colora.train.checkpoint import arrays, load_backbone
from colora.train.examples import Examples
from colora.train.fit import FitConfig
from colora.train.import_checkpoint import import_checkpoint
from colora.train.nafnet import NAFNet, NAFNetConfig
from colora.train.published import READERS
from colora.train.restormer import Restormer, RestormerConfig
from torch import Tensor, nn

Build = Callable[[str, dict[str, Any]], nn.Module]

SIDD: dict[str, Any] = {"enc_blk_nums": [2, 2, 4, 8], "middle_blk_num": 12, "dec_blk_nums": [2, 2, 2, 2]}
GOPRO: dict[str, Any] = {"enc_blk_nums": [1, 1, 1, 28], "middle_blk_num": 1, "dec_blk_nums": [1, 1, 1, 1]}
BIAS_FREE: dict[str, Any] = {"LayerNorm_type": "BiasFree"}
GREY: dict[str, Any] = {"inp_channels": 1, "out_channels": 1}
DUAL_PIXEL: dict[str, Any] = {"inp_channels": 6, "dual_pixel_task": True}

PUBLISHED = [
    ("nafnet", {"width": 32, **SIDD}, NAFNetConfig(32, (2, 2, 4, 8), 12, (2, 2, 2, 2))),
    ("nafnet", {"width": 64, **SIDD}, NAFNetConfig(64, (2, 2, 4, 8), 12, (2, 2, 2, 2))),
    ("nafnet", {"width": 32, **GOPRO}, NAFNetConfig(32, (1, 1, 1, 28), 1, (1, 1, 1, 1))),
    ("nafnet", {"width": 64, **GOPRO}, NAFNetConfig(64, (1, 1, 1, 28), 1, (1, 1, 1, 1))),  # REDS too
    ("restormer", {}, RestormerConfig()),  # deraining, motion deblurring, defocus deblurring
    ("restormer", BIAS_FREE, RestormerConfig(norm="BiasFree")),  # real and colour denoising
    ("restormer", BIAS_FREE | GREY, RestormerConfig(norm="BiasFree", in_channels=1, out_channels=1)),
    ("restormer", DUAL_PIXEL, RestormerConfig(in_channels=6, dual_pixel=True)),
]
"""architecture, arguments of the official network's class as in the official options, our config: at full size"""

SMALL_SIDD: dict[str, Any] = {"enc_blk_nums": [1, 1, 1, 2], "middle_blk_num": 2, "dec_blk_nums": [1, 2, 1, 1]}
SMALL_GOPRO: dict[str, Any] = {
    "enc_blk_nums": [1, 1, 1, 3],
    "middle_blk_num": 1,
    "dec_blk_nums": [1, 1, 1, 1],
}
EMPTY_STAGES: dict[str, Any] = {"enc_blk_nums": [0, 1], "middle_blk_num": 0, "dec_blk_nums": [1, 0]}
SMALL: dict[str, Any] = {"dim": 8, "num_blocks": [1, 2, 1, 2], "num_refinement_blocks": 1}

SCALED_DOWN = [
    pytest.param("nafnet", {"width": 4, **SMALL_SIDD}, id="SIDD-width32"),
    pytest.param("nafnet", {"width": 6, **SMALL_SIDD}, id="SIDD-width64"),
    pytest.param("nafnet", {"width": 4, **SMALL_GOPRO}, id="GoPro-width32"),
    pytest.param("nafnet", {"width": 6, **SMALL_GOPRO}, id="GoPro-REDS-width64"),
    pytest.param("nafnet", {"width": 4, **SMALL_SIDD, "img_channel": 1}, id="grey"),
    pytest.param("nafnet", {"width": 4, **EMPTY_STAGES}, id="stages without blocks"),
    pytest.param("restormer", SMALL, id="deraining-deblurring"),
    pytest.param("restormer", SMALL | BIAS_FREE, id="colour-denoising"),
    pytest.param("restormer", SMALL | BIAS_FREE | GREY, id="grey-denoising"),
    pytest.param("restormer", SMALL | DUAL_PIXEL, id="dual-pixel-defocus"),
    pytest.param("restormer", SMALL | {"ffn_expansion_factor": 2.0, "heads": [1, 1, 2, 4]}, id="other-sizes"),
]

WRAPPINGS: dict[str, Callable[[dict[str, Tensor]], dict[str, Any]]] = {
    "plain": lambda state: dict(state),
    "params": lambda state: {"params": state},
    "params_ema": lambda state: {"params": {n: t + 1 for n, t in state.items()}, "params_ema": state},
    "state_dict": lambda state: {"state_dict": state, "epoch": 3},
    "module": lambda state: {"params": {f"module.{name}": tensor for name, tensor in state.items()}},
}


@pytest.fixture(scope="module")
def build(spandrel_load: object) -> Build:
    """A network of spandrel's class with random weights, norms and residual scales away from the identity."""
    classes = {
        "nafnet": importlib.import_module("spandrel.architectures.NAFNet").NAFNet,
        "restormer": importlib.import_module("spandrel_extra_arches.architectures.Restormer").Restormer,
    }

    def make(architecture: str, arguments: dict[str, Any]) -> nn.Module:
        torch.manual_seed(0)
        network: nn.Module = classes[architecture](**arguments).eval()
        for name, parameter in network.named_parameters():
            if "norm" in name or name.endswith(("beta", "gamma", "temperature")):
                parameter.data += 0.3 * torch.randn_like(parameter)
        return network

    return make


def tiny_state(seed: int = 0) -> dict[str, Tensor]:
    torch.manual_seed(seed)
    return dict(NAFNet(NAFNetConfig(4, (1, 2), 1, (1, 1))).state_dict())


def saved(folder: Path, content: object, name: str = "published.pth") -> Path:
    torch.save(content, folder / name)
    return folder / name


@pytest.mark.parametrize(("architecture", "arguments", "config"), PUBLISHED)
def test_published_layouts_are_read_from_their_shapes(
    build: Build, architecture: str, arguments: dict[str, Any], config: object
) -> None:
    with torch.device("meta"):
        network = build(architecture, arguments)
    assert READERS[architecture]({n: tuple(t.shape) for n, t in network.state_dict().items()}) == config


@pytest.mark.parametrize(("architecture", "arguments"), SCALED_DOWN)
@torch.no_grad()
def test_imported_network_gives_spandrels_output(
    build: Build, tmp_path: Path, architecture: str, arguments: dict[str, Any]
) -> None:
    reference = build(architecture, arguments)
    source = saved(tmp_path, {"params": reference.state_dict()})
    imported = import_checkpoint(architecture, source, tmp_path / "backbone.safetensors")
    found = load_backbone(str(tmp_path / "backbone.safetensors"))
    assert found.backbone == imported.backbone and found.sha256 == imported.sha256
    image = torch.rand(2, found.backbone.channels[0], 32, 48)  # whole multiples of 16: no padding
    # the same sums in another order: a few float32 roundings of values about 1
    torch.testing.assert_close(found.module(image), reference(image), rtol=0, atol=1e-5)


@pytest.mark.parametrize("wrapping", WRAPPINGS)
def test_every_wrapping_gives_the_same_weights(tmp_path: Path, wrapping: str) -> None:
    state = tiny_state()
    source = saved(tmp_path, WRAPPINGS[wrapping](state))
    weights = arrays(import_checkpoint("nafnet", source, tmp_path / "b.safetensors").module)
    assert weights.keys() == state.keys()
    assert all((weights[name] == tensor.numpy()).all() for name, tensor in state.items())


def test_layout_of_an_entry_gets_its_name_and_tile_any_other_that_of_the_file(tmp_path: Path) -> None:
    entry = NAFNet(NAFNetConfig(8, (1, 1), 1, (1, 1)))
    out = tmp_path / "b.safetensors"
    import_checkpoint("nafnet", saved(tmp_path, {"params": entry.state_dict()}), out)
    assert (load_backbone(str(out)).backbone.name, load_backbone(str(out)).backbone.tile.size) == (
        "nafnet-tiny",
        64,
    )
    for name in ("My-NAFNet.pth", "nafnet-tiny.pth"):  # the second: an entry's name, but not its layout
        import_checkpoint("nafnet", saved(tmp_path, {"params": tiny_state()}, name), out)
        backbone = load_backbone(str(out)).backbone
        assert (backbone.name, backbone.config) == (Path(name).stem, NAFNetConfig(4, (1, 2), 1, (1, 1)))
        assert backbone.tile.size == 512


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"middle_blks.0.beta": None}, r"1 parameters don't fit .*'middle_blks\.0\.beta': got nothing, exp"),
        ({"intro.bias": None}, r"'intro\.bias': got nothing, expected \(4,\)"),
        ({"extra.weight": torch.ones(3)}, r"'extra\.weight': got \(3,\), expected nothing"),
        ({"ending.bias": torch.ones(5)}, r"'ending\.bias': got \(5,\), expected \(3,\)"),
        ({"encoders.0.9.beta": torch.ones(1, 4, 1, 1)}, r"'encoders\.0\.1\.beta': got nothing"),
        ({"intro.weight": None}, r"no layout of a nafnet: 'intro\.weight' is missing"),
        ({"intro.weight": torch.ones(4)}, r"'intro\.weight' has shape \(4,\), expected at least 2 axes"),
        ({"decoders.7.0.beta": torch.ones(1)}, r"'decoders\.7\.0\.beta': got \(1,\), expected nothing"),
        ({"ups.7.0.weight": torch.ones(1)}, r"enc_blocks has 2 stages and dec_blocks 3"),
        ({"intro.bias": torch.full((4,), float("nan"))}, r"'intro\.bias' holds numbers that are not finite"),
        ({"intro.bias": torch.ones(4, dtype=torch.int64)}, r"'intro\.bias' is torch\.int64, expected float"),
        ({"module.intro.bias": torch.ones(4)}, r"'intro\.bias' is there twice, with and without 'module\.'"),
        ({"intro.bias": torch.ones(1).expand(10**9)}, r"claim 4,\d+,\d+,\d+ bytes, the file has"),
    ],
)
def test_what_does_not_fit_is_refused_by_name(
    tmp_path: Path, change: dict[str, Tensor | None], message: str
) -> None:
    state = {n: t for n, t in (tiny_state() | change).items() if t is not None}
    source = saved(tmp_path, {"params": state})
    with pytest.raises(CheckpointError, match=message) as refused:
        import_checkpoint("nafnet", source, tmp_path / "b.safetensors")
    assert "published.pth" in str(refused.value)
    assert not (tmp_path / "b.safetensors").exists()


def test_wrong_architecture_says_which_it_looks_like(tmp_path: Path) -> None:
    with torch.device("meta"):
        shapes = Restormer(RestormerConfig(dim=8, blocks=(1, 1, 1, 1), refinement_blocks=1)).state_dict()
    derain = saved(tmp_path, {"params": {n: torch.zeros(t.shape) for n, t in shapes.items()}}, "derain.pth")
    sidd = saved(tmp_path, {"params": tiny_state()}, "sidd.pth")
    other = saved(tmp_path, {"params": {"head.0.weight": torch.zeros(3)}}, "other.pth")
    out = tmp_path / "b.safetensors"
    with pytest.raises(
        CheckpointError, match=r"derain\.pth looks like a restormer, not a nafnet: colora imp"
    ):
        import_checkpoint("nafnet", derain, out)
    with pytest.raises(
        CheckpointError, match=r"sidd\.pth looks like a nafnet, not a restormer: colora import"
    ):
        import_checkpoint("restormer", sidd, out)
    with pytest.raises(CheckpointError, match=r"1 tensors, first 'head\.0\.weight': looks like none of naf"):
        import_checkpoint("nafnet", other, out)
    with pytest.raises(UnknownName, match="unknown architecture 'nafnt': did you mean nafnet"):
        import_checkpoint("nafnt", sidd, out)
    with pytest.raises(CheckpointError, match=r"b\.bin: expected a name that ends in \.safetensors"):
        import_checkpoint("nafnet", sidd, tmp_path / "b.bin")


def test_command_writes_a_file_that_export_takes(tmp_path: Path) -> None:
    out = tmp_path / "new net" / "b.safetensors"
    source = saved(tmp_path, {"params": tiny_state()})
    result = CliRunner().invoke(main, ["import", "nafnet", str(source), "-o", str(out)])
    assert result.exit_code == 0, result.output
    assert "NAFNetConfig(width=4, enc_blocks=(1, 2), middle_blocks=1" in result.output
    assert f"next: colora adapt --task fog --pairs DIR --backbone '{out}'" in result.output
    checkpoint = load_backbone(str(out))
    golden = golden_input()
    params = {"intro.bias": ParamDelta("dense", (4,), {"delta": arrays(checkpoint.module)["intro.bias"]})}
    write_adapter(tmp_path / "fog.safetensors", Adapter("fog", "colora", checkpoint.sha256, params, golden))
    plan = make_plan(adapters=[tmp_path / "fog.safetensors"], backbone=str(out), output=tmp_path / "bundle")
    assert plan.checkpoint.sha256 == checkpoint.sha256

    result = CliRunner().invoke(main, ["import", "restormer", str(source), "-o", str(out)])
    assert result.exit_code == 2 and "looks like a nafnet" in result.output
    result = CliRunner().invoke(main, ["import", "nafnet", str(tmp_path / "absent.pth"), "-o", str(out)])
    assert result.exit_code == 2 and "absent.pth: no such file" in result.output


def test_grey_and_dual_pixel_are_imported_and_refused_by_the_steps_that_need_rgb(tmp_path: Path) -> None:
    sizes: dict[str, Any] = {"dim": 8, "blocks": (1, 1, 1, 1), "refinement_blocks": 1}
    for config, got in [
        (RestormerConfig(**sizes, in_channels=1, out_channels=1), "1 channels in and 1 out"),
        (RestormerConfig(**sizes, in_channels=6, dual_pixel=True), "6 channels in and 3 out"),
    ]:
        source = saved(tmp_path, {"params": Restormer(config).state_dict()}, "special.pth")
        out = tmp_path / "b.safetensors"
        result = CliRunner().invoke(main, ["import", "restormer", str(source), "-o", str(out)])
        assert result.exit_code == 0 and f"note: backbone special has {got}" in result.output
        refusal = f"backbone special has {got}: colora {{}} needs 3 in and 3 out"
        with pytest.raises(CheckpointError, match=refusal.format("export")):
            make_plan(["rain"], str(out), output=tmp_path / "bundle")
        once = AdaptConfig(FitConfig(steps=1), FitConfig(steps=1))
        nothing = Examples(lambda rng, patch: pytest.fail("drawn"), [], "nothing", [])
        with pytest.raises(CheckpointError, match=refusal.format("adapt")):
            adapt("fog", load_backbone(str(out)), nothing, tmp_path / "fog.safetensors", once)
