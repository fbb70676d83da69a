"""Exports what an experiment trained, and compares the bundle with PyTorch."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any


def export_check(results: "Sequence[dict[str, Any]]", work: Path) -> list[str]:
    """A sentence on each backbone that has adapters by FAIG: its bundle's tasks, restored by a session, against fp32
    PyTorch on a random picture. The bundle stays in the work folder."""
    import numpy as np
    from colora.export.pipeline import export
    from colora.runtime.adapter import read_adapter
    from colora.runtime.session import load
    from colora.train.checkpoint import load_backbone
    from colora.train.evaluate import restorer
    from colora.train.methods import merged

    adapters = {r["run"]["task"]: work / r["adapter"] for r in results if r["run"]["method"] == "colora"}
    if not adapters:
        return []
    if missing := [path for path in adapters.values() if not path.exists()]:
        return [f"not exported: {missing[0]} is not there"]
    sha256 = {read_adapter(path).backbone_sha256 for path in adapters.values()}
    files = [
        p
        for p in sorted((work / "backbones").glob("*.safetensors"))
        if load_backbone(str(p)).sha256 in sha256
    ]
    backbone = load_backbone(str(files[0]))
    bundle = work / f"bundle-{backbone.backbone.name}"
    export(backbone=str(files[0]), output=bundle, adapters=list(adapters.values()), replace=True)
    picture = np.random.default_rng(0).integers(0, 256, (96, 80, 3), np.uint8)
    told = []
    with load(bundle, "ort") as session:
        for task, path in adapters.items():
            expected = restorer(merged(backbone, read_adapter(path).params), backbone.backbone)(picture)
            worst = int(np.abs(session.restore(picture, task=task).astype(int) - expected).max())
            told.append(
                f"{backbone.backbone.name}, {task}: exported, and at most {worst} of 255 from PyTorch"
            )
    return told
