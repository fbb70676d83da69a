"""Compiled training: a network's blocks as functions of their weights, compiled once for all trainings.

An adapter's weights W0 + ΔW are built outside of what is compiled, so that adapters of any ranks, full tuning and
pre-training share the code, and so do blocks of equal shape: in a process, and through torch's cache on disk between
processes.
"""

import warnings
from collections.abc import Callable
from copy import deepcopy
from functools import cache, partial
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional
from torch.nn.utils import parametrize

Run = Callable[[dict[str, Tensor], Tensor], Tensor]


class _Shifted(nn.Conv2d):
    """A depthwise convolution of stride 1 that keeps the size, tap by tap: the compiler fuses the sum with what is
    around it, where a GPU's own depthwise kernels are slow."""

    def forward(self, image: Tensor) -> Tensor:
        (height, width), (top, left) = image.shape[-2:], self.padding
        padded = functional.pad(image, (int(left), int(left), int(top), int(top)))
        taps = [
            padded[..., y : y + height, x : x + width] * self.weight[:, 0, y, x, None, None]
            for y in range(self.weight.shape[2])
            for x in range(self.weight.shape[3])
        ]
        total = sum(taps[1:], taps[0])
        return (total if self.bias is None else total + self.bias[:, None, None]).to(image.dtype)


def _function(module: nn.Module) -> Run:
    """(weights by name, input) → output of `module`, whose own weights are not used; compiled anew for each size of
    input, as shapes left open would make slower code."""

    def run(weights: dict[str, Tensor], x: Tensor) -> Tensor:
        output: Tensor = torch.func.functional_call(module, weights, (x,), strict=True)
        return output

    return torch.compile(run, dynamic=False)


@cache
def _plain(layout: type[nn.Module], config: Any, shifted: bool) -> nn.Module:
    """A network `layout(config)` without weights whose blocks run compiled, equal ones by the same code."""
    with torch.device("meta"):
        plain = layout(config)
    runs: dict[object, Run] = {}
    for block in [module for module in plain.modules() if isinstance(module, layout.block)]:  # type: ignore[attr-defined]
        for module in block.modules():
            if shifted and isinstance(module, nn.Conv2d) and module.groups == module.in_channels > 1:
                module.__class__ = _Shifted
        shapes = tuple((name, p.shape) for name, p in block.named_parameters())
        if shapes not in runs:
            runs[shapes] = _function(deepcopy(block))
        block.forward = partial(_called, runs[shapes], block)
    return plain


def _called(run: Run, block: nn.Module, x: Tensor) -> Tensor:
    # views are no parameters, so that tuned and adapted networks run the same code
    weights = {name: weight.view_as(weight) for name, weight in block.named_parameters()}
    with warnings.catch_warnings():  # torch looks for gradients of weights that are built, and warns of it
        warnings.filterwarnings("ignore", "The .grad attribute of a Tensor that is not a leaf")
        return run(weights, x)


class Compiled(nn.Module):
    """`model`, a network that tells what built it (`config`) and its kind of `block`, run by compiled code; adapters
    may be attached."""

    def __init__(self, model: nn.Module) -> None:
        super().__init__()
        self.model = model
        layout = parametrize.type_before_parametrizations(model)
        self._network = (_plain(layout, model.config, next(model.parameters()).is_cuda),)  # no submodule
        names = [name for name, _ in self._network[0].named_parameters()]
        self._places = [(name, *name.rpartition(".")[::2]) for name in names]

    def forward(self, image: Tensor) -> Tensor:
        """As the model's, in channels-last memory, in which compiled convolutions are faster."""
        weights = {name: getattr(self.model.get_submodule(path), leaf) for name, path, leaf in self._places}
        given = (image.contiguous(memory_format=torch.channels_last),)
        output: Tensor = torch.func.functional_call(self._network[0], weights, given, strict=True)
        return output
