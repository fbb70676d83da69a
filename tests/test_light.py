"""The device's half of colora: importing it loads nothing heavy, and the base dependencies are enough to start."""

from __future__ import annotations

import subprocess
import sys

import pytest

HEAVY = (
    *("torch", "torchvision", "onnx", "onnxruntime", "onnxscript", "onnxsim", "tensorrt", "tensorrt_rtx"),
    *("openvino", "PIL", "cv2", "rich", "matplotlib", "scipy", "av", "tifffile", "imagecodecs"),
)
BASE_ALONE = f"import sys; sys.modules.update(dict.fromkeys({HEAVY}))"
"""From here on these packages import as if they were not installed, whether they are or not."""

IMPORT_ALL = """
import importlib, pkgutil, colora.devices, colora.runtime
for package in (colora.devices, colora.runtime):
    for module in pkgutil.iter_modules(package.__path__, package.__name__ + "."):
        importlib.import_module(module.name)
"""


def python(code: str) -> str:
    """What `code` prints, in an interpreter of its own: this one has loaded who knows what."""
    result = subprocess.run([sys.executable, "-W", "error", "-c", code], capture_output=True, text=True)
    assert result.returncode == 0, result.stderr
    return result.stdout


@pytest.mark.parametrize(
    "code", ["import colora.runtime, colora.devices", IMPORT_ALL], ids=["faces", "modules"]
)
def test_import_loads_nothing_heavy(code: str) -> None:
    loaded = python(code + f"\nimport sys; print(*({set(HEAVY)} & set(sys.modules)))")
    assert loaded.split() == []


def test_everything_imports_with_the_base_dependencies_alone() -> None:
    python(BASE_ALONE + IMPORT_ALL)


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (
            "from colora.runtime.backend import backend_class\n"
            "from colora.runtime.manifest import ImageConvention\n"
            "call = lambda: backend_class('ort').open(Path('graph.onnx'), ImageConvention(), {}, False, 1)",
            "the ONNX Runtime backend needs the package 'onnxruntime', which is not installed: "
            "pip install 'colora[ort]'",
        ),
        (
            "from colora.runtime.image import read_image\ncall = lambda: read_image('rainy.jpg')",
            "reading pictures from files needs the package 'PIL', which is not installed: "
            "pip install 'colora[image]'",
        ),
    ],
    ids=["backend", "picture"],
)
def test_a_missing_package_names_its_extra(call: str, message: str) -> None:
    tried = (
        "\nfrom colora.devices.errors import MissingExtra"
        "\ntry:\n    call()\nexcept MissingExtra as error:\n    print(error)"
    )
    assert python(f"{BASE_ALONE}\nfrom pathlib import Path\n{call}{tried}").strip() == message
