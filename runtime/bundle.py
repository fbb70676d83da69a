"""The bundle: a folder that holds all a device needs, and says what it is.

`manifest.json` (written last) · `graph.onnx` and `graph.data` (pristine backbone, or one task merged) ·
`golden.npz` · and, where tasks share the backbone, `weights.safetensors` (source parameters) and
`tasks/<task>.safetensors` (adapters). The manifest holds size and SHA-256 of every file but those in
`tasks/`, which verify themselves: a task exists if its file is there. A signature of the manifest may lie
beside it (runtime/sign.py). Nothing outside the folder is read.
Manifest: runtime/manifest.py.
"""

import hashlib
import os
import zipfile
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path

import numpy as np
from colora.devices.errors import BundleError, CheckpointError, unknown
from colora.runtime.adapter import Adapter, read_adapter
from colora.runtime.atomic import atomic_file, atomic_folder, write_bytes
from colora.runtime.golden import GOLDEN_SHAPE, golden_input
from colora.runtime.manifest import FileRecord, Manifest, manifest_bytes, parse_manifest
from colora.runtime.program import operands
from colora.runtime.sign import SIGNATURE, SIGNATURE_BYTES, read_trusted_key, verify_adapter, verify_manifest
from colora.runtime.stamp import Stamp, stamp
from colora.runtime.weights import Array, read_header, read_tensors, weights_sha256

MANIFEST = "manifest.json"
GRAPH = "graph.onnx"
GOLDEN = "golden.npz"
WEIGHTS = "weights.safetensors"
TASKS = "tasks"
REQUIRED = {"shared": (GRAPH, GOLDEN, WEIGHTS), "merged": (GRAPH, GOLDEN)}
MANIFEST_MAX_BYTES = 16 * 2**20
GOLDEN_MAX_BYTES = 2**20


@dataclass(frozen=True)
class Bundle:
    """A verified bundle. Only `open_bundle` makes one."""

    path: Path
    manifest: Manifest
    shapes: Mapping[str, tuple[int, ...]]
    """Source parameter → shape, of `weights.safetensors`; empty where a task is merged."""
    golden_output: Array
    """1×3×64×64 float32: what the graph as stored makes of `golden_input()`."""
    stamps: Mapping[str, Stamp] = field(default_factory=dict)
    """Of the manifest's files, before their hashes were checked."""
    trusted_key: bytes | None = None
    """Ed25519 public key whose signature every task must have; None trusts all."""

    @property
    def tasks(self) -> tuple[str, ...]:
        """Names of the tasks whose files are there now (not opened yet), or the one merged task."""
        if self.manifest.kind == "merged":
            return (self.manifest.task,)
        return tuple(sorted(file.stem for file in (self.path / TASKS).glob("*.safetensors")))

    def task_file(self, task: str) -> Path:
        """Where a task's adapter is, or would be."""
        return self.path / TASKS / f"{task}.safetensors"

    def read_task(self, task: str) -> Adapter:
        """Adapter of a task, verified on its own and against this bundle.

        Raises: UnknownName with the nearest names; BundleError or CheckpointError naming file and reason.
        """
        if self.manifest.kind == "merged" or task not in self.tasks:
            raise unknown("task", task, self.tasks)
        return self._check(_inside(self.path, f"{TASKS}/{self.task_file(task).name}"), task)

    def _check(self, file: Path, task: str | None) -> Adapter:
        adapter = read_adapter(file, self.manifest.backbone_sha256)
        if self.trusted_key is not None:
            verify_adapter(file, adapter, self.trusted_key)
        if task is not None and adapter.task != task:
            raise BundleError(f"{file} holds task {adapter.task!r}: rename it to {adapter.task}.safetensors")
        reached = {p for steps in self.manifest.program.values() for p in operands(steps)}
        for name, param in adapter.params.items():
            if self.shapes.get(name) != param.shape:
                raise CheckpointError(
                    f"{file}: parameter {name} is {param.shape}, in this bundle {self.shapes.get(name)}"
                )
            if name not in reached:
                raise CheckpointError(
                    f"{file}: no switchable tensor of the graph depends on parameter {name}"
                )
        return adapter


def write_bundle(path: str | os.PathLike[str], fill: Callable[[Path], Manifest]) -> Path:
    """Build a bundle beside `path` and put it there in one step.

    fill: writes the files (see above) into the empty folder it is given and returns the manifest; its
    `files` are
        filled in here. `golden.npz` is written by `write_golden`, `weights.safetensors` by `write_tensors`.
    The new folder is opened as a device would before it replaces what was there, so a failure, a kill or
    a full disk leaves the previous bundle whole. Only bundles and empty folders are replaced.
    Raises: BundleError, or what `fill` raised.
    """
    path = Path(path)
    if path.exists() and not (path.is_dir() and ((path / MANIFEST).is_file() or not any(path.iterdir()))):
        raise BundleError(f"{path} exists and is no bundle: it was left alone; choose another path")
    try:
        with atomic_folder(path) as folder:
            manifest = fill(folder)
            files = {
                file.relative_to(folder).as_posix(): FileRecord(file.stat().st_size, file_sha256(file))
                for file in sorted(folder.rglob("*"))
                if file.is_file() and file.parent != folder / TASKS
            }
            write_bytes(folder / MANIFEST, manifest_bytes(replace(manifest, files=files)))
            bundle = open_bundle(folder)
            if manifest.kind == "shared":
                _verify_backbone(folder / WEIGHTS, manifest.backbone_sha256)
            for task in bundle.tasks if manifest.kind == "shared" else ():
                bundle.read_task(task)
    except OSError as e:
        raise BundleError(f"{path} was not written: {e}; what was there before is unchanged") from e
    return path


def write_golden(path: str | os.PathLike[str], output: Array) -> None:
    """Write `golden.npz`. output: 1×3×64×64 float32, what the graph's network makes of `golden_input()`."""
    if output.shape != GOLDEN_SHAPE or not np.isfinite(output).all():
        raise BundleError(f"golden output has shape {output.shape}; expected finite {GOLDEN_SHAPE}")
    with atomic_file(path) as partial, partial.open("wb") as file:
        np.savez(file, input=golden_input(), output=output.astype(np.float32))


def open_bundle(path: str | os.PathLike[str], trusted_key: str | os.PathLike[str] | None = None) -> Bundle:
    """Open a bundle and verify it: format, paths, sizes, hashes, weight program, golden input.

    trusted_key: path of an Ed25519 public key (PEM) that must have signed the bundle and its tasks; see
    runtime/sign.py. Tasks are not opened here: a damaged one is refused by `Bundle.read_task`, the others stay usable.
    Raises: BundleError naming file and reason.
    """
    path = Path(path)
    file = path / MANIFEST
    with _reading(file):
        if not file.is_file():
            raise BundleError(f"{path} is no bundle: {MANIFEST} is missing; make one with colora-export")
        if (size := file.stat().st_size) > MANIFEST_MAX_BYTES:
            raise BundleError(f"{file} has {size} bytes, more than {MANIFEST_MAX_BYTES}: damaged or foreign")
        raw = _inside(path, MANIFEST).read_bytes()
    key = None if trusted_key is None else read_trusted_key(trusted_key)
    if key is not None:
        verify_manifest(path, raw, _read_signature(path), key)
    manifest = parse_manifest(raw, str(file))
    for name in REQUIRED[manifest.kind]:
        if name not in manifest.files:
            raise BundleError(f"{file} lists no {name}; a {manifest.kind} bundle needs it: export it again")
    stamps = {name: stamp(path / name) for name in manifest.files}
    with ThreadPoolExecutor(2) as pool:  # graph.data and weights.safetensors are most of it
        list(pool.map(lambda name: verify_file(_inside(path, name), manifest.files[name]), manifest.files))
    shapes = dict(read_header(path / WEIGHTS, BundleError).shapes) if manifest.kind == "shared" else {}
    for tensor, steps in manifest.program.items():
        for param in operands(steps):
            if param not in shapes:
                raise BundleError(f"{file}: weight program of {tensor} reads {param}, which {WEIGHTS} lacks")
    whole = path.absolute()  # a program may go to another folder while the bundle is in use
    return Bundle(whole, manifest, shapes, _read_golden(path / GOLDEN), stamps, key)


def add_task(
    bundle_path: str | os.PathLike[str],
    adapter_file: str | os.PathLike[str],
    trusted_key: str | os.PathLike[str] | None = None,
) -> Path:
    """Verify an adapter file against a bundle and copy it to `tasks/` atomically; nothing else is touched.

    A task of that name is replaced. trusted_key: as for `open_bundle`. Returns the path of the copy.
    Raises: BundleError, CheckpointError.
    """
    bundle = open_bundle(bundle_path, trusted_key)
    if bundle.manifest.kind != "shared":
        raise BundleError(f"{bundle.path} has task {bundle.manifest.task!r} merged in: export a shared one")
    source = Path(adapter_file)
    adapter = bundle._check(source, None)
    target = bundle.path / TASKS / f"{adapter.task}.safetensors"
    try:
        target.parent.mkdir(exist_ok=True)
        write_bytes(target, source.read_bytes())
    except OSError as e:
        raise BundleError(f"{target} was not written: {e}; what was there before is unchanged") from e
    return target


def _inside(folder: Path, name: str) -> Path:
    """Path of `name`, refused if it leads out of the folder (by `..`, an absolute path or a link) or to no file.

    A pipe, say, would be waited for.
    """
    try:
        root = folder.resolve()
        file = (root / name).resolve()
        special = file.exists() and not file.is_file()
    except (OSError, RuntimeError, ValueError) as e:  # links in a circle, names that no system has
        raise BundleError(f"{folder} / {name!r:.80} can't be followed: {e}; copy the file in") from e
    if not file.is_relative_to(root):
        raise BundleError(f"{folder / name} leads out of the bundle to {file}: refused; copy the file in")
    if special:
        raise BundleError(f"{folder / name} is no regular file: refused; copy the file in")
    return folder / name


def verify_file(file: Path, record: FileRecord) -> None:
    """Raises: BundleError if it is not what the manifest says."""
    with _reading(file):
        size = file.stat().st_size
        if size != record.size_bytes:
            raise BundleError(f"{file} is damaged: {size} bytes, expected {record.size_bytes}; copy it anew")
        if file_sha256(file) != record.sha256:
            raise BundleError(f"{file} is damaged: its SHA-256 is not the manifest's; copy it anew")


@contextmanager
def _reading(file: Path) -> Iterator[None]:
    try:
        yield
    except OSError as e:
        raise BundleError(f"{file} can't be read: {e.strerror or e}") from e


def _read_signature(bundle: Path) -> bytes | None:
    file = _inside(bundle, SIGNATURE)
    if not file.is_file():
        return None
    with _reading(file), file.open("rb") as stream:
        return stream.read(SIGNATURE_BYTES + 1)  # one of another length does not verify


def _verify_backbone(file: Path, expected: str) -> None:
    found = weights_sha256(read_tensors(file, BundleError)[0])
    if found != expected:
        raise BundleError(f"{file} holds backbone {found[:12]}…, but the manifest says {expected[:12]}…")


def file_sha256(file: Path) -> str:
    """Read in pieces, whatever its size. Raises: OSError."""
    digest = hashlib.sha256()
    piece = memoryview(
        bytearray(1 << 17)
    )  # one for all: new ones stay in the heap of the thread that hashes, 2 MB
    with file.open("rb", buffering=0) as stream:
        while count := stream.readinto(piece):
            digest.update(piece[:count])
    return digest.hexdigest()


def _read_golden(file: Path) -> Array:
    try:
        with zipfile.ZipFile(file) as archive:
            declared = sum(entry.file_size for entry in archive.infolist())
        if declared > GOLDEN_MAX_BYTES:
            raise BundleError(f"{file} unpacks to {declared} bytes, more than {GOLDEN_MAX_BYTES}: refused")
        with np.load(file, allow_pickle=False) as arrays:
            given, output = arrays["input"], arrays["output"]
    except BundleError:
        raise
    except Exception as e:  # numpy and zlib raise whatever a broken file leads them to
        raise BundleError(f"{file} is damaged: {type(e).__name__} {e}") from e
    if not np.array_equal(given, golden_input()):
        raise BundleError(f"{file}: its input is not this version's golden input: export the bundle again")
    if output.shape != GOLDEN_SHAPE or output.dtype != np.float32 or not np.isfinite(output).all():
        raise BundleError(
            f"{file}: output is {output.dtype} {output.shape}; expected finite float32 {GOLDEN_SHAPE}"
        )
    return np.asarray(output)
