"""How good a network is: mean PSNR over sets of pairs; sets of whole images are padded and tiled as on the device."""

from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path

import numpy as np
import torch
from colora.runtime import tiles
from colora.runtime.manifest import Shapes
from colora.runtime.quality import psnr
from colora.train.backbones import Backbone
from colora.train.photos import Batches, Pair, Pixels
from numpy.typing import NDArray
from torch import Tensor, nn

LARGEST = 16384


def restorer(module: nn.Module, backbone: Backbone) -> Callable[[Pixels], Pixels]:
    """Function H×W×3 RGB uint8 → the same, restored by `module` in fp32, on the device where it lies."""
    m = backbone.pad.multiple_of
    shapes = Shapes((m, m), (256, 256), (LARGEST, LARGEST), m)
    module.eval()

    @torch.no_grad()
    def run(tensor: NDArray[np.float32]) -> NDArray[np.float32]:
        restored: NDArray[np.float32] = module(torch.from_numpy(tensor).to(_device(module))).cpu().numpy()
        return restored

    return lambda image: tiles.apply(image, run, shapes, backbone.pad, backbone.tile)


def mean_psnr(restore: Callable[[Pixels], Pixels], pairs: Sequence[Pair]) -> float:
    """Mean over the pairs of PSNR in dB on 8-bit RGB."""
    return float(np.mean([psnr(restore(pair.degraded), pair.clean) for pair in pairs]))


def held_out_psnr(pairs: Sequence[tuple[Tensor, Tensor]]) -> Callable[[nn.Module], float]:
    """Function model → mean PSNR in dB over the pairs, for `fit` to validate with.

    pairs: (degraded, clean), each (1, 3, H, W) float32 in [0, 1], sides as the model takes them.
    """

    @torch.no_grad()
    def validate(model: nn.Module) -> float:
        model.eval()
        device = _device(model)
        errors = [(model(x.to(device)).clamp(0, 1) - y.to(device)).square().mean() for x, y in pairs]
        return float(-10 * torch.log10(torch.stack(errors)).mean())

    return validate


@torch.no_grad()
def training_psnr(model: nn.Module, batches: Batches, steps: Iterable[int]) -> list[float]:
    """PSNR in dB of each patch that was drawn at `steps`, as `model` restores it now; at most 80."""
    model.eval()
    device, found = _device(model), []
    for degraded, clean in (batches[step] for step in steps):
        errors = (model(degraded.to(device)).clamp(0, 1) - clean.to(device)).square().mean(dim=(1, 2, 3))
        found += (-10 * torch.log10(errors + 1e-8)).tolist()
    return found


def _device(module: nn.Module) -> torch.device:
    return next(module.parameters()).device


def compare(
    models: Mapping[str, nn.Module], backbone: Backbone, sets: Mapping[str, Sequence[Pair]]
) -> dict[str, dict[str, float]]:
    """Set → {"input": dB, model name: dB, …}."""
    table = {}
    for name, pairs in sets.items():
        row = {"input": mean_psnr(lambda image: image, pairs)}
        table[name] = row | {label: mean_psnr(restorer(m, backbone), pairs) for label, m in models.items()}
    return table


def print_table(table: Mapping[str, Mapping[str, float]], title: str) -> None:
    """Prints set by column in dB, aligned."""
    from rich.console import Console
    from rich.table import Table

    columns = list(next(iter(table.values())))
    drawn = Table("set", title=title)
    for column in columns:
        drawn.add_column(column, justify="right")
    for name, row in table.items():
        drawn.add_row(name, *(f"{row[c]:.2f}" for c in columns))
    Console().print(drawn)


def set_name(source: Path) -> str:
    """Name of a set of pairs: its folder's or list's, as a word for quality records."""
    source = source.resolve()
    return (source.name if source.is_dir() else source.stem).lower().replace("-", "_").replace(" ", "_")
