"""Where a graph goes wrong: the first tensor that differs, found by bisection, and the step of the export behind it.

An export is a row of graphs: the exporter's, one after each pass, the session that a device opens. Each is run with the
same weights on the same picture. Where the output first leaves PyTorch's by more than the tolerance, the tensors that
the two graphs share by name are compared, half of the rest at a time, as if each made all behind it wrong.
Graphs before the session are run as they are, without optimisation, their weights being inputs.
"""

from __future__ import annotations

import shutil
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING

import numpy as np
from colora.export.graph import DATA
from colora.export.tensors import GraphTensors
from colora.runtime.backend_ort import OrtBackend
from colora.runtime.bundle import GRAPH
from colora.runtime.manifest import ImageConvention
from colora.runtime.program import Program, Step
from colora.runtime.weights import Array
from torch import from_numpy, nn, no_grad
from torch.func import functional_call

if TYPE_CHECKING:
    import onnx

OUTPUT = ImageConvention().output
Watch = Callable[[str], Array]
"""Name of a tensor → its value"""


@dataclass(frozen=True)
class Stage:
    """A graph on its way to the bundle."""

    name: str
    """what made it: torch.onnx, or a pass"""
    model: onnx.ModelProto
    """open"""
    program: Program


@dataclass(frozen=True)
class Difference:
    """Between one step of an export and the next."""

    tensor: str
    """the first that differs; the output where no other is comparable"""
    node: str
    """the operator that makes it, and its type"""
    stage: str
    """the step that changed it"""
    error: float
    """largest difference of that tensor, in units of its largest number, or of 1 if that is less"""

    def __str__(self) -> str:
        return f"The first tensor that differs is {self.tensor} of {self.node}, by {self.error:.3g}, since {self.stage}"


def first_difference(
    module: nn.Module,
    weights: Mapping[str, Array],
    stages: Sequence[Stage],
    graph: Path,
    refit: bool,
    image: Array,
    tolerance: float,
) -> Difference | None:
    """Of the network as trained and what a device makes of it under the same `weights`; None where all agree.

    stages: in order, the exporter's graph first. graph: the closed graph of the last one.
    tolerance: largest difference allowed, in units of the largest number of a tensor, or of 1 if that is less.
    """
    modules = _modules(stages[0])
    before = _trained(module, weights, modules, image)
    comparable = list(modules)
    expected = before(OUTPUT)
    how = "in place" if refit else "fully optimised"
    steps = [
        (f"pass {s.name}" if i else s.name, s.model, _as_it_is(s, weights, image))
        for i, s in enumerate(stages)
    ]
    last = _opened(graph, GraphTensors(stages[-1].program, weights), refit, image)
    steps.append((f"ONNX Runtime's session ({how})", stages[-1].model, last))
    for told, model, after in steps:
        made = _made(model)
        if _error(after(OUTPUT), expected) > tolerance:
            shared = [name for name in comparable if name in made and name != OUTPUT]
            tensor, error = _bisect([*shared, OUTPUT], before, after, tolerance)
            node = made[tensor]
            return Difference(tensor, f"{node.name or node.op_type} ({node.op_type})", told, error)
        before, comparable = after, list(made)
    return None


def _bisect(names: Sequence[str], before: Watch, after: Watch, tolerance: float) -> tuple[str, float]:
    """The first that differs, where the last does, and by how much."""
    low, high = 0, len(names) - 1
    while low < high:
        middle = (low + high) // 2
        differs = _error(after(names[middle]), before(names[middle])) > tolerance
        low, high = (low, middle) if differs else (middle + 1, high)
    return names[low], _error(after(names[low]), before(names[low]))


def _error(found: Array, expected: Array) -> float:
    """Infinite where shapes differ or a number is none."""
    if found.shape != expected.shape:
        return float("inf")
    error = float(np.abs(found - expected).max()) / max(1.0, float(np.abs(expected).max()))
    return float("inf") if np.isnan(error) else error


def _made(model: onnx.ModelProto) -> dict[str, onnx.NodeProto]:
    """Tensor of pictures → its operator, in order."""
    import onnx

    typed = onnx.shape_inference.infer_shapes(model).graph
    types = {v.name: v.type.tensor_type.elem_type for v in (*typed.value_info, *typed.output)}
    floats = {name for name, kind in types.items() if kind == onnx.TensorProto.FLOAT}
    return {name: node for node in model.graph.node for name in node.output if name in floats}


def _modules(stage: Stage) -> dict[str, str]:
    """Tensor of the exporter's graph → module of the trained network that makes it: convolutions of plain weights."""
    found = {}
    for name, node in _made(stage.model).items():
        weights = node.input[1:]
        if node.op_type == "Conv" and all(stage.program.get(w) == (Step("param", (w,)),) for w in weights):
            found[name] = weights[0].removesuffix(".weight")
    return found


def _trained(
    module: nn.Module, weights: Mapping[str, Array], modules: Mapping[str, str], image: Array
) -> Watch:
    state = {name: from_numpy(array) for name, array in weights.items()}

    def watch(tensor: str) -> Array:
        seen: list[Array] = []
        inner = module if tensor == OUTPUT else module.get_submodule(modules[tensor])
        hook = inner.register_forward_hook(lambda _, __, made: seen.append(made.numpy().copy()))
        try:
            with no_grad():
                functional_call(module, state, from_numpy(image))
        finally:
            hook.remove()
        return seen[-1]

    return watch


def _as_it_is(stage: Stage, weights: Mapping[str, Array], image: Array) -> Watch:
    import onnxruntime as ort

    def watch(tensor: str) -> Array:
        options = ort.SessionOptions()
        options.graph_optimization_level = ort.GraphOptimizationLevel.ORT_DISABLE_ALL
        raw = _with_output(stage.model, tensor).SerializeToString()
        session = ort.InferenceSession(raw, options, providers=["CPUExecutionProvider"])
        feeds = {ImageConvention().input: image, **GraphTensors(stage.program, weights)}
        result: Array = session.run([tensor], feeds)[0]
        return result

    return watch


def _opened(graph: Path, tensors: Mapping[str, Array], refit: bool, image: Array) -> Watch:
    import onnx

    def watch(tensor: str) -> Array:
        with TemporaryDirectory() as folder:
            model = onnx.load(graph, load_external_data=False)
            shutil.copy(graph.with_name(DATA), folder)
            copied = Path(folder) / GRAPH
            copied.write_bytes(_with_output(model, tensor).SerializeToString())
            backend = OrtBackend(copied, ImageConvention(output=tensor), tensors, refit, 0)
            result = backend.run(image)
            backend.close()
        return result

    return watch


def _with_output(model: onnx.ModelProto, tensor: str) -> onnx.ModelProto:
    import onnx

    if tensor == OUTPUT:
        return model
    more = onnx.ModelProto()
    more.CopyFrom(model)
    more.graph.output.append(onnx.helper.make_tensor_value_info(tensor, onnx.TensorProto.FLOAT, None))
    return more
