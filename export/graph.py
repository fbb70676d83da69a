"""Twin → ONNX graph whose initializers are the twin's tensors, one for one and by name.

    trace      torch.onnx of the twin, batch, height and width symbolic; every weight becomes a graph input
    simplify   onnxsim on that open graph: a weight that is an input can be neither folded, fused nor renamed
    close      the weights become initializers again, their values in `graph.data`, from the weight program

Exporters merge tensors of equal value and fold what they know; a weight that is an input has no value to know. Opset 18
is read by ONNX Runtime from 1.14 on and by TensorRT 10 (export/opset.py); IR version 8 came with it, so that none of
them is turned away by the container.
"""

from __future__ import annotations

import io
import math
import warnings
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from colora.devices.errors import GraphError
from colora.export.shapes import with_shapes
from colora.runtime.bundle import GRAPH
from colora.runtime.manifest import ImageConvention
from colora.runtime.program import Program
from colora.runtime.weights import Array

if TYPE_CHECKING:
    import onnx
    from colora.export.twin import Twin

OPSET = 18
IR_VERSION = 8
DATA = "graph.data"
ALIGNMENT = 64
"""bytes: a cache line, the widest vector load"""
FLOATS = (1, 10, 11)
"""onnx.TensorProto's FLOAT, FLOAT16, DOUBLE"""

VIEWS = frozenset(
    ("Reshape", "Squeeze", "Unsqueeze", "Identity", "Flatten", "Transpose", "Cast", "Expand", "Split")
)
"""operators that only hand on numbers"""

Shapes = dict[str, tuple[int, ...]]


def trace(twin: Twin, multiple_of: int) -> onnx.ModelProto:
    """Open graph of `twin`: input N×3×H×W float32, N any, H and W any multiples of `multiple_of`; weights are inputs.

    By the exporter that follows one run of the network: all that a run can't show, Python's branches on sizes, our
    networks don't have, and parity looks at other sizes than this one. torch.export asks of every operator what it
    does to symbolic sizes, and took 30 times as long.
    Raises: GraphError naming an operator that has no ONNX form, and tensors that were merged, folded or renamed.
    """
    import onnx
    import torch

    image = ImageConvention()
    axes = {0: "n", 2: "h", 3: "w"}
    file = io.BytesIO()
    with _quiet(), torch.no_grad():
        try:
            torch.onnx.export(
                twin.module,
                (torch.rand(1, 3, 2 * multiple_of, 3 * multiple_of),),
                file,  # type: ignore[arg-type]  # a path, says torch; it takes a stream too
                input_names=[image.input],
                output_names=[image.output],
                opset_version=OPSET,
                dynamic_axes={image.input: axes, image.output: axes},
                export_params=False,
                keep_initializers_as_inputs=True,  # weights of equal value would be merged
                do_constant_folding=False,
                dynamo=False,
            )
        except torch.onnx.OnnxExporterError as error:
            told = str(error).splitlines()[0]
            raise GraphError(f"torch.onnx: {told}: give its module a twin (export/twin.py)") from error
    model = bare(onnx.load_from_string(file.getvalue()))
    for value in (model.graph.input[0], model.graph.output[0]):
        sizes = ("n", 3, f"{multiple_of}*h", f"{multiple_of}*w")
        value.type.CopyFrom(onnx.helper.make_tensor_type_proto(onnx.TensorProto.FLOAT, sizes))
    check_map(model, shapes_of(twin))
    return model


def simplify(model: onnx.ModelProto, shapes: Shapes) -> tuple[onnx.ModelProto, str]:
    """`model` through onnxsim, and "" — or `model` as it was, and why onnxsim was left out."""
    import onnxsim  # type: ignore[import-untyped]

    try:
        simplified, _ = onnxsim.simplify(model)
        simplified = bare(simplified)
        check_map(simplified, shapes)
    except Exception as error:  # onnxsim raises whatever its C++ core throws; the graph is right without it
        return model, f"{type(error).__name__}: {error}"
    return simplified, ""


def check_map(model: onnx.ModelProto, shapes: Shapes) -> None:
    """Refuse an open graph whose inputs are not the image and each tensor of `shapes`, used, and nothing else.

    A constant that no entry of `shapes` names and that has more than one number is a weight that was folded; a weight
    that goes through a change of shape is one that a runtime will fold.
    Raises: GraphError naming the tensors.
    """
    used = {name for node in model.graph.node for name in node.input}
    found = {
        value.name: tuple(axis.dim_value for axis in value.type.tensor_type.shape.dim)
        for value in model.graph.input
    }
    found.pop(ImageConvention().input, None)
    lost = sorted(name for name in shapes if found.get(name) != shapes[name] or name not in used)
    strange = sorted(found.keys() - shapes.keys())
    constants = [tensor for tensor in model.graph.initializer if tensor.data_type in FLOATS]
    folded = sorted(tensor.name for tensor in constants if math.prod(tensor.dims) > 1)
    views = [node for node in model.graph.node if node.op_type in VIEWS]
    viewed = sorted(f"{name} ({node.op_type})" for node in views for name in node.input if name in shapes)
    if lost or strange or folded or viewed:
        raise GraphError(
            f"the graph does not have the twin's {len(shapes)} tensors one for one: "
            f"lost or unused: {', '.join(lost) or 'none'}; unknown: {', '.join(strange) or 'none'}; "
            f"folded into constants: {', '.join(folded) or 'none'}; behind a change of shape: "
            f"{', '.join(viewed) or 'none'}. Every parameter of the twin must feed its operator as it is "
            "(export/twin.py)"
        )


def close(model: onnx.ModelProto, shapes: Shapes, value: Callable[[str], Array], folder: Path) -> Path:
    """Write `graph.onnx` and `graph.data` of an open graph into `folder`; returns the path of `graph.onnx`.

    value: tensor name → its values, of the shape in `shapes` and the type of the graph's input; asked for one at a
        time, in that order.
    Raises: GraphError for a value of another shape or dtype, and what onnx.checker raises.
    """
    import onnx

    closed = with_shapes(model)
    image = next(i for i in closed.graph.input if i.name == ImageConvention().input)
    types = {i.name: i.type.tensor_type.elem_type for i in closed.graph.input}
    del closed.graph.input[:]
    closed.graph.input.append(image)
    dtypes = {name: onnx.helper.tensor_dtype_to_np_dtype(types[name]) for name in shapes}
    for name, offset in write_data(folder / DATA, shapes, value, dtypes).items():
        tensor = closed.graph.initializer.add(name=name, dims=shapes[name], data_type=types[name])
        tensor.data_location = onnx.TensorProto.EXTERNAL
        size = dtypes[name].itemsize * math.prod(shapes[name])
        for key, entry in (("location", DATA), ("offset", str(offset)), ("length", str(size))):
            tensor.external_data.add(key=key, value=entry)
    (folder / GRAPH).write_bytes(closed.SerializeToString(deterministic=True))
    onnx.checker.check_model(str(folder / GRAPH), full_check=True)
    return folder / GRAPH


def reopen(path: Path, program: Program) -> onnx.ModelProto:
    """The open graph of a `graph.onnx` that `close` wrote: the tensors of `program` are inputs again, their values
    forgotten."""
    import onnx

    model = onnx.load(str(path), load_external_data=False)
    kept = [tensor for tensor in model.graph.initializer if tensor.name not in program]
    for tensor in model.graph.initializer:
        if tensor.name in program:
            value = onnx.helper.make_tensor_value_info(tensor.name, tensor.data_type, tensor.dims)
            model.graph.input.append(value)
    del model.graph.initializer[:]
    model.graph.initializer.extend(kept)
    return model


def write_data(
    path: Path, shapes: Shapes, value: Callable[[str], Array], dtypes: Mapping[str, np.dtype[Any]]
) -> dict[str, int]:
    """Write the values of all tensors, aligned, little-endian; returns where each begins, in bytes."""
    offsets = {}
    with path.open("wb") as data:
        for name, shape in shapes.items():
            array = value(name)
            if array.shape != shape or array.dtype != dtypes[name]:
                raise GraphError(
                    f"{name} is {array.dtype} {array.shape}; in the graph it is {dtypes[name]} {shape}"
                )
            data.write(bytes(-data.tell() % ALIGNMENT))
            offsets[name] = data.tell()
            data.write(array.astype(dtypes[name].newbyteorder("<"), copy=False).tobytes())
    return offsets


def shapes_of(twin: Twin) -> Shapes:
    """Graph tensor → shape, in the order of the program."""
    return {name: tuple(tensor.shape) for name, tensor in twin.module.state_dict().items()}


def bare(model: onnx.ModelProto) -> onnx.ModelProto:
    """The graph without what exporters note beside it: source lines with local paths, intermediate shapes."""
    for part in (model, model.graph, *model.graph.node, *model.graph.input, *model.graph.output):
        part.ClearField("metadata_props")
        part.ClearField("doc_string")
    for tensor in model.graph.initializer:
        tensor.ClearField("metadata_props")
        tensor.ClearField("doc_string")
    del model.graph.value_info[:]
    model.ir_version = IR_VERSION
    return model


@contextmanager
def _quiet() -> Iterator[None]:
    """torch's exporter warns of its own internals; nothing a caller could act on."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        yield
