"""BACKBONES: the networks that colora trains, adapts and exports, with the facts that a device must know."""

from dataclasses import dataclass

from colora.devices.errors import unknown
from colora.runtime.manifest import Pad, Tile
from colora.train.nafnet import NAFNet, NAFNetConfig
from colora.train.restormer import Restormer, RestormerConfig
from torch import nn


@dataclass(frozen=True)
class Backbone:
    """A network layout and how images are brought to it."""

    name: str
    config: NAFNetConfig | RestormerConfig
    tile: Tile
    """what the network was trained for decides the tile: global pooling makes results depend on it"""

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


def find_backbone(name: str) -> Backbone:
    """Backbone by name. Raises UnknownName with the nearest names."""
    if name not in BACKBONES:
        raise unknown("backbone", name, BACKBONES)
    return BACKBONES[name]
