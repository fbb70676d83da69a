"""A tiny backbone with two adapters that do something, and the bundle that the real export makes of them."""

from __future__ import annotations

from pathlib import Path

import pytest
from colora.benchmarks.tiny import Tiny, make_tiny

pytest.importorskip("torch", reason="benchmarks export what they measure: pip install 'colora[bench]'")


@pytest.fixture(scope="session")
def tiny(tmp_path_factory: pytest.TempPathFactory) -> Tiny:
    return make_tiny(tmp_path_factory.mktemp("tiny"))


@pytest.fixture(scope="session")
def bundle(tiny: Tiny, tmp_path_factory: pytest.TempPathFactory) -> Path:
    from colora.export.pipeline import export

    output = tmp_path_factory.mktemp("bundle") / "tiny"
    return export(backbone=str(tiny.backbone), output=output, adapters=[tiny.rain, tiny.noise]).output
