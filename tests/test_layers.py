"""Who may import whom: devices ← runtime ← train ← export ← benchmarks, the two lowest no heavy package."""

from __future__ import annotations

import ast
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
FOLDERS = ("devices", "runtime", "train", "export", "benchmarks")
LIGHT = {
    "devices": {"colora.devices"},
    "runtime": {"colora.devices", "colora.runtime", "numpy", "click", "safetensors"},
}
"""folder → what its modules may import at their top, besides the standard library"""


def imports(nodes: list[ast.stmt], into_functions: bool) -> Iterator[str]:
    """Full names of the modules that `nodes` import; a relative import begins with a dot.

    Code under `if TYPE_CHECKING:` never runs and is left out.
    """
    for node in nodes:
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            yield "." * node.level + (node.module or "")
        elif isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef) and not into_functions:
            continue
        elif isinstance(node, ast.If) and ast.unparse(node.test).endswith("TYPE_CHECKING"):
            yield from imports(node.orelse, into_functions)
        else:
            for field in ("body", "orelse", "finalbody", "handlers", "cases"):
                yield from imports(getattr(node, field, []), into_functions)


def sources(*folders: str) -> list[Path]:
    paths = [path for folder in folders for path in sorted((ROOT / folder).rglob("*.py"))]
    assert paths, f"no source in {folders}: has a folder moved?"
    return paths


def heavy_imports(source: str, folder: str) -> list[str]:
    allowed = LIGHT[folder]
    return [
        name
        for name in imports(ast.parse(source).body, into_functions=False)
        if name.split(".")[0] not in allowed | sys.stdlib_module_names
        and ".".join(name.split(".")[:2]) not in allowed
    ]


def bare_imports(source: str) -> list[str]:
    return [
        name
        for name in imports(ast.parse(source).body, into_functions=True)
        if name.startswith(".") or name.split(".")[0] in FOLDERS
    ]


def test_layers_contract_is_kept() -> None:
    """The contract itself is in pyproject.toml."""
    command = [
        Path(sys.executable).parent / "lint-imports",
        "--no-cache",
        "--config",
        ROOT / "pyproject.toml",
    ]
    result = subprocess.run(command, cwd=ROOT, capture_output=True, text=True)
    assert result.returncode == 0, result.stdout + result.stderr


@pytest.mark.parametrize("path", sources(*FOLDERS, "tests"), ids=lambda path: str(path.relative_to(ROOT)))
def test_imports_name_colora(path: Path) -> None:
    """`import runtime` works from the repository's root, and loads a second copy of every class in it."""
    assert bare_imports(path.read_text("utf-8")) == []


@pytest.mark.parametrize("path", sources(*LIGHT), ids=lambda path: str(path.relative_to(ROOT)))
def test_light_folders_import_heavy_packages_inside_functions(path: Path) -> None:
    assert heavy_imports(path.read_text("utf-8"), path.relative_to(ROOT).parts[0]) == []


@pytest.mark.parametrize(
    ("source", "found"),
    [
        ("import runtime", ["runtime"]),
        ("def f():\n    from train.fit import fit", ["train.fit"]),
        ("from . import x", ["."]),
        ("import colora.runtime, runtimes", []),
    ],
)
def test_a_bare_import_is_found(source: str, found: list[str]) -> None:
    assert bare_imports(source) == found


@pytest.mark.parametrize(
    ("source", "found"),
    [
        ("try:\n    import torch\nexcept ImportError:\n    import onnx", ["torch", "onnx"]),
        ("class A:\n    from PIL import Image", ["PIL"]),
        ("import colora.train.fit, json, numpy.typing", ["colora.train.fit"]),
        ("def f():\n    import torch", []),
        ("from typing import TYPE_CHECKING\nif TYPE_CHECKING:\n    from PIL import Image", []),
    ],
)
def test_a_heavy_import_is_found(source: str, found: list[str]) -> None:
    assert heavy_imports(source, "runtime") == found
