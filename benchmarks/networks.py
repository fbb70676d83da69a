"""The networks that benchmarks take: shipped ones, files, and layouts without shipped weights, then random."""

from collections.abc import Iterable
from pathlib import Path

from colora.benchmarks.tiny import make_tiny, save_random
from colora.benchmarks.zoo_bundle import zoo_bundle

RANDOM = {"nafnet-sidd-w32": 0.07}
"""Layouts of published networks that benchmarks run beside ours: name → what an adapter stores of its numbers."""
MILLIONS = {"nafnet-sidd-w32": 29}
"""Their parameters."""
BACKBONES = f"Of the zoo, a file, or a layout such as {', '.join(RANDOM)}, then with random weights."
"""Help of --backbone."""


def is_random(backbone: str) -> bool:
    """A layout that no weights are shipped for."""
    from colora.train.backbones import BACKBONES as LAYOUTS
    from colora.train.checkpoint import zoo

    return backbone in LAYOUTS and backbone not in zoo()


def source_of(backbone: str, folder: Path) -> str:
    """What `load_backbone` takes: the name or file itself, or a file of random weights, written to `folder`."""
    return str(save_random(folder / "backbone.safetensors", backbone)) if is_random(backbone) else backbone


def make_bundle(backbone: str, folder: Path, passes: Iterable[str] | None = None) -> Path:
    """Export to `folder`/bundle, with every adapter shipped for it, or two random ones. Raises: what `export` raises.

    Adapters are of rank 1 where RANDOM says nothing else.
    """
    from colora.export.pipeline import export

    output = folder / "bundle"
    if not is_random(backbone):
        return zoo_bundle(output, backbone, passes)
    files = make_tiny(folder, backbone=backbone, share=RANDOM.get(backbone))
    adapters = [files.rain, files.noise]
    return export(backbone=str(files.backbone), output=output, adapters=adapters, passes=passes).output


def export(backbone: str, folder: str) -> str:
    """`make_bundle`, for a process that gives its memory back."""
    return str(make_bundle(backbone, Path(folder)))
