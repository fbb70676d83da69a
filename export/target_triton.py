"""`--target triton`: a model repository from which a Triton Inference Server serves a bundle.

    colora/<version>/bundle, model.py       any task by name, strengths, any size: Python backend over colora.runtime
    colora-<task>/<version>/model.onnx      one task, padded batches: ONNX Runtime backend, CPU or GPU

Triton shares no weights between models (triton-inference-server/server issues 5294 and 6752): each ONNX model holds a
whole network, in memory too. Inside one model it can: `colora` is one process with one backbone, which becomes
the task of each request. So a server has both: a model of its own for each task that is always asked for, and
`colora` for the rest.

Tasks are added to the bundle in place, and served from then on. A task's ONNX model that has changed becomes its next
version; so does `colora` where the bundle is made anew. By the policy in config.pbtxt the newest one is served.
"""

from __future__ import annotations

import filecmp
import tempfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from colora.devices.errors import BundleError
from colora.export.passes import TARGET_PASSES
from colora.export.task_onnx import write_task_onnx
from colora.runtime.atomic import atomic_folder, write_text
from colora.runtime.bundle import MANIFEST, Bundle, open_bundle
from colora.runtime.manifest import Manifest

ALL = "colora"
"""The model of all tasks; one task's is `colora-<task>`"""
BUNDLE, CODE, ONNX, CONFIG = "bundle", "model.py", "model.onnx", "config.pbtxt"
PASSES = TARGET_PASSES["gpu"]
"""What a server computes on is not known: those that are right everywhere, and no form for a CPU's caches"""
BATCH = 8
"""Pictures of one size that Triton may run at once"""

ANY_TASK = """\
# Any task of the bundle by name, from one backbone in memory. The Python that Triton runs it with needs colora[ort].
name: "colora"
backend: "python"
max_batch_size: 0
input [
  { name: "image" data_type: TYPE_UINT8 dims: [ -1, -1, 3 ] },
  { name: "task" data_type: TYPE_STRING dims: [ 1 ] },
  { name: "strength" data_type: TYPE_FP32 dims: [ 1 ] optional: true }
]
output [ { name: "restored" data_type: TYPE_UINT8 dims: [ -1, -1, 3 ] } ]
# more instances are more processes, each with a backbone of its own
instance_group [ { count: 1 kind: KIND_CPU } ]
version_policy: { latest: { num_versions: 1 } }
"""
ONE_TASK = """\
# Task %(task)s alone. RGB in [0, 1], each picture padded (%(mode)s, bottom and right) to heights and widths that are
# multiples of %(multiple)d; the result is cropped back and clipped.
name: "%(name)s"
backend: "onnxruntime"
max_batch_size: %(batch)d
input [ { name: "%(input)s" data_type: TYPE_FP32 dims: [ %(dims)s ] } ]
output [ { name: "%(output)s" data_type: TYPE_FP32 dims: [ %(dims)s ] } ]
dynamic_batching { }
version_policy: { latest: { num_versions: 1 } }
"""


@dataclass(frozen=True)
class Served:
    """A model of the repository."""

    name: str
    version: int
    file: Path
    written: bool
    """False where this version was there, byte for byte"""


def bundle_path(repository: Path, replace: bool) -> Path:
    """Where the repository's bundle is, or will be: that of the newest version; with `replace`, of the next.

    Raises: BundleError where `repository` is something else, which is left alone.
    """
    if repository.exists() and not repository.is_dir():
        raise BundleError(f"{repository} is no folder: choose another -o for the model repository")
    if (repository / MANIFEST).exists():
        raise BundleError(f"{repository} is a bundle, not a model repository: choose another -o")
    newest = _newest(repository / ALL)
    return repository / ALL / str(newest + 1 if replace or not newest else newest) / BUNDLE


def write_repository(
    repository: Path, progress: Callable[[str], None] = lambda stage: None
) -> tuple[Served, ...]:
    """Write the models of the newest bundle in `repository`, which an export has put at `bundle_path`.

    Each ONNX file has given its task's golden output in ONNX Runtime before it gets its name.
    progress: called with the name of each model as its turn comes.
    Raises: BundleError, ParityError, OSError; versions that were there are never changed.
    """
    path = bundle_path(repository, False)
    bundle = open_bundle(path)
    code = path.with_name(CODE)
    source = Path(__file__).with_name("triton_model.py").read_text()
    fresh = not code.exists()
    write_text(code, source)
    write_text(repository / ALL / CONFIG, ANY_TASK)
    served = [Served(ALL, int(path.parent.name), code, fresh)]
    for task in bundle.tasks:
        progress(f"Triton model of {task}")
        served.append(_write_task(repository, bundle, task))
    return tuple(served)


def _write_task(repository: Path, bundle: Bundle, task: str) -> Served:
    name = f"{ALL}-{task}"
    model, newest = repository / name, _newest(repository / name)
    with tempfile.TemporaryDirectory() as folder:
        made = Path(folder) / ONNX
        write_task_onnx(bundle, task, made)
        old = model / str(newest) / ONNX
        if old.is_file() and filecmp.cmp(made, old, shallow=False):
            return Served(name, newest, old, False)
        write_config(model / CONFIG, name, task, bundle.manifest, made)
        version = model / str(newest + 1)
        with atomic_folder(version) as partial:
            (partial / ONNX).write_bytes(made.read_bytes())
    return Served(name, newest + 1, version / ONNX, True)


def write_config(path: Path, name: str, task: str, manifest: Manifest, graph: Path) -> None:
    """config.pbtxt of one task's ONNX model. graph: its file, which says whether it takes batches."""
    import onnx

    (image,) = onnx.load(str(graph), load_external_data=False).graph.input
    batches = bool(image.type.tensor_type.shape.dim[0].dim_param)
    shapes = manifest.shapes
    sides = [-1 if low != high else low for low, high in zip(shapes.min, shapes.max, strict=True)]
    dims = ([] if batches else [1]) + [3, *sides]
    path.parent.mkdir(parents=True, exist_ok=True)
    write_text(
        path,
        ONE_TASK
        % {
            "name": name,
            "task": task,
            "mode": manifest.pad.mode,
            "multiple": manifest.pad.multiple_of,
            "batch": BATCH if batches else 0,
            "input": manifest.image.input,
            "output": manifest.image.output,
            "dims": ", ".join(map(str, dims)),
        },
    )


def _newest(model: Path) -> int:
    """Largest version of a model that holds something: an export that failed does not count; 0 where there is none."""
    return max(
        (int(f.name) for f in model.glob("[1-9]*") if f.name.isdigit() and any(f.glob("[!.]*"))), default=0
    )
