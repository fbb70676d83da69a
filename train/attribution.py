"""FAIG: how much each parameter contributes to what fine-tuning changed.

Filter Attribution Integrated Gradients (Xie et al., NeurIPS 2021, arXiv 2108.01070), extended from kernels to every
parameter as CoLoRA does. Along the straight line from baseline θ̄ to target θ in parameter space, with the loss
L = Σ (F(x) - x_gt)² summed (not averaged) over an image,

    FAIG_i = (θ_i - θ̄_i) · 1/N Σ_{t=0}^{N-1} ∂L/∂θ_i at θ̄·t/N + θ·(1 - t/N)        (the official discretisation)

so the sum starts at the target and never reaches the baseline. The absolute value is taken after the sum over steps,
per image. Without it, Σ_i FAIG_i tends to L(θ) - L(θ̄) as N grows (completeness of path integrals).
Pooling to a layer is not published; here it is the mean over the layer's numbers and the images.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.func import functional_call


@dataclass(frozen=True)
class Attribution:
    """FAIG of a pair of weight sets over some images."""

    contribution: dict[str, float]
    """mean |FAIG| per number of each parameter tensor, averaged over images; not normalised"""
    explained: float
    """Σ FAIG with its sign, averaged over images"""
    change: float
    """L(target) - L(baseline), averaged over images: what `explained` tends to"""


def faig(
    model: nn.Module,
    baseline: Mapping[str, Tensor],
    target: Mapping[str, Tensor],
    pairs: Sequence[tuple[Tensor, Tensor]],
    steps: int = 100,
    report: Callable[[int, int], None] = lambda done, total: None,
) -> Attribution:
    """FAIG of every parameter of `model` from `baseline` to `target` (state dictionaries, left unchanged).

    pairs: (degraded, clean), each (1, 3, H, W) float32 in [0, 1]. Costs `steps` forward and backward passes per pair.
    """
    names = [name for name, _ in model.named_parameters()]
    model.eval()
    contribution = {name: 0.0 for name in names}
    explained = change = 0.0

    def loss_at(weights: Mapping[str, Tensor], x: Tensor, y: Tensor) -> Tensor:
        output: Tensor = functional_call(model, dict(weights), (x,))
        return (output - y).square().sum()

    for done, (x, y) in enumerate(pairs):
        total = {name: torch.zeros_like(baseline[name]) for name in names}
        for t in range(steps):
            a = t / steps
            point = {n: (a * baseline[n] + (1 - a) * target[n]).requires_grad_() for n in names}
            gradients = torch.autograd.grad(loss_at(point, x, y), list(point.values()), allow_unused=True)
            for name, gradient in zip(names, gradients, strict=True):
                if gradient is not None:
                    total[name] += gradient
            report(done * steps + t + 1, len(pairs) * steps)
        for name in names:
            signed = total[name] * (target[name] - baseline[name]) / steps
            contribution[name] += float(signed.abs().mean()) / len(pairs)
            explained += float(signed.double().sum()) / len(pairs)
        with torch.no_grad():
            change += float(loss_at(target, x, y) - loss_at(baseline, x, y)) / len(pairs)
    return Attribution(contribution, explained, change)
