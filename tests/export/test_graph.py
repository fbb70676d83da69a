"""The graph's initializers are the twin's tensors; a graph where they are not is refused by name."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from colora.devices.errors import GraphError
from colora.export import compile as compiler
from colora.export.graph import ALIGNMENT, DATA, check_map, close, shapes_of, simplify, trace
from colora.export.pipeline import Report
from colora.export.twin import Twin, make_twin
from colora.runtime.bundle import GRAPH, open_bundle
from colora.runtime.program import Step, run_steps
from colora.train.checkpoint import arrays
from colora.train.nafnet import NAFNet, NAFNetConfig
from onnx import helper


def test_initializers_are_the_program_s_tensors_one_for_one_with_their_values(
    bundle: Report, tiny: Any
) -> None:
    model = onnx.load(bundle.output / GRAPH)  # reads graph.data by the offsets in graph.onnx
    stored = {t.name: onnx.numpy_helper.to_array(t) for t in model.graph.initializer if math.prod(t.dims) > 1}
    weights = arrays(tiny.module)
    program = open_bundle(bundle.output).manifest.program
    constants = stored.keys() - program.keys()
    assert all(stored[name].dtype == np.int64 for name in constants)  # shapes and axes
    one_number = {t.name: onnx.numpy_helper.to_array(t) for t in model.graph.initializer if t.name in program}
    for name, steps in program.items():
        np.testing.assert_array_equal(one_number[name], run_steps(name, steps, weights.__getitem__))


def test_equal_tensors_stay_apart(nafnet: Any, tmp_path: Path) -> None:
    """A network of ones throughout: exporters merge such tensors."""
    twin = make_twin(nafnet.module)
    graph, why = simplify(compiler.trace(twin, 4), shapes_of(twin))
    close(graph, shapes_of(twin), lambda name: np.ones(shapes_of(twin)[name], np.float32), tmp_path)
    names = [tensor.name for tensor in onnx.load(tmp_path / GRAPH).graph.initializer]
    assert set(twin.program) <= set(names) and len(names) == len(set(names))
    assert why == ""


def test_sizes_are_symbolic_multiples_and_nothing_local_is_noted(bundle: Report, tiny: Any) -> None:
    model = onnx.load(bundle.output / GRAPH, load_external_data=False)
    multiple = tiny.backbone.pad.multiple_of
    for value in (*model.graph.input, *model.graph.output):
        dims = [dim.dim_param or dim.dim_value for dim in value.type.tensor_type.shape.dim]
        assert dims == ["n", 3, f"{multiple}*h", f"{multiple}*w"]
    assert str(Path(__file__).parents[2]).encode() not in (bundle.output / GRAPH).read_bytes()
    assert [(o.domain, o.version) for o in model.opset_import] == [("", 18)]
    for tensor in model.graph.initializer:
        places = {entry.key: entry.value for entry in tensor.external_data}
        assert not places or (places["location"] == DATA and int(places["offset"]) % ALIGNMENT == 0)


def test_network_without_a_twin_is_refused_by_the_names_of_what_a_runtime_would_fold() -> None:
    raw = NAFNet(NAFNetConfig(4, (1,), 1, (1,))).eval()
    program = {name: (Step("param", (name,)),) for name in raw.state_dict()}
    with pytest.raises(
        GraphError, match=r"change of shape: .*encoders\.0\.0\.norm1\.bias \(.*operator as it is"
    ):
        trace(Twin(raw, program), 2)


@pytest.mark.parametrize(
    ("shapes", "constant", "message"),
    [
        ({"w": (3,), "gone": (3,)}, [], "lost or unused: gone; unknown: none; folded into constants: none"),
        ({"w": (1, 3)}, [], "lost or unused: w;"),
        ({}, [], "lost or unused: none; unknown: w;"),
        ({"w": (3,)}, [helper.make_tensor("val_1", 1, [2], [1.0, 2.0])], "folded into constants: val_1"),
    ],
)
def test_map_check_names_what_is_wrong(shapes: Any, constant: Any, message: str) -> None:
    values = [helper.make_tensor_value_info(name, 1, [3]) for name in ("input", "w", "output")]
    graph = helper.make_graph(
        [helper.make_node("Add", ["input", "w"], ["output"])], "g", values[:2], values[2:], constant
    )
    with pytest.raises(GraphError, match=message):
        check_map(helper.make_model(graph), shapes)


def test_onnxsim_is_left_out_with_its_reason_where_it_loses_a_tensor() -> None:
    values = [helper.make_tensor_value_info(name, 1, [3]) for name in ("input", "w", "output")]
    nodes = [helper.make_node("Mul", ["w", "w"], ["unused"]), helper.make_node("Relu", ["input"], ["output"])]
    model = helper.make_model(
        helper.make_graph(nodes, "g", values[:2], values[2:]), opset_imports=[helper.make_opsetid("", 18)]
    )
    same, why = simplify(model, {"w": (3,)})  # it drops the unused product, and with it the use of w
    assert same is model
    assert why.startswith("GraphError: ") and "unused: w" in why


def test_values_of_another_shape_are_refused(nafnet: Any, tmp_path: Path) -> None:
    values = [helper.make_tensor_value_info(name, 1, [3]) for name in ("input", "w", "output")]
    model = helper.make_model(
        helper.make_graph([helper.make_node("Add", ["input", "w"], ["output"])], "g", values[:2], values[2:])
    )
    with pytest.raises(GraphError, match=r"w is float64 \(3,\); in the graph it is float32 \(3,\)"):
        close(model, {"w": (3,)}, lambda name: np.zeros(3), tmp_path)
