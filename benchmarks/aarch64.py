"""The torch-free half on an emulated aarch64 machine, against this one: bundle, refit, tiles, restore, commands.

`.ci/aarch64` installs qemu-user, Python and the wheels that a Jetson would get; `python -m colora.benchmarks.aarch64`
runs benchmarks/aarch64_child.py there and here, compares every picture, prints the table and writes the record.
`make aarch64` does both.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import click
import numpy as np
from colora.benchmarks.demand import Demand, write_demands
from colora.benchmarks.record import environment, path_of, warn_if_dirty
from colora.benchmarks.script import output_option, run
from colora.devices.errors import BackendError

PACKAGES = ("numpy", "onnxruntime", "torch")
BACKBONES = ("nafnet-tiny", "restormer-tiny")
MOST = 1e-4
"""Units of the image range [0, 1]; a byte may be off by one, where two numbers lie on either side of a half."""
MACHINE = Path("build/aarch64")
"""What `.ci/aarch64` makes"""
SOURCE = Path(__file__).parents[1]

MEASURED = {
    "same": "benchmarks/aarch64_child.py, one process on each processor: policies refit and merged, floats and bytes, "
    "whole, every task and back to the first; tiles, one task and a mixture; the command restore from PNG to PNG.",
    "difference": "Largest of all pixels of all pictures in floating point, image range [0, 1]; of bytes, in levels.",
    "text": "What `colora devices`, `devices --plan` and `inspect` print, character for character.",
    "emulated": "qemu-user runs the aarch64 instructions of the real wheels; it says nothing about speed.",
}


def pictures() -> dict[str, Any]:
    """Floats that run whole, floats that are cut into tiles, bytes of an odd size."""
    rng = np.random.default_rng(0)
    whole, tiled = (rng.random((*size, 3), np.float32) for size in ((40, 56), (70, 150)))
    return {"bytes": rng.integers(0, 256, (33, 47, 3), np.uint8), "whole": whole, "tiled": tiled}


def interpreter(machine: Path) -> list[str]:
    """Command that starts the emulated Python. Raises: BackendError where it is not installed."""
    if not (machine / "installed").is_file():
        raise BackendError(f"{machine} holds no emulated machine: make one with .ci/aarch64 {machine}")
    return [
        str(machine / "host/usr/bin/qemu-aarch64-static"),
        *("-L", str(machine / "root"), str(machine / "root/usr/bin/python3")),
    ]


def child(python: Sequence[str], paths: Sequence[Path], bundle: Path, given: Path, output: Path) -> None:
    """Run benchmarks/aarch64_child.py, devices/ and runtime/ of this source at hand. Raises: BackendError."""
    with tempfile.TemporaryDirectory() as folder:
        package = Path(folder) / "colora"
        package.mkdir()
        for layer in ("devices", "runtime"):
            (package / layer).symlink_to(SOURCE / layer)
        search = os.pathsep.join(map(str, [folder, *paths]))
        done = subprocess.run(
            [*python, str(SOURCE / "benchmarks/aarch64_child.py"), *map(str, (bundle, given, output))],
            env={**os.environ, "PYTHONPATH": search, "PYTHONDONTWRITEBYTECODE": "1", "OMP_NUM_THREADS": "1"},
            capture_output=True,
            text=True,
        )
    if done.returncode:
        raise BackendError(f"{python[0]} left with {done.returncode}: {done.stderr.strip()[-2000:]}")


def compare(name: str, here: Mapping[str, Any], there: Mapping[str, Any]) -> list[Demand]:
    """Both results of one bundle. Raises: BackendError where they are not of the same things."""
    if here.keys() != there.keys() or any(here[key].shape != there[key].shape for key in here):
        raise BackendError(f"{name}: {sorted(here)} here, {sorted(there)} there")
    floats = [key for key in here if here[key].dtype == np.float32]
    bytes_ = [key for key in here if here[key].dtype == np.uint8]
    levels = [np.abs(here[key].astype(int) - there[key]) for key in bytes_]
    rows = []
    for part in ("refit, whole", "refit, tiled", "merged, whole", "merged, tiled"):
        largest = max(float(np.abs(here[k] - there[k]).max()) for k in floats if k.startswith(part))
        rows.append(Demand(f"{name}: {part}, largest difference", largest * 1e6, "10⁻⁶", most=MOST * 1e6))
    differ = sum(int(np.count_nonzero(level)) for level in levels) / sum(level.size for level in levels)
    rows.append(
        Demand(f"{name}: bytes, largest difference", float(max(map(np.max, levels))), "levels", most=1)
    )
    rows.append(Demand(f"{name}: bytes that differ", 100 * differ, "%"))
    texts = [json.loads(str(found["told"]))["same"] for found in (here, there)]
    same = sum(texts[0][command] == texts[1][command] for command in texts[0])
    rows.append(
        Demand(f"{name}: commands that print the same, of {len(texts[0])}", same, "", least=len(texts[0]))
    )
    return rows


@click.command()
@click.option(
    "--machine", default=MACHINE, show_default=True, type=click.Path(path_type=Path), help="Emulated."
)
@click.option(
    "--bundle",
    "bundles",
    multiple=True,
    type=click.Path(exists=True, file_okay=False, path_type=Path),
    help="May be repeated.  [default: tiny networks of both kinds, random weights]",
)
@output_option
def command(machine: Path, bundles: tuple[Path, ...], output: Path) -> None:
    """Compare restored pictures and printed text of an emulated aarch64 machine with those of this one."""
    where = environment(PACKAGES)
    warn_if_dirty(where)
    python = interpreter(machine.resolve())
    demands, told = [], {}
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary)
        np.savez(folder / "given.npz", **pictures())
        for bundle in bundles or [tiny(folder / name, name) for name in BACKBONES]:
            found = []
            for processor, by, paths in (
                ("here", [sys.executable], []),
                ("aarch64", python, [machine.resolve() / "site"]),
            ):
                click.echo(f"{bundle.name} on {processor} …", err=True)
                file = folder / f"{bundle.name}-{processor}.npz"
                child(by, paths, bundle.resolve(), folder / "given.npz", file)
                with np.load(file) as stored:
                    found.append(dict(stored))
                facts = told[f"{bundle.name}, {processor}"] = json.loads(str(found[-1]["told"]))
            if facts["machine"] != "aarch64":
                raise BackendError(
                    f"{machine} is {facts['machine']}, not aarch64: install it anew with .ci/aarch64"
                )
            demands += compare(bundle.name, *found)
    path = path_of(output, where, "aarch64")
    click.echo(write_demands(path, "aarch64", where, demands, MEASURED, {"told": told}))
    last = told[f"{bundle.name}, aarch64"]
    versions = ", ".join(f"{name} {number}" for name, number in last["packages"].items())
    click.echo(
        f"{last['machine']}: Python {last['python']}, {versions}; without TensorRT: {last['preflight']}"
    )
    click.echo(f"{path} and .md")
    if not all(d.holds in (True, None) for d in demands):
        raise BackendError("aarch64 differs from this machine by more than is asked: see the table")


def tiny(folder: Path, backbone: str) -> Path:
    """A bundle of two tasks over random weights."""
    from colora.benchmarks.tiny import make_tiny
    from colora.export.pipeline import export

    folder.mkdir()
    files = make_tiny(folder, backbone=backbone)
    output = folder / backbone
    return export(backbone=str(files.backbone), output=output, adapters=[files.rain, files.noise]).output


if __name__ == "__main__":
    run(command)
