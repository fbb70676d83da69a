"""A bundle of what is shipped, a backbone and all its adapters: `python -m colora.benchmarks.zoo_bundle FOLDER`."""

import sys
from collections.abc import Iterable
from pathlib import Path


def zoo_bundle(output: Path, backbone: str, passes: Iterable[str] | None = None) -> Path:
    """Export the zoo's `backbone` with every adapter of the zoo that fits it. Raises: what `export` raises."""
    from colora.export.pipeline import export
    from colora.runtime.adapter import read_adapter
    from colora.train.backbones import BACKBONES
    from colora.train.checkpoint import load_backbone, zoo

    sha256 = load_backbone(backbone).sha256
    adapters = {name: read_adapter(file) for name, file in sorted(zoo().items()) if name not in BACKBONES}
    tasks = [name for name, adapter in adapters.items() if adapter.backbone_sha256 == sha256]
    return export(tasks, backbone, output=output, passes=passes).output


if __name__ == "__main__":
    from colora.train.backbones import DEFAULT_BACKBONE

    zoo_bundle(Path(sys.argv[1]), DEFAULT_BACKBONE)
