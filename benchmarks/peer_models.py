"""Files that the peers open, made from a bundle's two tasks; `write` runs in a process of its own: it loads torch."""

from __future__ import annotations

import shutil
import warnings
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from colora.benchmarks.compiled_models import PLAIN
from colora.benchmarks.peer_factors import tuned, with_factors
from colora.devices.errors import unknown
from colora.runtime.bundle import WEIGHTS, Bundle, open_bundle
from colora.runtime.weights import read_tensors, write_tensors

SOURCE, FACTORS, ADAPTER, NCNN = "weights.safetensors", "factors.onnx", "factors.onnx_adapter", "net.ncnn"
"""Files in the folder of a task: tuned weights by their own names; the graph that takes factors, and the factors; the
stem of ncnn's two files."""
FOLDERS = ("a", "b")
TRACED = 64
"""Side in px of the picture that ncnn's converter looks at; the network takes others too."""


def module_of(backbone: str, weights: dict[str, Any]) -> Any:
    """The network in PyTorch with these weights. Raises: UnknownName for a layout that has no name."""
    import torch
    from colora.train.backbones import BACKBONES

    if backbone not in BACKBONES:
        raise unknown("backbone", backbone, BACKBONES)
    module = BACKBONES[backbone].build()
    module.load_state_dict({name: torch.from_numpy(tensor) for name, tensor in weights.items()})
    return module.eval()


def write_weights(bundle: Bundle, folder: Path, tasks: Sequence[str]) -> None:
    """Tuned weights of two tasks, in folders a and b."""
    pristine = read_tensors(bundle.path / WEIGHTS)[0]
    for name, task in zip(FOLDERS, tasks, strict=True):
        (folder / name).mkdir(parents=True)
        write_tensors(folder / name / SOURCE, tuned(pristine, bundle.read_task(task).params), {})


def write(bundle: str, folder: str, tasks: str, size: str) -> dict[str, str]:
    """The other files, beside the weights; tasks: comma-separated. Returns file → why it could not be made."""
    opened, failed = open_bundle(bundle), {}
    pristine = read_tensors(opened.path / WEIGHTS)[0]
    adapters = [opened.read_task(task).params for task in tasks.split(",")]
    weights = [read_tensors(Path(folder) / name / SOURCE)[0] for name in FOLDERS]
    module = module_of(opened.manifest.backbone, weights[0])
    makers: dict[str, Callable[[], None]] = {
        PLAIN: lambda: _write_onnx(Path(folder), module, int(size), pristine, adapters, weights),
        NCNN: lambda: _write_ncnn(Path(folder), module),
    }
    for what, make in makers.items():
        try:
            make()
        except Exception as e:  # a peer that can't be made is a row that says so
            failed[what] = f"{type(e).__name__}: {str(e).splitlines()[0] if str(e) else 'no reason given'}"
    return failed


def _write_onnx(folder: Path, module: Any, size: int, pristine: Any, adapters: Any, weights: Any) -> None:
    import onnx
    import onnxruntime
    import onnxsim  # type: ignore[import-untyped]

    raw = export(module, size)
    for name, tensors in zip(FOLDERS, weights, strict=True):
        onnx.save(onnxsim.simplify(_with_weights(raw, tensors))[0], folder / name / PLAIN)
    graph, inputs = with_factors(_with_weights(raw, pristine), pristine, adapters)
    for name, given in zip(FOLDERS, inputs, strict=True):
        onnx.save(graph, folder / name / FACTORS)
        arrays = {key: np.ascontiguousarray(array, np.float32) for key, array in given.items()}  # borrowed
        adapter = onnxruntime.AdapterFormat()
        adapter.set_adapter_version(1)
        adapter.set_model_version(1)
        values = {key: onnxruntime.OrtValue.ortvalue_from_numpy(array) for key, array in arrays.items()}
        adapter.set_parameters(values)
        adapter.export_adapter(str(folder / name / ADAPTER))


def export(module: Any, size: int) -> Any:
    """`torch.onnx.export` at a fixed size, its initializers under the parameters' names."""
    import logging

    import torch

    logging.getLogger("torch.onnx").setLevel(logging.ERROR)
    with warnings.catch_warnings(), torch.no_grad():
        warnings.simplefilter("ignore")
        program = torch.onnx.export(
            module,
            (torch.rand(1, 3, size, size),),
            input_names=["input"],
            output_names=["output"],
            dynamo=True,
            optimize=False,  # it would fold names away
            verbose=False,
        )
    assert program is not None  # only without dynamo
    return program.model_proto


def _with_weights(model: Any, weights: Any) -> Any:
    import onnx

    made = onnx.ModelProto()
    made.CopyFrom(model)
    for tensor in made.graph.initializer:
        if tensor.name in weights:
            tensor.CopyFrom(
                onnx.numpy_helper.from_array(np.ascontiguousarray(weights[tensor.name]), tensor.name)
            )
    return made


def _write_ncnn(folder: Path, module: Any) -> None:
    import pnnx
    import torch

    target = folder / FOLDERS[0]
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        pnnx.export(module, str(target / "net.pt"), (torch.rand(1, 3, TRACED, TRACED),))
    for end in (".param", ".bin"):
        shutil.copy(target / f"{NCNN}{end}", folder / FOLDERS[1])
