"""The twin of a network: the same function, its parameters being the tensors of the graph.

Some source parameters never reach an operator as they are: a norm vector passes a view, a residual scale is
multiplied into the output of a convolution. Exporters and runtimes fold such a parameter with its neighbours, and an
edit of it on the device is then ignored without a word (NAFNet as trained: 120 of 232 tensors). In the twin
every parameter feeds its operator directly, and a weight program says how each is computed from the source
parameters, so that a device can compute it again for another task.

    norm      w[c] · x̂ + b[c]           weight, bias stored as (1, C, 1, 1): no view left to fold
    residual  x + β·(W*y + b)            = x + (βW)*y + βb: the scale is multiplied into W and b (`scale_out`)
    attention t · (q/‖q‖)·kᵀ             = (q · t/‖q‖)·kᵀ: a constant factor of a product is absorbed by runtimes
    gate      halves of known size       a Split of the channels, which exporters else write as arithmetic on sizes

TWINS maps a source module to its twin; a module that is not in it is its own twin.
"""

from __future__ import annotations

import copy
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import torch
from colora.runtime.program import OPS, Step, Steps
from colora.train import nafnet, restormer
from torch import Tensor, nn
from torch.nn import functional as F


@dataclass(frozen=True)
class Twin:
    """A network in graph coordinates."""

    module: nn.Module
    """in evaluation mode; its state_dict is the graph's tensors, by name and shape; their values mean nothing"""
    program: dict[str, Steps]
    """graph tensor → steps in source parameters (DESIGN section 4), the order of the state_dict"""


class Norm(nn.Module):
    """`LayerNorm2d` and `WithBiasLayerNorm`: (N, C, H, W) → same, in plain operators."""

    def __init__(self, source: Any) -> None:
        super().__init__()
        c = source.weight.numel()
        self.weight = nn.Parameter(torch.empty(1, c, 1, 1))
        self.bias = nn.Parameter(torch.empty(1, c, 1, 1))
        self.eps = source.eps

    def steps(self) -> dict[str, Steps]:
        as_stored = Step("reshape", tuple(self.weight.shape))
        return {name: (Step("param", (name,)), as_stored) for name in ("weight", "bias")}

    def forward(self, x: Tensor) -> Tensor:
        centred = x - x.mean(1, keepdim=True)
        variance = (centred * centred).mean(1, keepdim=True)
        return centred * _rsqrt(variance + self.eps) * self.weight + self.bias


class ScaleNorm(nn.Module):
    """`BiasFreeLayerNorm`: divides by the standard deviation, keeps the mean."""

    def __init__(self, source: restormer.BiasFreeLayerNorm) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.empty(1, source.weight.numel(), 1, 1))
        self.eps = source.eps

    def steps(self) -> dict[str, Steps]:
        return {"weight": (Step("param", ("weight",)), Step("reshape", tuple(self.weight.shape)))}

    def forward(self, x: Tensor) -> Tensor:
        centred = x - x.mean(1, keepdim=True)
        variance = (centred * centred).mean(1, keepdim=True)
        return x * _rsqrt(variance + self.eps) * self.weight


SCALES = (("conv3", "beta"), ("conv5", "gamma"))


class ResidualBlock(nn.Module):
    """`NAFBlock` with beta inside conv3 and gamma inside conv5."""

    def __init__(self, source: nafnet.NAFBlock) -> None:
        super().__init__()
        self.norm1, self.conv1, self.conv2 = source.norm1, source.conv1, source.conv2
        self.sca, self.conv3 = source.sca, source.conv3
        self.norm2, self.conv4, self.conv5 = source.norm2, source.conv4, source.conv5

    def steps(self) -> dict[str, Steps]:
        folds = [(f"{conv}.{part}", by) for conv, by in SCALES for part in ("weight", "bias")]
        return {name: (Step("param", (name,)), Step("scale_out", (by,))) for name, by in folds}

    def forward(self, x: Tensor) -> Tensor:
        c = self.conv3.in_channels
        a, b = self.conv2(self.conv1(self.norm1(x))).split(c, dim=1)
        y = a * b
        x = x + self.conv3(y * self.sca(y))
        a, b = self.conv4(self.norm2(x)).split(c, dim=1)
        out: Tensor = x + self.conv5(a * b)
        return out


class Attention(nn.Module):
    """`restormer.Attention` with the temperature in the length of q; lengths below 1e-12 count as 1e-12.

    With one head the temperature is one number, and where that is 1 ONNX Runtime drops a multiplication by it,
    and rewrites t/‖q‖ · q as q/‖q‖. An axis added between the quotient and the product keeps it from both.
    """

    def __init__(self, source: restormer.Attention) -> None:
        super().__init__()
        self.heads = source.heads
        self.temperature = nn.Parameter(torch.empty(self.heads, 1))
        self.qkv, self.qkv_dwconv, self.project_out = source.qkv, source.qkv_dwconv, source.project_out

    def steps(self) -> dict[str, Steps]:
        return {"temperature": (Step("param", ("temperature",)), Step("reshape", (self.heads, 1)))}

    def forward(self, x: Tensor) -> Tensor:
        c = self.project_out.in_channels
        parts = self.qkv_dwconv(self.qkv(x)).split(c, dim=1)
        q, k, v = (_Heads.apply(part, self.heads, c // self.heads) for part in parts)  # type: ignore[no-untyped-call]
        q = q * (self.temperature / _length(q))[..., None]
        k = k * (1 / _length(k))[..., None]
        weights = F.softmax(q @ k.transpose(-2, -1), dim=-1)
        y: Tensor = self.project_out(
            (weights @ v).reshape_as(parts[2])
        )  # of x itself the norm's form may change
        return y


class FeedForward(nn.Module):
    """`restormer.FeedForward`, its halves of a known size."""

    def __init__(self, source: restormer.FeedForward) -> None:
        super().__init__()
        self.project_in, self.dwconv, self.project_out = source.project_in, source.dwconv, source.project_out

    def steps(self) -> dict[str, Steps]:
        return {}

    def forward(self, x: Tensor) -> Tensor:
        gate, value = self.dwconv(self.project_in(x)).split(self.project_out.in_channels, dim=1)
        y: Tensor = self.project_out(F.gelu(gate) * value)
        return y


class _Heads(torch.autograd.Function):
    """N × C × H × W → N × heads × C/heads × HW, in ONNX a Reshape that copies N: no arithmetic on sizes."""

    @staticmethod
    def forward(_: Any, x: Tensor, heads: int, channels: int) -> Tensor:
        return x.reshape(len(x), heads, channels, -1)

    @staticmethod
    def symbolic(g: Any, x: Any, heads: int, channels: int) -> Any:
        return g.op("Reshape", x, g.op("Constant", value_t=torch.tensor([0, heads, channels, -1])))


def _rsqrt(x: Tensor) -> Tensor:
    """In the two operators that ONNX has for it, and not as 1 / √x."""
    return x.sqrt().reciprocal()


def _length(x: Tensor) -> Tensor:
    return (x * x).sum(-1).sqrt().clamp_min(1e-12)


TWINS: Mapping[type[nn.Module], Any] = {
    nafnet.LayerNorm2d: Norm,
    nafnet.NAFBlock: ResidualBlock,
    restormer.WithBiasLayerNorm: Norm,
    restormer.BiasFreeLayerNorm: ScaleNorm,
    restormer.Attention: Attention,
    restormer.FeedForward: FeedForward,
}


def make_twin(model: nn.Module) -> Twin:
    """Twin of `model`, which is left as it is and shares nothing with its twin."""
    steps: dict[str, Steps] = {}
    module = _replace(copy.deepcopy(model), "", steps).eval()
    return Twin(module, {name: steps.get(name, (Step("param", (name,)),)) for name in module.state_dict()})


def _replace(module: nn.Module, prefix: str, steps: dict[str, Steps]) -> nn.Module:
    """`module` or its twin, the same for all that it holds; steps are added in whole names."""
    if type(module) in TWINS:
        module = TWINS[type(module)](module)
        for name, local in module.steps().items():  # type: ignore[operator]
            steps[prefix + name] = tuple(_prefixed(step, prefix) for step in local)
    for name, child in list(module.named_children()):
        setattr(module, name, _replace(child, f"{prefix}{name}.", steps))
    return module


def _prefixed(step: Step, prefix: str) -> Step:
    """The step with its parameters named as in the whole model."""
    if not OPS[step.op].args.startswith("p"):
        return step
    return Step(step.op, tuple(f"{prefix}{name}" for name in step.args))
