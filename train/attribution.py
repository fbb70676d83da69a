"""FAIG: how much each parameter contributes to what fine-tuning changed.

Filter Attribution Integrated Gradients (Xie et al., NeurIPS 2021, arXiv 2108.01070), extended from kernels to every
parameter (biases, norms and scales too) as CoLoRA does. Along the straight line from baseline θ̄ to target θ in
parameter space, with the loss L = Σ (F(x) - x_gt)² summed (not averaged) over an image,

    FAIG_i = (θ_i - θ̄_i) · 1/N Σ_{t=0}^{N-1} ∂L/∂θ_i at θ̄·t/N + θ·(1 - t/N)        (the official discretisation)

so the sum starts at the target and never reaches the baseline. The absolute value is taken after the sum over steps,
per image. Without it, Σ_i FAIG_i tends to L(θ) - L(θ̄) as N grows (completeness of path integrals).
Pooling to a parameter tensor is not published; here it is the mean over its numbers and the images. `contribution`
pools further.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence

import torch
from colora.devices.errors import ColoraError
from colora.train.contribution import Attribution
from torch import Tensor, nn
from torch.func import functional_call


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
    Raises ColoraError without pairs or steps.
    """
    if not pairs or steps < 1:
        raise ColoraError(f"FAIG along {steps} points over {len(pairs)} images: expected at least 1 of each")
    model.eval()
    numbers = {name: p.numel() for name, p in model.named_parameters()}
    contribution = dict.fromkeys(numbers, 0.0)
    explained = change = 0.0
    for done, (x, y) in enumerate(pairs):
        total = {name: torch.zeros_like(baseline[name]) for name in numbers}
        for t, gradients in enumerate(along_path(model, baseline, target, (x, y), steps)):
            for name, gradient in gradients.items():
                total[name] += gradient
            report(done * steps + t + 1, len(pairs) * steps)
        for name in numbers:
            signed = total[name] * (target[name] - baseline[name]) / steps
            contribution[name] += float(signed.abs().mean()) / len(pairs)
            explained += float(signed.double().sum()) / len(pairs)
        with torch.no_grad():
            change += float(_loss(model, target, x, y) - _loss(model, baseline, x, y)) / len(pairs)
    return Attribution(contribution, numbers, explained, change, steps, len(pairs))


def along_path(
    model: nn.Module,
    baseline: Mapping[str, Tensor],
    target: Mapping[str, Tensor],
    pair: tuple[Tensor, Tensor],
    steps: int,
) -> Iterator[dict[str, Tensor]]:
    """∂L/∂θ by parameter at each of the `steps` points, from the target on; those that L doesn't depend on left out.

    Every k-th of these points is a point of the path of steps/k points, where k divides `steps`.
    """
    names = [name for name, _ in model.named_parameters()]
    for t in range(steps):
        a = t / steps
        point = {n: (a * baseline[n] + (1 - a) * target[n]).detach().requires_grad_() for n in names}
        gradients = torch.autograd.grad(_loss(model, point, *pair), list(point.values()), allow_unused=True)
        yield {n: g for n, g in zip(names, gradients, strict=True) if g is not None}


def _loss(model: nn.Module, weights: Mapping[str, Tensor], x: Tensor, y: Tensor) -> Tensor:
    output: Tensor = functional_call(model, dict(weights), (x,))
    return (output - y).square().sum()
