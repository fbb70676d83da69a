"""What benchmarks/aarch64.py runs on either processor: the torch-free half over one bundle, results into one file.

Run as a file, with devices/ and runtime/ alone at hand: `python aarch64_child.py BUNDLE PICTURES.npz RESULTS.npz`.
"""

from __future__ import annotations

import contextlib
import io
import json
import platform
import sys
import tempfile
from collections.abc import Iterator
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np
from colora.devices.errors import ColoraError
from colora.devices.probe import probe
from colora.runtime.bundle import open_bundle
from colora.runtime.cli import main
from colora.runtime.session import load

PACKAGES = ("numpy", "onnxruntime", "pillow", "safetensors", "click", "rich")
COMMANDS = (("devices",), ("devices", "--plan", "BUNDLE", "--target", "jetson"), ("inspect", "BUNDLE"))
"""Whose text must be the same on every processor; BUNDLE stands for the folder"""


def results(bundle: Path, pictures: dict[str, Any], folder: Path) -> Iterator[tuple[str, Any]]:
    """What was done, and the picture it gave."""
    tasks = open_bundle(bundle).tasks
    mixture = {task: 1 / (i + 2) for i, task in enumerate(tasks)}
    for policy in ("refit", "merged"):
        with load(bundle, backend="ort", policy=policy, threads=1) as session:
            for name, picture in pictures.items():
                for task in tasks[:1] if name == "tiled" else (*tasks, *tasks[:1]):  # and back to the first
                    yield f"{policy}, {name}, {task}", session.restore(picture, task)
            yield f"{policy}, {name}, mixture", session.restore(picture, mixture)
    yield "command restore", restored_by_command(bundle, pictures["bytes"], tasks[0], folder)


def restored_by_command(bundle: Path, picture: Any, task: str, folder: Path) -> Any:
    """`colora restore` from one PNG to another."""
    from PIL import Image

    before, after = folder / "before.png", folder / "after.png"
    Image.fromarray(picture).save(before)
    said(
        "restore", str(before), "--task", task, "--bundle", str(bundle), "--backend", "ort", "-o", str(after)
    )
    return np.asarray(Image.open(after))


def said(*command: str) -> str:
    """What a command of `colora` prints. Raises: ColoraError."""
    text = io.StringIO()
    with contextlib.redirect_stdout(text):
        main(command, standalone_mode=False)
    return text.getvalue()


def preflight() -> str:
    """What a device is told that lacks TensorRT."""
    from colora.runtime import preflight

    try:
        preflight.tensorrt()
    except ColoraError as e:
        return f"{type(e).__name__}: {e}"
    return "TensorRT is here"


def run(bundle: Path, given: Path, output: Path) -> None:
    """Write every result and a JSON text of what was said."""
    with np.load(given) as stored, tempfile.TemporaryDirectory() as folder:
        found = dict(results(bundle, dict(stored), Path(folder)))
    told: dict[str, Any] = {
        "machine": platform.machine(),
        "python": platform.python_version(),
        "packages": {name: version(name) for name in PACKAGES},
        "probe": probe().machine,
        "here": said("devices", "--here"),
        "preflight": preflight(),
        "same": {" ".join(c): said(*(str(bundle) if x == "BUNDLE" else x for x in c)) for c in COMMANDS},
    }
    np.savez(output, **found, told=np.array(json.dumps(told)))


if __name__ == "__main__":
    run(*(Path(argument) for argument in sys.argv[1:4]))
