"""Ways to damage a bundle: each changes the folder it is given and says how.

Half of the cases have the hashes made right again after the damage, as an attacker would: then only the checks behind
the hashes are left, the golden output last of all.
"""

import json
import os
import shutil
import socket
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
from colora.benchmarks.fuzz_bytes import Rng, damage, damage_json
from colora.devices.errors import ColoraError
from colora.runtime.adapter import read_adapter, write_adapter
from colora.runtime.bundle import GOLDEN, MANIFEST, add_task, file_sha256
from colora.runtime.golden import golden_input

BUNDLE_FILES = (
    "manifest.json",
    "graph.onnx",
    "graph.data",
    "weights.safetensors",
    "golden.npz",
    "parity.json",
)
ESCAPES = (
    *(
        "../x",
        "../../etc/passwd",
        "/etc/passwd",
        "tasks/../../x",
        "a\\..\\x",
        "C:x",
        ".",
        "",
        "..",
        "graph.onnx/..",
        "x\0y",
    ),
    *("\ud800", "n" * 300, "a/" * 3000 + "x", "./graph.onnx", "tasks/rain.safetensors"),
)


def bytes_of_a_file(bundle: Path, rng: Rng) -> str:
    file = _some_file(bundle, rng)
    return f"{file.name} {_change(file, rng)}"


def bytes_with_right_hashes(bundle: Path, rng: Rng) -> str:
    done = bytes_of_a_file(bundle, rng)
    rehash(bundle)
    return done


def manifest_values(bundle: Path, rng: Rng) -> str:
    file = bundle / MANIFEST
    data, done = damage_json(json.loads(file.read_bytes()), rng)
    _write(file, json.dumps(data).encode())
    return done


def manifest_paths(bundle: Path, rng: Rng) -> str:
    """A file under a name that leads out, or with a size or hash that is not its own."""
    file = bundle / MANIFEST
    data = json.loads(file.read_bytes())
    name = str(rng.choice(list(data["files"])))
    other = ESCAPES[rng.integers(len(ESCAPES))]
    if rng.random() < 0.5:
        data["files"][other] = data["files"].pop(name)
    else:
        data["files"][other] = {"size_bytes": int(rng.choice([0, 1, 2**62])), "sha256": "0" * 64}
    _write(file, json.dumps(data).encode())
    return f"{name} as {other[:40]!r}"


def missing_file(bundle: Path, rng: Rng) -> str:
    file = _some_file(bundle, rng)
    file.unlink()
    if rng.random() < 0.3:
        file.mkdir()
    return file.name


def swapped_files(bundle: Path, rng: Rng) -> str:
    one, other = _some_file(bundle, rng), _some_file(bundle, rng)
    a, b = one.read_bytes(), other.read_bytes()
    _write(one, b)
    _write(other, a)
    if rng.random() < 0.5:
        rehash(bundle)
    return f"{one.name} and {other.name}"


def links(bundle: Path, rng: Rng) -> str:
    """A link that leads out (refused), that leads in circles, or a thing that is no file and may never answer."""
    file = _some_file(bundle, rng)
    outside = bundle.parent / "outside"
    kind = str(rng.choice(["out", "out folder", "loop", "pipe", "socket", "zero", "dangling"]))
    if kind == "out folder":
        shutil.move(bundle / "tasks", outside)
        (bundle / "tasks").symlink_to(outside)
        return kind
    shutil.move(file, outside)
    if kind == "pipe":
        os.mkfifo(file)
    elif kind == "socket":
        with socket.socket(socket.AF_UNIX) as s:
            s.bind(os.path.relpath(file))  # at most 107 bytes
    else:
        target = {"out": outside, "loop": file, "zero": Path("/dev/zero"), "dangling": Path("nowhere")}[kind]
        file.symlink_to(target)
    return f"{file.name} {kind}"


def adapter_metadata(bundle: Path, rng: Rng) -> str:
    """Any value of what an adapter says about itself; or of the container's header."""
    file = bundle / "tasks" / "rain.safetensors"
    raw = file.read_bytes()
    length = int.from_bytes(raw[:8], "little")
    header = json.loads(raw[8 : 8 + length])
    if rng.random() < 0.5:
        header, done = damage_json(header, rng)
    else:
        about, done = damage_json(json.loads(header["__metadata__"]["colora"]), rng)
        header["__metadata__"]["colora"] = json.dumps(about)
    text = json.dumps(header).encode()
    _write(file, len(text).to_bytes(8, "little") + text + raw[8 + length :])
    return done


def adapter_numbers(bundle: Path, rng: Rng) -> str:
    """Other numbers under a right hash: only the golden check is left."""
    file = bundle / "tasks" / "rain.safetensors"
    adapter = read_adapter(file)
    name = str(rng.choice(list(adapter.params)))
    param = adapter.params[name]
    short = str(rng.choice(list(param.tensors)))
    tensor = param.tensors[short].copy()
    done = str(rng.choice(["large", "permuted", "zero", "scale", "overflow"]))
    if done == "large":
        tensor.flat[rng.integers(tensor.size)] = rng.choice([1e3, -1e20, 3e38])
    elif done == "permuted":
        tensor = rng.permutation(tensor.ravel()).reshape(tensor.shape)
    elif done == "zero":
        tensor[...] = 0
    scale = {"scale": param.scale * 4, "overflow": 1e300}.get(done, param.scale)
    changed = replace(param, tensors={**param.tensors, short: tensor}, scale=scale)
    file.unlink()
    write_adapter(file, replace(adapter, params={**adapter.params, name: changed}))
    return f"{name}.{short} {done}"


def other_backbone(bundle: Path, rng: Rng) -> str:
    """An adapter that says it was made for another backbone, or for another task."""
    file = bundle / "tasks" / "rain.safetensors"
    adapter = read_adapter(file)
    file.unlink()
    changed = replace(adapter, backbone_sha256=rng.bytes(32).hex())
    if rng.random() < 0.5:
        changed = replace(adapter, task="fog")
    write_adapter(file, changed)
    return changed.task


def added_adapter(bundle: Path, rng: Rng) -> str:
    """A damaged adapter given to `add_task`: refused, and the one of before is untouched."""
    source = bundle.parent / "rain.safetensors"
    data, done = damage((bundle / "tasks" / "rain.safetensors").read_bytes(), rng)
    source.write_bytes(data)
    try:
        add_task(bundle, source)
    except ColoraError as e:
        if str(source) not in str(e):
            raise ValueError(f"the error names no file: {e}") from e
    return done


def golden_archive(bundle: Path, rng: Rng) -> str:
    """golden.npz with another content and a right hash."""
    file = bundle / GOLDEN
    file.unlink()
    kind = str(rng.choice(["object", "bomb", "shape", "dtype", "nan", "other input", "no zip"]))
    output: Any = np.zeros((1, 3, 64, 64), np.float32)
    given: Any = golden_input()
    if kind == "object":
        output = np.array([{"a": 1}], dtype=object)
    elif kind == "bomb":
        output = np.zeros(2**25, np.float32)
    elif kind == "shape":
        output = output[:, :, 1:]
    elif kind == "dtype":
        output = output.astype(">f4")
    elif kind == "nan":
        output[0, 0, 0, 0] = np.nan
    elif kind == "other input":
        given = given[::-1] + 1
    with file.open("wb") as stream:
        if kind == "no zip":
            stream.write(rng.bytes(99))
        else:
            np.savez_compressed(stream, input=given, output=output)
    rehash(bundle)
    return kind


Way = Callable[[Path, Rng], str]
WAYS: tuple[Way, ...] = (
    *(
        bytes_of_a_file,
        bytes_of_a_file,
        bytes_with_right_hashes,
        bytes_with_right_hashes,
        manifest_values,
        manifest_values,
    ),
    *(
        manifest_paths,
        missing_file,
        swapped_files,
        links,
        adapter_metadata,
        adapter_metadata,
        adapter_numbers,
    ),
    *(other_backbone, added_adapter, golden_archive),
)
EXACT = frozenset({bytes_of_a_file, manifest_paths, missing_file, links, other_backbone, added_adapter})
"""What is accepted after these must give the very bits of the whole bundle."""


def rehash(bundle: Path) -> None:
    """Sizes and hashes in the manifest as the files are, where it can still be read."""
    file = bundle / MANIFEST
    try:
        data = json.loads(file.read_bytes())
        for name, record in data["files"].items():
            record.update(size_bytes=(bundle / name).stat().st_size, sha256=file_sha256(bundle / name))
    except (ValueError, OSError, TypeError, KeyError, AttributeError):
        return
    _write(file, json.dumps(data).encode())


def _some_file(bundle: Path, rng: Rng) -> Path:
    names = [name for name in BUNDLE_FILES if (bundle / name).is_file()]
    return bundle / str(rng.choice([*names, "tasks/rain.safetensors", "tasks/noise.safetensors"]))


def _change(file: Path, rng: Rng) -> str:
    data, done = damage(file.read_bytes(), rng)
    _write(file, data)
    return done


def _write(file: Path, data: bytes) -> None:
    """Not through the link to the whole bundle's file."""
    file.unlink()
    file.write_bytes(data)
