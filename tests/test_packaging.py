"""What gets installed is what is in the tree: an editable install hides a forgotten package, a wheel shows it."""

from __future__ import annotations

import shutil
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest
import tomllib

ROOT = Path(__file__).parents[1]
SETUP = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))["tool"]["setuptools"]
FOLDERS: dict[str, str] = SETUP["package-dir"]
"""package → folder"""

KINDS = {".py", ".typed", ".json", ".safetensors", ".md", ".jpg", ".png", ".html", ".css", ".js"}
"""suffixes of the files that a package may hold"""

TAKEN = sys.stdlib_module_names | {
    *("av", "bm3d", "click", "cryptography", "cuda", "cv2", "einops", "hypothesis", "jtop", "matplotlib"),
    *(
        "numpy",
        "onnx",
        "onnx_ir",
        "onnxruntime",
        "onnxscript",
        "onnxsim",
        "jinja2",
        "openvino",
        "PIL",
        "pillow",
        "psutil",
    ),
    *(
        "pynvml",
        "pytest",
        "rich",
        "safetensors",
        "scipy",
        "selenium",
        "spandrel",
        "tensorboard",
        "tensorrt",
        "tensorrt_rtx",
    ),
    *("tokenizers", "torch", "torchmetrics", "torchvision"),
}
"""module names that a file of ours, run as a script, would shadow"""


def package_files() -> dict[str, Path]:
    """Name in the wheel → file in the tree."""
    return {
        f"{package.replace('.', '/')}/{path.name}": path
        for package, folder in FOLDERS.items()
        for path in (ROOT / folder).iterdir()
        if path.is_file() and path.suffix != ".pyc"
    }


def test_package_list_equals_the_tree() -> None:
    top = {folder.split("/")[0] for folder in FOLDERS.values()}
    tree = {str(path.parent.relative_to(ROOT)) for name in top for path in (ROOT / name).rglob("__init__.py")}
    assert tree == set(FOLDERS.values())
    assert sorted(SETUP["packages"]) == sorted(FOLDERS)
    assert all(package == "colora." + folder.replace("/", ".") for package, folder in FOLDERS.items())
    assert not (ROOT / "colora").exists(), "colora is a namespace: it has no folder of its own"


def test_every_top_package_is_typed() -> None:
    for folder in {folder.split("/")[0] for folder in FOLDERS.values()}:
        assert (ROOT / folder / "py.typed").is_file(), (
            f"{folder}/py.typed is missing: mypy would ignore our types"
        )


def test_packages_hold_only_files_that_are_installed() -> None:
    strange = sorted(name for name, path in package_files().items() if path.suffix not in KINDS)
    assert strange == [], "add the suffix to package-data in pyproject.toml, and here"


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A wheel built from a copy, so that no build folder of ours can hide a missing file."""
    copy = tmp_path_factory.mktemp("copy")
    for folder in {folder.split("/")[0] for folder in FOLDERS.values()}:
        shutil.copytree(ROOT / folder, copy / folder, ignore=shutil.ignore_patterns("__pycache__"))
    for name in ("pyproject.toml", "README.md"):
        shutil.copy(ROOT / name, copy)
    command = [sys.executable, "-m", "pip", "wheel", "--no-deps", "--no-build-isolation", "-w", copy, copy]
    result = subprocess.run(command, capture_output=True, text=True)
    assert result.returncode == 0, result.stdout + result.stderr
    (built,) = copy.glob("colora-*.whl")
    return built


def test_wheel_holds_exactly_the_packages_files(wheel: Path) -> None:
    with zipfile.ZipFile(wheel) as archive:
        names = {name for name in archive.namelist() if ".dist-info/" not in name}
    assert names == set(package_files())


def test_wheel_makes_the_commands(wheel: Path) -> None:
    with zipfile.ZipFile(wheel) as archive:
        (name,) = (name for name in archive.namelist() if name.endswith("entry_points.txt"))
        text = archive.read(name).decode()
    assert "colora = colora.runtime.cli:main" in text
    assert "colora-export = colora.export.cli:main" in text


def test_no_module_is_named_after_a_package() -> None:
    stems = {path.stem: path for path in package_files().values() if path.suffix == ".py"}
    assert {str(stems[stem]) for stem in stems.keys() & TAKEN} == set()
