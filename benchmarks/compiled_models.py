"""The graphs that `compiled` times, as files: what people export, what we export, and its convolutions alone."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import onnx
    from torch import nn

FORMS: dict[str, tuple[str, ...]] = {
    "no pass": ("onnxsim",),
    "affine": ("onnxsim", "affine"),
    "affine, split": ("onnxsim", "affine", "split"),
    "affine, split, pool": ("onnxsim", "affine", "split", "pool"),
    "affine, mean, split, moments, pool": ("onnxsim", "affine", "mean", "split", "moments", "pool"),
    "the same, blocks": ("onnxsim", "affine", "mean", "split", "moments", "blocks", "pool"),
    "the same, shuffle": ("onnxsim", "affine", "mean", "split", "moments", "shuffle", "blocks", "pool"),
}
"""Name → passes of export/passes.py."""

PLAIN, CONVOLUTIONS = "plain.onnx", "convolutions.onnx"


def form_folder(number: int) -> str:
    """Of the form of that number in FORMS."""
    return f"form{number}"


def write_forms(backbone: str, folder: Path, forms: Mapping[str, tuple[str, ...]] = FORMS) -> None:
    """Our graph of the backbone in every form, symbolic in size: graph.onnx and graph.data in a folder each.

    Raises: what `make_plan` and `compile_graph` raise for a backbone.
    """
    from colora.export.cost import cost
    from colora.export.draft import Draft
    from colora.export.graph import bare, check_map, close, trace
    from colora.export.passes import find_passes, run_passes
    from colora.export.twin import make_twin
    from colora.runtime.program import run_steps
    from colora.train.checkpoint import arrays, load_backbone

    checkpoint = load_backbone(backbone)
    weights = arrays(checkpoint.module)
    twin = make_twin(checkpoint.module)
    traced = trace(twin, checkpoint.backbone.pad.multiple_of)
    for number, names in enumerate(forms.values()):
        draft = Draft(traced, twin.program)
        run_passes(draft, find_passes(names))
        graph = bare(draft.proto())
        check_map(graph, draft.shapes)
        program = draft.program
        target = folder / form_folder(number)
        target.mkdir(parents=True)
        close(
            graph,
            draft.shapes,
            lambda name, program=program: run_steps(name, program[name], weights.__getitem__),  # type: ignore[misc]
            target,
        )
        (target / "cost.txt").write_text(str(cost(graph, 256, 256).bytes))
        (target / "weights.txt").write_text("\n".join(draft.shapes))


def write_plain(backbone: str, size: int, folder: Path) -> None:
    """What a user's own script makes for size×size, and of it the convolutions alone."""
    import onnx
    from colora.train.checkpoint import load_backbone

    folder.mkdir(parents=True)
    model = plain(load_backbone(backbone).module, size)
    onnx.save(model, folder / PLAIN)
    onnx.save(convolutions(model), folder / CONVOLUTIONS)


def plain(module: nn.Module, size: int) -> onnx.ModelProto:
    """`torch.onnx.export` at a fixed size, then onnxsim: the shapes are known to the optimisers."""
    import logging
    import warnings

    import onnxsim  # type: ignore[import-untyped]
    import torch

    logging.getLogger("torch.onnx").setLevel(logging.ERROR)
    with warnings.catch_warnings(), torch.no_grad():
        warnings.simplefilter("ignore")
        program = torch.onnx.export(
            module.eval(),
            (torch.rand(1, 3, size, size),),
            input_names=["input"],
            output_names=["output"],
            dynamo=True,
            verbose=False,
        )
    assert program is not None  # only without dynamo
    simplified: onnx.ModelProto = onnxsim.simplify(program.model_proto)[0]
    return simplified


def convolutions(model: onnx.ModelProto) -> onnx.ModelProto:
    """The Conv operators of a graph of fixed shapes and nothing between: the floor of what other work can be saved.

    Each reads the latest value that has the shape of its input: the image, the output of a convolution before it, or,
    where there is none, an input of its own. What no convolution reads is kept alive by one pixel of it, an output.
    """
    import onnx
    from onnx import helper

    graph = onnx.shape_inference.infer_shapes(model).graph
    shapes = {
        value.name: tuple(axis.dim_value for axis in value.type.tensor_type.shape.dim)
        for value in (*graph.input, *graph.value_info, *graph.output)
    }
    latest = {shapes[graph.input[0].name]: graph.input[0].name}
    inputs, nodes, outputs, read = [graph.input[0]], [], [], set()
    for node in (node for node in graph.node if node.op_type == "Conv"):
        shape = shapes[node.input[0]]
        if shape not in latest:
            latest[shape] = f"free{len(inputs)}"
            inputs.append(helper.make_tensor_value_info(latest[shape], onnx.TensorProto.FLOAT, shape))
        conv = onnx.NodeProto()
        conv.CopyFrom(node)
        conv.input[0] = latest[shape]
        read.add(latest[shape])
        nodes.append(conv)
        latest[shapes[node.output[0]]] = node.output[0]
    for conv in [conv for conv in nodes if conv.output[0] not in read]:
        name, (_, channels, *size) = f"{conv.output[0]}_pixel", shapes[conv.output[0]]
        nodes.append(helper.make_node("MaxPool", [conv.output[0]], [name], kernel_shape=[1, 1], strides=size))
        outputs.append(helper.make_tensor_value_info(name, onnx.TensorProto.FLOAT, (1, channels, 1, 1)))
    used = {name for node in nodes for name in node.input}
    weights = [tensor for tensor in graph.initializer if tensor.name in used]
    alone = helper.make_graph(nodes, "convolutions", inputs, outputs, weights)
    return helper.make_model(alone, opset_imports=model.opset_import, ir_version=model.ir_version)
