"""N tasks as files, both ways: one bundle with N adapters, and N whole models with one task merged into each."""

import shutil
from collections.abc import Iterable
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from colora.devices.errors import BundleError
from colora.runtime.adapter import Adapter, write_adapter
from colora.runtime.bundle import GRAPH, TASKS, Bundle, add_task, open_bundle
from colora.runtime.golden import golden_input
from colora.runtime.merge import GraphTensors
from colora.runtime.mixture import Part
from colora.runtime.weights import Array


@dataclass(frozen=True)
class Member:
    """One task of a fleet."""

    task: str
    origin: str
    """`bundle`: it was there. `shuffled <task>`: made here, the numbers of that adapter in random order."""
    adapter: Path
    """In the bundle."""
    model: Path
    """`graph.onnx` with this task merged in, `graph.data` beside it; shares no file with the others."""


def make_fleet(bundle_path: Path, folder: Path, count: int, seed: int = 0) -> list[Member]:
    """`count` tasks: those of the bundle, then shuffled ones, which are added to the bundle. Models go to `folder`.

    Raises: BundleError for a bundle that shares no backbone or has no task.
    """
    bundle = open_bundle(bundle_path)
    if bundle.manifest.kind != "shared" or not bundle.tasks:
        raise BundleError(f"{bundle_path}: expected a shared bundle with a task or more: export one")
    trained = [bundle.read_task(task) for task in bundle.tasks]
    members = []
    for i in range(count):
        source = trained[i % len(trained)]
        adapter = source if i < len(trained) else shuffled(source, f"{source.task}-shuffled-{i}", seed + i)
        model = write_merged(bundle, adapter, folder / adapter.task)
        origin = "bundle"
        if adapter is not source:
            origin = f"shuffled {source.task}"
            file = folder / f"{adapter.task}.safetensors"
            write_adapter(file, replace(adapter, golden_output=golden_output(bundle, model)))
            add_task(bundle_path, file)
        members.append(
            Member(adapter.task, origin, bundle.path / TASKS / f"{adapter.task}.safetensors", model)
        )
    return members


def shuffled(adapter: Adapter, task: str, seed: int) -> Adapter:
    """An adapter of the same ranks, sizes and spread of values, of a task that means nothing.

    Its golden output is still that of `adapter`.
    """
    rng = np.random.default_rng(seed)
    params = {
        name: replace(
            p, tensors={n: rng.permutation(t.ravel()).reshape(t.shape) for n, t in p.tensors.items()}
        )
        for name, p in adapter.params.items()
    }
    return replace(adapter, task=task, params=params, quality={}, seeds={"shuffle": seed})


def write_merged(bundle: Bundle, adapter: Adapter, folder: Path) -> Path:
    """The bundle's graph with `adapter` merged in at strength 1, as files of its own; returns its `graph.onnx`."""
    import onnx

    folder.mkdir(parents=True)
    shutil.copy(bundle.path / GRAPH, folder)
    model = onnx.load(bundle.path / GRAPH, load_external_data=False)
    places = {t.name: {e.key: e.value for e in t.external_data} for t in model.graph.initializer}
    for file in {place["location"] for place in places.values() if place}:
        shutil.copy(bundle.path / file, folder)
    for name, tensor in GraphTensors(bundle).under((Part(adapter, 1.0),), bundle.manifest.program):
        with (folder / places[name]["location"]).open("r+b") as data:
            data.seek(int(places[name]["offset"]))
            data.write(tensor.tobytes())
    return folder / GRAPH


def golden_output(bundle: Bundle, model: Path) -> Array:
    """1×3×64×64 float32: what the ONNX file `model` makes of the golden input."""
    import onnxruntime

    session = onnxruntime.InferenceSession(str(model), providers=["CPUExecutionProvider"])
    image = bundle.manifest.image
    output: Array = session.run([image.output], {image.input: golden_input()})[0]
    return output


def folder_bytes(folder: Path) -> int:
    """Size of the files directly in `folder`."""
    return sum(file.stat().st_size for file in folder.iterdir() if file.is_file())


def shared_bytes(bundle_path: Path, members: Iterable[Member]) -> int:
    """Files of a bundle that holds these tasks."""
    return folder_bytes(bundle_path) + sum(member.adapter.stat().st_size for member in members)


def separate_bytes(members: Iterable[Member]) -> int:
    """Files of the whole models of these tasks."""
    return sum(folder_bytes(member.model.parent) for member in members)
