"""Compiled training: the network as a function of its weights, compiled once for all trainings of one layout.

An adapter's weights W0 + ΔW are built outside of what is compiled, so that adapters of any ranks, full tuning and
pre-training share the code: in a process, and through torch's cache on disk between processes.
"""

import warnings
from collections.abc import Callable
from functools import cache
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.utils import parametrize

Network = Callable[[dict[str, Tensor], Tensor], Tensor]

FAULTY = "triton.mix_order_reduction"
"""torch 2.11 gives gradients of another shape than their weights' with it (seen on an H100)"""


@cache
def _compiled(layout: type[nn.Module], config: Any, gpu: bool) -> Network:
    """(weights by name, image) → output, of a network `layout(config)`; compiled anew for each size of image, as shapes
    left open would make slower code."""
    with torch.device("meta"):
        plain = layout(config)

    def run(weights: dict[str, Tensor], image: Tensor) -> Tensor:
        output: Tensor = torch.func.functional_call(plain, weights, (image,), strict=True)
        return output

    known = gpu and FAULTY in torch._inductor.list_options()
    return torch.compile(run, dynamic=False, options={FAULTY: False} if known else None)


class Compiled(nn.Module):
    """`model`, a network that keeps what built it as `config`, run by compiled code; adapters may be attached."""

    def __init__(self, model: nn.Module) -> None:
        super().__init__()
        self.model = model
        layout = parametrize.type_before_parametrizations(model)
        self._run = _compiled(layout, model.config, next(model.parameters()).is_cuda)
        with torch.device("meta"):
            names = [name for name, _ in layout(model.config).named_parameters()]
        self._places = [(name, *name.rpartition(".")[::2]) for name in names]

    def forward(self, image: Tensor) -> Tensor:
        """As the model's, in channels-last memory, in which compiled convolutions are faster."""
        weights = {}
        for name, path, leaf in self._places:
            weight = getattr(self.model.get_submodule(path), leaf)
            weights[name] = weight.view_as(
                weight
            )  # no parameter: tuned and adapted networks run the same code
        with (
            warnings.catch_warnings()
        ):  # torch looks for gradients of weights that are built, and warns of it
            warnings.filterwarnings("ignore", "The .grad attribute of a Tensor that is not a leaf")
            return self._run(weights, image.contiguous(memory_format=torch.channels_last))
