"""Adapters in weight space: W = W0 + scale·ΔW by `torch.nn.utils.parametrize`, on any parameter of any module.

Attaching changes no layer class and works for grouped convolutions; ΔW is 0 at the start, or what `load` sets it to.
`collect` reads out what the adapter file stores, `merged` builds a plain network with W0 + ΔW loaded: merging leaves no
trace.
"""

import math
from collections.abc import Iterator, Mapping

import torch
from colora.devices.errors import CheckpointError
from colora.runtime.adapter import ParamDelta
from colora.runtime.deltas import delta_kind
from colora.train.checkpoint import Checkpoint
from torch import Tensor, nn
from torch.nn.utils import parametrize


class Delta(nn.Module):
    """Parametrization W0 → W0 + scale·ΔW with trainable tensors, ΔW = 0 at the start."""

    def __init__(
        self, kind: str, shape: tuple[int, ...], rank: int, contribution: float, rng: torch.Generator
    ) -> None:
        super().__init__()
        self.kind, self.shape, self.rank, self.contribution, self.scale = kind, shape, rank, contribution, 1.0
        self.tensors = nn.ParameterDict()
        for name, stored in delta_kind(kind).shapes(shape, rank).items():
            tensor = torch.zeros(stored)
            if name == "lora_A":  # as LoRA: one factor random (Kaiming uniform, a = √5), the other zero
                bound = 1 / math.sqrt(stored[1])
                tensor.uniform_(-bound, bound, generator=rng)
            self.tensors[name] = nn.Parameter(tensor)

    def forward(self, w0: Tensor) -> Tensor:
        change: Tensor = delta_kind(self.kind).delta(dict(self.tensors.items()), w0)
        return torch.add(w0, change, alpha=self.scale)


def _owner(module: nn.Module, parameter: str) -> tuple[nn.Module, str]:
    path, _, name = parameter.rpartition(".")
    return module.get_submodule(path), name


def attach(module: nn.Module, ranks: Mapping[str, int], contribution: Mapping[str, float], seed: int) -> None:
    """Gives every parameter of `ranks` a trainable delta (rank 0: dense) and freezes all that the module had.

    Raises CheckpointError where a name is no parameter of `module` or an adapter is attached already.
    """
    if any(isinstance(m, Delta) for m in module.modules()):
        raise CheckpointError("this network carries an adapter already: attach to a fresh backbone")
    parameters = dict(module.named_parameters())
    if foreign := sorted(ranks.keys() - parameters.keys()):
        raise CheckpointError(
            f"ranks name {len(foreign)} parameters that the backbone lacks, first {foreign[0]!r}"
        )
    module.requires_grad_(False)
    rng = torch.Generator().manual_seed(seed)
    for parameter, rank in ranks.items():
        shape = tuple(parameters[parameter].shape)
        delta = Delta("low-rank" if rank else "dense", shape, rank, contribution.get(parameter, 0.0), rng)
        owner, name = _owner(module, parameter)
        parametrize.register_parametrization(owner, name, delta)
        owner.parametrizations[name].original.requires_grad_(False)  # type: ignore[index,union-attr]


def load(module: nn.Module, params: Mapping[str, ParamDelta]) -> None:
    """Starts the adapter attached to `module` from `params`, `scale` included.

    Raises CheckpointError where these are deltas of other parameters, or one is of another kind, shape or rank.
    """
    attached = dict(attached_deltas(module))
    if odd := sorted(attached.keys() ^ params.keys()):
        raise CheckpointError(
            f"an adapter of {len(params)} parameters where {len(attached)} are attached; "
            f"expected the same, {odd[0]!r} is on one side only"
        )
    for parameter, given in params.items():
        delta = attached[parameter]
        found, expected = ((d.kind, d.shape, d.rank) for d in (given, delta))
        if found != expected:
            raise CheckpointError(f"the change of {parameter} is {found}; expected {expected} to train it")
        delta.scale = given.scale
        with torch.no_grad():
            for name, tensor in given.tensors.items():
                delta.tensors[name].copy_(torch.from_numpy(tensor))


def collect(module: nn.Module) -> dict[str, ParamDelta]:
    """What the adapter attached to `module` stores, by source parameter, copied to float32 numpy."""
    collected = {}
    for parameter, delta in attached_deltas(module):
        tensors = {n: t.detach().float().cpu().numpy().copy() for n, t in delta.tensors.items()}
        collected[parameter] = ParamDelta(
            delta.kind, delta.shape, tensors, delta.scale, delta.rank, delta.contribution
        )
    return collected


def attached_deltas(module: nn.Module) -> Iterator[tuple[str, Delta]]:
    """(source parameter, its delta) of the adapter attached to `module`."""
    for path, owner in module.named_modules():
        if not parametrize.is_parametrized(owner) or isinstance(owner, Delta):
            continue
        for name, chain in owner.parametrizations.items():
            yield (f"{path}.{name}" if path else name), chain[0]


def merged(backbone: Checkpoint, params: Mapping[str, ParamDelta]) -> nn.Module:
    """A fresh network of plain modules, in evaluation mode, with W0 + ΔW: bit-equal to the attached one in fp32."""
    module = backbone.backbone.build()
    state = {name: tensor.clone() for name, tensor in backbone.module.state_dict().items()}
    for name, delta in params.items():
        tensors = {n: torch.from_numpy(t) for n, t in delta.tensors.items()}
        change = delta_kind(delta.kind).delta(tensors, state[name])
        state[name] = torch.add(state[name], change, alpha=delta.scale)
    module.load_state_dict(state, strict=True)
    return module.eval()
