"""BACKBONES: the networks that colora trains, adapts and exports, with the facts that a device must know."""

from dataclasses import dataclass

from colora.devices.errors import CheckpointError, unknown
from colora.runtime.manifest import Pad, Tile
from colora.train.nafnet import NAFNet, NAFNetConfig
from colora.train.restormer import Restormer, RestormerConfig
from torch import nn

ARCHITECTURES: dict[str, type[NAFNetConfig] | type[RestormerConfig]] = {
    "nafnet": NAFNetConfig,
    "restormer": RestormerConfig,
}


@dataclass(frozen=True)
class Backbone:
    """A network layout and how images are brought to it."""

    name: str
    config: NAFNetConfig | RestormerConfig
    tile: Tile
    """what the network was trained for decides the tile: global pooling makes results depend on it"""

    @property
    def architecture(self) -> str:
        """Its name in ARCHITECTURES."""
        return next(name for name, kind in ARCHITECTURES.items() if isinstance(self.config, kind))

    @property
    def channels(self) -> tuple[int, int]:
        """Channels of the image that goes in and of the one that comes out."""
        if isinstance(self.config, NAFNetConfig):
            return self.config.in_channels, self.config.in_channels
        return self.config.in_channels, self.config.out_channels

    @property
    def pad(self) -> Pad:
        """Official padding: NAFNet zeros to 2^stages, Restormer reflect to 8."""
        if isinstance(self.config, NAFNetConfig):
            return Pad("zeros", self.config.multiple_of)
        return Pad("reflect", 8)

    def build(self) -> nn.Module:
        """A fresh module with randomly initialised parameters (torch's global generator)."""
        if isinstance(self.config, NAFNetConfig):
            return NAFNet(self.config)
        return Restormer(self.config)


DEFAULT_BACKBONE = "nafnet-small"

_TILE = Tile(size=512, overlap=32, when_above=1024)

BACKBONES: dict[str, Backbone] = {
    backbone.name: backbone
    for backbone in (
        # 5,899,107 parameters: trained by a CPU in about an hour
        Backbone("nafnet-small", NAFNetConfig(32, (1, 1, 1, 4), 1, (1, 1, 1, 1)), _TILE),
        # the same networks at a size for tests and first tries
        Backbone("nafnet-tiny", NAFNetConfig(8, (1, 1), 1, (1, 1)), Tile(size=64, overlap=8, when_above=128)),
        Backbone(
            "restormer-tiny",
            RestormerConfig(dim=8, blocks=(1, 1, 1, 1), refinement_blocks=1),
            Tile(size=64, overlap=8, when_above=128),
        ),
        Backbone("nafnet-sidd-w32", NAFNetConfig(32, (2, 2, 4, 8), 12, (2, 2, 2, 2)), _TILE),
        Backbone("nafnet-gopro-w32", NAFNetConfig(32, (1, 1, 1, 28), 1, (1, 1, 1, 1)), _TILE),
        Backbone("restormer", RestormerConfig(), _TILE),
        Backbone("restormer-biasfree", RestormerConfig(norm="BiasFree"), _TILE),
    )
}


def backbone_for(config: NAFNetConfig | RestormerConfig, name: str) -> Backbone:
    """The entry of BACKBONES that has this layout, that of `name` before others; else a new backbone of `name`."""
    entries = [BACKBONES[name]] if name in BACKBONES else []
    same = [entry for entry in (*entries, *BACKBONES.values()) if entry.config == config]
    return same[0] if same else Backbone(name, config, _TILE)


def require_rgb(backbone: Backbone, step: str) -> None:
    """Refuses a backbone that doesn't take RGB and give RGB, as grey and dual-pixel ones; `step` is what needs it.

    Raises CheckpointError.
    """
    if backbone.channels != (3, 3):
        got = "{} channels in and {} out".format(*backbone.channels)
        raise CheckpointError(
            f"backbone {backbone.name} has {got}: {step} needs 3 in and 3 out (RGB); "
            "take a backbone for colour images, or run this one in Python (load_backbone)"
        )


def find_backbone(name: str) -> Backbone:
    """Backbone by name. Raises UnknownName with the nearest names."""
    if name not in BACKBONES:
        raise unknown("backbone", name, BACKBONES)
    return BACKBONES[name]
