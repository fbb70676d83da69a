"""A tiny backbone with two adapters that do something, and the bundle that the real export makes of them."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import pytest

pytest.importorskip("torch", reason="benchmarks export what they measure: pip install 'colora[bench]'")


@dataclass(frozen=True)
class Tiny:
    backbone: Path
    rain: Path
    noise: Path
    bundle: Path


@pytest.fixture(scope="session")
def tiny(tmp_path_factory: pytest.TempPathFactory) -> Tiny:
    import torch
    from colora.export.pipeline import export
    from colora.runtime.adapter import Adapter, write_adapter
    from colora.runtime.golden import golden_input
    from colora.train.backbones import find_backbone
    from colora.train.checkpoint import load_backbone, save_backbone
    from colora.train.methods import attach, collect, merged
    from colora.train.ranks import has_rank

    folder = tmp_path_factory.mktemp("tiny")
    files = Tiny(
        folder / "backbone.safetensors",
        folder / "rain.safetensors",
        folder / "noise.safetensors",
        folder / "b",
    )
    generator = torch.Generator().manual_seed(0)

    def stir(module: torch.nn.Module) -> None:
        with torch.no_grad():
            for parameter in module.parameters():
                if parameter.requires_grad:
                    parameter.add_(0.02 * torch.randn(parameter.shape, generator=generator))

    spec = find_backbone("nafnet-tiny")
    module = spec.build()
    stir(module)
    save_backbone(files.backbone, module, spec, {})
    checkpoint = load_backbone(str(files.backbone))
    ranks = {name: 1 if has_rank(tuple(p.shape)) else 0 for name, p in module.named_parameters()}
    for seed, file in enumerate((files.rain, files.noise)):
        model = merged(checkpoint, {})
        attach(model, ranks, {}, seed)
        stir(model)
        params = collect(model)
        with torch.no_grad():
            golden = merged(checkpoint, params)(torch.from_numpy(golden_input())).numpy()
        write_adapter(file, Adapter(file.stem, "colora", checkpoint.sha256, params, golden))
    export(backbone=str(files.backbone), output=files.bundle, adapters=[files.rain, files.noise])
    return files
