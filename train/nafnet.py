"""NAFNet (Chen et al., ECCV 2022, arXiv 2204.04676), with the official parameter names.

A U-Net of nonlinear-activation-free blocks: channel LayerNorm, 1×1 and depthwise 3×3 convolutions, the product
of two channel halves (SimpleGate) for an activation, and a global channel attention of one 1×1 convolution (SCA).
"""

from dataclasses import dataclass

import torch
from torch import Tensor, nn


@dataclass(frozen=True)
class NAFNetConfig:
    """Layout of a NAFNet."""

    width: int = 32
    """channels at full resolution; doubled by every encoder stage"""
    enc_blocks: tuple[int, ...] = (2, 2, 4, 8)
    """blocks per encoder stage, finest first"""
    middle_blocks: int = 12
    dec_blocks: tuple[int, ...] = (2, 2, 2, 2)
    """blocks per decoder stage, coarsest first"""
    in_channels: int = 3

    def __post_init__(self) -> None:
        if len(self.enc_blocks) != len(self.dec_blocks):
            raise ValueError(
                f"enc_blocks has {len(self.enc_blocks)} stages and dec_blocks {len(self.dec_blocks)}: "
                "expected the same number, one decoder stage per encoder stage"
            )

    @property
    def multiple_of(self) -> int:
        """Height and width must be multiples of this: one halving per encoder stage."""
        return int(2 ** len(self.enc_blocks))


class LayerNorm2d(nn.Module):
    """Normalises the channels of each pixel: (N, C, H, W) → (N, C, H, W). Biased variance, eps 1e-6."""

    def __init__(self, channels: int, eps: float = 1e-6) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.ones(channels))
        self.bias = nn.Parameter(torch.zeros(channels))
        self.eps = eps

    def forward(self, x: Tensor) -> Tensor:
        mean = x.mean(1, keepdim=True)
        centred = x - mean
        variance = centred.square().mean(1, keepdim=True)
        y = centred * torch.rsqrt(variance + self.eps)
        return y * self.weight[:, None, None] + self.bias[:, None, None]


def simple_gate(x: Tensor) -> Tensor:
    """Product of the two channel halves: (N, 2C, H, W) → (N, C, H, W)."""
    a, b = x.chunk(2, dim=1)
    return a * b


class NAFBlock(nn.Module):
    """Spatial and channel mixing, each behind a norm and a learnt residual scale (beta, gamma: zero at start)."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        c = channels
        self.norm1 = LayerNorm2d(c)
        self.conv1 = nn.Conv2d(c, 2 * c, 1)
        self.conv2 = nn.Conv2d(2 * c, 2 * c, 3, padding=1, groups=2 * c)
        self.sca = nn.Sequential(nn.AdaptiveAvgPool2d(1), nn.Conv2d(c, c, 1))
        self.conv3 = nn.Conv2d(c, c, 1)
        self.norm2 = LayerNorm2d(c)
        self.conv4 = nn.Conv2d(c, 2 * c, 1)
        self.conv5 = nn.Conv2d(c, c, 1)
        self.beta = nn.Parameter(torch.zeros(1, c, 1, 1))
        self.gamma = nn.Parameter(torch.zeros(1, c, 1, 1))

    def forward(self, x: Tensor) -> Tensor:
        y = simple_gate(self.conv2(self.conv1(self.norm1(x))))
        y = self.conv3(y * self.sca(y))
        x = x + y * self.beta
        y = self.conv5(simple_gate(self.conv4(self.norm2(x))))
        out: Tensor = x + y * self.gamma
        return out


class NAFNet(nn.Module):
    """(N, 3, H, W) float → (N, 3, H, W), values about [0, 1], H and W multiples of `config.multiple_of`."""

    def __init__(self, config: NAFNetConfig) -> None:
        super().__init__()
        self.config = config
        c = config.width
        self.intro = nn.Conv2d(config.in_channels, c, 3, padding=1)
        self.encoders = nn.ModuleList()
        self.downs = nn.ModuleList()
        for blocks in config.enc_blocks:
            self.encoders.append(nn.Sequential(*(NAFBlock(c) for _ in range(blocks))))
            self.downs.append(nn.Conv2d(c, 2 * c, 2, stride=2))
            c *= 2
        self.middle_blks = nn.Sequential(*(NAFBlock(c) for _ in range(config.middle_blocks)))
        self.ups = nn.ModuleList()
        self.decoders = nn.ModuleList()
        for blocks in config.dec_blocks:
            self.ups.append(nn.Sequential(nn.Conv2d(c, 2 * c, 1, bias=False), nn.PixelShuffle(2)))
            c //= 2
            self.decoders.append(nn.Sequential(*(NAFBlock(c) for _ in range(blocks))))
        self.ending = nn.Conv2d(c, config.in_channels, 3, padding=1)

    def forward(self, image: Tensor) -> Tensor:
        x = self.intro(image)
        skips = []
        for encoder, down in zip(self.encoders, self.downs, strict=True):
            x = encoder(x)
            skips.append(x)
            x = down(x)
        x = self.middle_blks(x)
        for up, decoder, skip in zip(self.ups, self.decoders, reversed(skips), strict=True):
            x = decoder(up(x) + skip)
        restored: Tensor = self.ending(x) + image
        return restored
