"""Losses of restoration networks: (output, target), both (N, 3, H, W) in [0, 1], → scalar, and what names them."""

import math
from collections.abc import Callable, Mapping

from torch import Tensor


def psnr_loss(output: Tensor, target: Tensor) -> Tensor:
    """Negative PSNR in dB for a peak of 1, mean over images: NAFNet's PSNRLoss."""
    mse = (output - target).square().mean(dim=(1, 2, 3))
    return 10 / math.log(10) * (mse + 1e-8).log().mean()


def l1_loss(output: Tensor, target: Tensor) -> Tensor:
    """Mean absolute error: Restormer's loss."""
    return (output - target).abs().mean()


def charbonnier_loss(output: Tensor, target: Tensor) -> Tensor:
    """Smooth L1, mean of sqrt(d² + ε²) with ε 1e-3 (Lai et al., CVPR 2017; MPRNet)."""
    return ((output - target).square() + 1e-6).sqrt().mean()


LOSSES: Mapping[str, Callable[[Tensor, Tensor], Tensor]] = {
    "psnr": psnr_loss,
    "l1": l1_loss,
    "charbonnier": charbonnier_loss,
}
