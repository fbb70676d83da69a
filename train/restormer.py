"""Restormer (Zamir et al., CVPR 2022, arXiv 2111.09881), with the official parameter names.

A U-Net of transformer blocks whose attention runs over channels, so that its cost grows linearly with the
number of pixels (MDTA, paper section 3.1), and whose feed-forward part is gated (GDFN, section 3.2).
"""

from collections import OrderedDict
from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor, nn
from torch.nn import functional as F


@dataclass(frozen=True)
class RestormerConfig:
    """Layout of a Restormer. The defaults are those of the deraining and deblurring checkpoints."""

    dim: int = 48
    """channels at full resolution; doubled at each coarser level"""
    blocks: tuple[int, int, int, int] = (4, 6, 6, 8)
    """transformer blocks per level, finest first; the last entry is the latent level"""
    refinement_blocks: int = 4
    """blocks after the decoder, at full resolution and 2·dim channels"""
    heads: tuple[int, int, int, int] = (1, 2, 4, 8)
    """attention heads per level, each a divisor of the level's channels"""
    ffn_expansion: float = 2.66
    """hidden channels of the feed-forward part per channel of its input, rounded down"""
    norm: Literal["WithBias", "BiasFree"] = "WithBias"
    """BiasFree is that of the denoising checkpoints"""
    in_channels: int = 3
    """1 for grey denoising, 6 for dual-pixel defocus (left and right view)"""
    out_channels: int = 3
    dual_pixel: bool = False
    """a convolution from the embedded input to the output instead of adding the input image itself"""

    def __post_init__(self) -> None:
        if self.norm not in ("WithBias", "BiasFree"):
            raise ValueError(f"norm is {self.norm!r}: expected 'WithBias' or 'BiasFree'")
        if not self.dual_pixel and self.in_channels != self.out_channels:
            raise ValueError(
                f"in_channels is {self.in_channels} and out_channels {self.out_channels}: expected the same "
                "number, because the input is added to the output (only dual_pixel=True does without)"
            )
        for level, heads in enumerate(self.heads):
            channels = self.dim << level
            if channels % heads:
                raise ValueError(
                    f"level {level + 1} has {channels} channels, {heads} heads: expected a divisor"
                )

    @property
    def multiple_of(self) -> int:
        """Height and width must be multiples of this: three halvings."""
        return 8


class BiasFreeLayerNorm(nn.Module):
    """Divides each pixel's channels by their standard deviation, mean kept: (N, C, H, W) → same. eps 1e-5."""

    def __init__(self, channels: int, eps: float = 1e-5) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.ones(channels))
        self.eps = eps

    def forward(self, x: Tensor) -> Tensor:
        variance = (x - x.mean(1, keepdim=True)).square().mean(1, keepdim=True)
        return x * torch.rsqrt(variance + self.eps) * self.weight[:, None, None]


class WithBiasLayerNorm(nn.Module):
    """Normalises each pixel's channels: (N, C, H, W) → same. Biased variance, eps 1e-5."""

    def __init__(self, channels: int, eps: float = 1e-5) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.ones(channels))
        self.bias = nn.Parameter(torch.zeros(channels))
        self.eps = eps

    def forward(self, x: Tensor) -> Tensor:
        centred = x - x.mean(1, keepdim=True)
        variance = centred.square().mean(1, keepdim=True)
        y = centred * torch.rsqrt(variance + self.eps)
        return y * self.weight[:, None, None] + self.bias[:, None, None]


NORMS = {"WithBias": WithBiasLayerNorm, "BiasFree": BiasFreeLayerNorm}


class Attention(nn.Module):
    """Multi-Dconv head transposed attention: a softmax over channel pairs, (N, C, H, W) → same."""

    def __init__(self, channels: int, heads: int) -> None:
        super().__init__()
        c = channels
        self.heads = heads
        self.temperature = nn.Parameter(torch.ones(heads, 1, 1))
        self.qkv = nn.Conv2d(c, 3 * c, 1, bias=False)
        self.qkv_dwconv = nn.Conv2d(3 * c, 3 * c, 3, padding=1, groups=3 * c, bias=False)
        self.project_out = nn.Conv2d(c, c, 1, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        n, c, h, w = x.shape
        qkv = self.qkv_dwconv(self.qkv(x)).reshape(n, 3 * self.heads, c // self.heads, h * w)
        q, k, v = qkv.chunk(3, dim=1)  # each N × heads × C/heads × HW
        q, k = F.normalize(q, dim=-1), F.normalize(k, dim=-1)
        weights = torch.softmax(q @ k.transpose(-2, -1) * self.temperature, dim=-1)
        y: Tensor = self.project_out((weights @ v).reshape(n, c, h, w))
        return y


class FeedForward(nn.Module):
    """Gated-Dconv feed-forward: one half, through a GELU, scales the other, (N, C, H, W) → same."""

    def __init__(self, channels: int, expansion: float) -> None:
        super().__init__()
        hidden = int(channels * expansion)
        self.project_in = nn.Conv2d(channels, 2 * hidden, 1, bias=False)
        self.dwconv = nn.Conv2d(2 * hidden, 2 * hidden, 3, padding=1, groups=2 * hidden, bias=False)
        self.project_out = nn.Conv2d(hidden, channels, 1, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        gate, value = self.dwconv(self.project_in(x)).chunk(2, dim=1)
        y: Tensor = self.project_out(F.gelu(gate) * value)
        return y


class TransformerBlock(nn.Module):
    """Attention, then feed-forward, each behind a norm and added to its input."""

    def __init__(self, channels: int, heads: int, config: RestormerConfig) -> None:
        super().__init__()
        norm = NORMS[config.norm]
        self.norm1 = named("body", norm(channels))
        self.attn = Attention(channels, heads)
        self.norm2 = named("body", norm(channels))
        self.ffn = FeedForward(channels, config.ffn_expansion)

    def forward(self, x: Tensor) -> Tensor:
        x = x + self.attn(self.norm1(x))
        x = x + self.ffn(self.norm2(x))
        return x


class Restormer(nn.Module):
    """(N, in_channels, H, W) float → (N, out_channels, H, W), values about [0, 1], H and W multiples of 8.

    Padding is the caller's (officially reflection at the right and at the bottom).
    """

    def __init__(self, config: RestormerConfig) -> None:
        super().__init__()
        self.config = config
        c1, c2, c3, c4 = (config.dim << level for level in range(4))
        b1, b2, b3, b4 = config.blocks
        h1, h2, h3, h4 = config.heads

        def level(channels: int, heads: int, blocks: int) -> nn.Sequential:
            return nn.Sequential(*(TransformerBlock(channels, heads, config) for _ in range(blocks)))

        self.patch_embed = named("proj", conv3x3(config.in_channels, c1))
        self.encoder_level1 = level(c1, h1, b1)
        self.down1_2 = downsample(c1)
        self.encoder_level2 = level(c2, h2, b2)
        self.down2_3 = downsample(c2)
        self.encoder_level3 = level(c3, h3, b3)
        self.down3_4 = downsample(c3)
        self.latent = level(c4, h4, b4)
        self.up4_3 = upsample(c4)
        self.reduce_chan_level3 = nn.Conv2d(2 * c3, c3, 1, bias=False)
        self.decoder_level3 = level(c3, h3, b3)
        self.up3_2 = upsample(c3)
        self.reduce_chan_level2 = nn.Conv2d(2 * c2, c2, 1, bias=False)
        self.decoder_level2 = level(c2, h2, b2)
        self.up2_1 = upsample(c2)
        self.decoder_level1 = level(2 * c1, h1, b1)
        self.refinement = level(2 * c1, h1, config.refinement_blocks)
        if config.dual_pixel:
            self.skip_conv = nn.Conv2d(c1, 2 * c1, 1, bias=False)
        self.output = conv3x3(2 * c1, config.out_channels)

    def forward(self, image: Tensor) -> Tensor:
        embedded = self.patch_embed(image)
        skip1 = self.encoder_level1(embedded)
        skip2 = self.encoder_level2(self.down1_2(skip1))
        skip3 = self.encoder_level3(self.down2_3(skip2))
        x = self.latent(self.down3_4(skip3))
        x = self.decoder_level3(self.reduce_chan_level3(torch.cat([self.up4_3(x), skip3], 1)))
        x = self.decoder_level2(self.reduce_chan_level2(torch.cat([self.up3_2(x), skip2], 1)))
        x = self.refinement(self.decoder_level1(torch.cat([self.up2_1(x), skip1], 1)))
        if self.config.dual_pixel:
            x = x + self.skip_conv(embedded)
        y: Tensor = self.output(x)
        return y if self.config.dual_pixel else y + image


def named(name: str, module: nn.Module) -> nn.Sequential:
    """`module` alone under `name`: the official parameter names have this extra step."""
    return nn.Sequential(OrderedDict([(name, module)]))


def conv3x3(in_channels: int, out_channels: int) -> nn.Conv2d:
    return nn.Conv2d(in_channels, out_channels, 3, padding=1, bias=False)


def downsample(channels: int) -> nn.Sequential:
    """(N, C, H, W) → (N, 2C, H/2, W/2)."""
    return named("body", nn.Sequential(conv3x3(channels, channels // 2), nn.PixelUnshuffle(2)))


def upsample(channels: int) -> nn.Sequential:
    """(N, C, H, W) → (N, C/2, 2H, 2W)."""
    return named("body", nn.Sequential(conv3x3(channels, 2 * channels), nn.PixelShuffle(2)))
