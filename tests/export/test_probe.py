"""The probe passes every tensor of our graphs, and names each one that a runtime folded."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from colora.devices.errors import GraphError
from colora.export.draft import Draft
from colora.export.graph import close
from colora.export.passes import TARGET_PASSES, find_passes, run_passes
from colora.export.pipeline import Report
from colora.export.probe import Probe, check, probe
from colora.export.twin import make_twin
from colora.runtime.bundle import open_bundle
from colora.runtime.program import operands
from colora.runtime.weights import Array
from onnx import ModelProto, helper


def test_every_tensor_of_an_export_follows_its_edit(bundle: Report, tiny: Any) -> None:
    program = open_bundle(bundle.output).manifest.program
    assert bundle.switchable == len(program) > len(make_twin(tiny.module).program) / 2
    assert {p for steps in program.values() for p in operands(steps)} == {
        *dict(tiny.module.named_parameters())
    }


@pytest.mark.parametrize("passes", [("onnxsim",), TARGET_PASSES["cpu"]], ids=["plain", "cpu"])
def test_values_that_invite_rewriting_are_still_followed(
    tiny: Any, passes: tuple[str, ...], tmp_path: Path
) -> None:
    """Ones in every vector, as a fresh network has: with them ONNX Runtime drops factors and divisors."""
    from colora.export import compile as compiler

    twin = make_twin(tiny.module)
    draft = Draft(compiler.trace(twin, tiny.backbone.pad.multiple_of), twin.program)
    run_passes(draft, find_passes(passes))
    graph, shapes = draft.proto(), draft.shapes
    values = {name: np.ones(shape, np.float32) for name, shape in shapes.items()}
    found = probe(close(graph, shapes, values.__getitem__, tmp_path), graph, values, side=16)
    assert found == Probe(len(shapes), (), ())


def folded_graph() -> tuple[ModelProto, dict[str, Array]]:
    """y = (conv(x; w, b) · scale) + (x · gain): ONNX Runtime multiplies scale into w and b, and leaves gain."""
    shapes = {"w": (3, 3, 1, 1), "b": (3,), "scale": (1, 3, 1, 1), "gain": (1, 3, 1, 1)}
    size = [1, 3, "h", "w_"]
    inputs = [helper.make_tensor_value_info("input", 1, size)]
    inputs += [helper.make_tensor_value_info(name, 1, shape) for name, shape in shapes.items()]
    nodes = [
        helper.make_node("Conv", ["input", "w", "b"], ["c"]),
        helper.make_node("Mul", ["c", "scale"], ["s"]),
        helper.make_node("Mul", ["input", "gain"], ["g"]),
        helper.make_node("Add", ["s", "g"], ["output"]),
    ]
    graph = helper.make_graph(nodes, "folded", inputs, [helper.make_tensor_value_info("output", 1, size)])
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=8)
    rng = np.random.default_rng(0)
    return model, {name: rng.standard_normal(shape, dtype=np.float32) for name, shape in shapes.items()}


def test_probe_names_each_folded_tensor_and_no_other(tmp_path: Path) -> None:
    model, values = folded_graph()
    graph = close(model, {name: value.shape for name, value in values.items()}, values.__getitem__, tmp_path)
    found = probe(graph, model, values)
    assert set(found.silent) | set(found.stale) == {"w", "b", "scale"}
    with pytest.raises(
        GraphError, match=r"3 of 4 graph tensors do not follow an edit in place: b, scale, w\. .*twin"
    ):
        check(found)


def test_a_tensor_that_is_followed_only_in_part_is_stale(tmp_path: Path) -> None:
    """`w` feeds one convolution that is scaled (folded) and one that is not: its edit changes a part."""
    model, values = folded_graph()
    model.graph.node[2].CopyFrom(helper.make_node("Conv", ["input", "w"], ["c2"]))
    model.graph.node.insert(3, helper.make_node("Mul", ["c2", "gate"], ["g"]))
    model.graph.node.insert(3, helper.make_node("Sigmoid", ["input"], ["gate"]))
    model.graph.node.insert(5, helper.make_node("Mul", ["g", "gain"], ["g2"]))
    model.graph.node[6].input[1] = "g2"
    graph = close(model, {name: value.shape for name, value in values.items()}, values.__getitem__, tmp_path)
    found = probe(graph, model, values)
    assert "w" in found.stale and "w" not in found.silent
    assert "gain" not in found.stale + found.silent
