"""A network of no use but its size: files for tests and for suites that time the work around a network."""

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import torch
    from colora.train.backbones import Backbone
    from torch import nn


@dataclass(frozen=True)
class Tiny:
    """Files of a backbone with random weights and two adapters that change it."""

    backbone: Path
    rain: Path
    noise: Path


def make_tiny(
    folder: Path, seed: int = 0, backbone: "str | Backbone" = "nafnet-tiny", share: float | None = None
) -> Tiny:
    """Writes the files to `folder`. Every parameter is random, those that start at 0 included.

    backbone: a layout or its name. share: numbers that an adapter stores, of those of the backbone, the same for each
    of its kernels; None: rank 1.
    """
    import torch
    from colora.runtime.adapter import Adapter, to_float16, write_adapter
    from colora.runtime.golden import golden_input
    from colora.train.checkpoint import load_backbone
    from colora.train.methods import attach, collect, merged
    from colora.train.ranks import allocate, has_rank

    files = Tiny(*(folder / f"{name}.safetensors" for name in ("backbone", "rain", "noise")))
    checkpoint = load_backbone(str(save_random(files.backbone, backbone, seed)))
    shapes = {name: tuple(p.shape) for name, p in checkpoint.module.named_parameters()}
    ranks = {name: int(has_rank(shape)) for name, shape in shapes.items()}
    if share is not None:
        budget = int(share * sum(p.numel() for p in checkpoint.module.parameters()))
        ranks = allocate(shapes, dict.fromkeys(shapes, 1.0), budget, beta=0.0).ranks
    generator = torch.Generator().manual_seed(seed + 1)
    for file in (files.rain, files.noise):
        model = merged(checkpoint, {})
        attach(model, ranks, {}, seed)
        stir(model, generator)
        params = to_float16(collect(model))  # as training writes them
        with torch.no_grad():
            golden = merged(checkpoint, params)(torch.from_numpy(golden_input())).numpy()
        write_adapter(file, Adapter(file.stem, "colora", checkpoint.sha256, params, golden))
    return files


def save_random(file: Path, backbone: "str | Backbone", seed: int = 0) -> Path:
    """Writes a backbone of random weights, and returns its file.

    They are what the layout starts from and 0.02 of noise, so that no branch is multiplied by 0: a picture comes out of
    NAFNet w32 between -0.6 and 1.7, and float32 errs by 3e-7 as with trained weights.
    """
    import torch
    from colora.train.backbones import find_backbone
    from colora.train.checkpoint import save_backbone

    spec = find_backbone(backbone) if isinstance(backbone, str) else backbone
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        module = spec.build()
    stir(module, torch.Generator().manual_seed(seed))
    save_backbone(file, module, spec, {})
    return file


def stir(module: "nn.Module", generator: "torch.Generator") -> None:
    """Add noise to every parameter that is trained."""
    import torch

    with torch.no_grad():
        for parameter in module.parameters():
            if parameter.requires_grad:
                parameter.add_(0.02 * torch.randn(parameter.shape, generator=generator))


def tiny_bundle(output: str) -> str:
    """Export the tiny network with both tasks to the folder `output`, and return that."""
    import tempfile

    from colora.export.pipeline import export

    with tempfile.TemporaryDirectory() as folder:
        files = make_tiny(Path(folder))
        export(backbone=str(files.backbone), output=output, adapters=[files.rain, files.noise])
    return output
