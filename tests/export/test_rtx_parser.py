"""TensorRT's own ONNX parser (that of TensorRT for RTX) over every graph that this project can export.

Run by name, where the package is: `make engines`. Elsewhere skipped, with a word on what it needs.
"""

from __future__ import annotations

import importlib.util
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from colora.devices.errors import ColoraError
from colora.export import precision_int8
from colora.export.graph import close
from colora.export.passes import PASSES, TARGET_PASSES
from colora.export.precision import Limit
from colora.runtime.bundle import GRAPH
from colora.runtime.manifest import PRECISIONS, Shapes

if importlib.util.find_spec("tensorrt_rtx") is None:
    pytest.skip("tensorrt_rtx is not installed: pip install 'colora[rtx]'", allow_module_level=True)

SETS = {"none": (), "all": tuple(PASSES), **{name: (name,) for name in PASSES}, **TARGET_PASSES}
"""Every pass alone, all of them, none, and what each target gets"""
BACKBONES = ("nafnet-small", "nafnet-tiny", "restormer-tiny", "restormer-biasfree-tiny")


@pytest.fixture(scope="module", params=BACKBONES)
def network(request: pytest.FixtureRequest, make_tiny: Callable[[str, int], Any]) -> Any:
    """With random weights and an adapter that changes each of them."""
    from dataclasses import replace

    from colora.train.backbones import BACKBONES as LAYOUTS

    with pytest.MonkeyPatch.context() as patch:
        tiny = LAYOUTS["restormer-tiny"]
        biasfree = replace(tiny, name="restormer-biasfree-tiny", config=replace(tiny.config, norm="BiasFree"))
        patch.setitem(LAYOUTS, biasfree.name, biasfree)
        yield make_tiny(request.param, 0)


@pytest.fixture
def any_loss(monkeypatch: pytest.MonkeyPatch) -> None:
    """Random weights keep no limit: every convolution is quantised whatever it costs, which is the hardest to read."""
    monkeypatch.setitem(precision_int8.LIMITS, "int8", Limit(-np.inf, np.inf))


def graphs(network: Any, passes: tuple[str, ...], folder: Path) -> Iterator[tuple[str, Path]]:
    """Precision and file of each graph that an export writes with these passes."""
    from colora.export.compile import compile_graph
    from colora.export.parity import run_module
    from colora.export.plan import make_plan
    from colora.export.precision_fp16 import type_float16
    from colora.export.tensors import GraphTensors
    from colora.train.checkpoint import arrays
    from colora.train.photos import Pair

    adapter = network.write(folder, "rain", 1)
    plan = make_plan(
        backbone=str(network.file), target="jetson", adapters=[adapter], passes=passes, output=folder / "out"
    )
    compiled = compile_graph(plan)
    weights = arrays(network.module)
    for precision in PRECISIONS:
        graph, program = compiled.graph, compiled.program
        if precision == "fp16":
            graph, program = type_float16(graph, program)
        (folder / precision).mkdir()
        file = close(graph, compiled.shapes, GraphTensors(program, weights).__getitem__, folder / precision)
        if precision == "int8":
            if "moments" in passes:  # refused by make_plan
                continue
            pixels = np.random.default_rng(0).integers(0, 256, (64, 64, 3), np.uint8)
            made = folder / precision / "int8.onnx"
            reference = lambda tensor: run_module(network.module, weights, tensor)  # noqa: E731
            precision_int8.quantise(
                file, made, "rain", reference, [Pair("noise", pixels, pixels)], symmetric=True
            )
            file = made
        yield precision, file


def parser_errors(file: Path) -> list[str]:
    import tensorrt_rtx as trt
    from colora.runtime.engine import logger

    log, _ = logger(trt)
    network = trt.Builder(log).create_network(1 << int(trt.NetworkDefinitionCreationFlag.STRONGLY_TYPED))
    parser = trt.OnnxParser(network, log)
    read = parser.parse_from_file(str(file))
    told = [f"{e.node_name()}: {e.desc()}" for e in (parser.get_error(i) for i in range(parser.num_errors))]
    return told if read or told else ["refused without a word"]


@pytest.mark.usefixtures("any_loss")
@pytest.mark.parametrize("name", SETS)
def test_parser_reads_every_pass_set_in_every_precision(network: Any, name: str, tmp_path: Path) -> None:
    found = {precision: parser_errors(file) for precision, file in graphs(network, SETS[name], tmp_path)}
    assert not any(found.values()), found
    assert len(found) == (2 if "moments" in SETS[name] else 3)


@pytest.mark.usefixtures("any_loss")
def test_builder_takes_every_precision_of_the_gpu_s_passes(network: Any, tmp_path: Path) -> None:
    from colora.export.target_rtx import build_engine

    multiple = network.backbone.pad.multiple_of
    shapes = Shapes((multiple, multiple), (64, 64), (64, 64), multiple)
    for precision, file in graphs(network, TARGET_PASSES["gpu"], tmp_path):
        built = build_engine(file, tmp_path / f"{precision}.engine", shapes, "8.6")
        assert built.weight_bytes and built.activation_bytes and built.size_bytes > built.weight_bytes / 2


def test_what_the_parser_refuses_is_told(tmp_path: Path) -> None:
    import onnx
    from onnx import helper

    values = [
        helper.make_tensor_value_info(name, onnx.TensorProto.FLOAT, [1, 3, 8, 8])
        for name in ("input", "output")
    ]
    node = helper.make_node("NoSuchOperator", ["input"], ["output"], "strange")
    model = helper.make_model(helper.make_graph([node], "g", values[:1], values[1:]))
    onnx.save(model, tmp_path / GRAPH)
    assert any("strange" in error for error in parser_errors(tmp_path / GRAPH))
    from colora.export.target_rtx import build_engine

    with pytest.raises(ColoraError, match="can't read it"):
        build_engine(tmp_path / GRAPH, tmp_path / "e", Shapes((8, 8), (8, 8), (8, 8), 8), "8.6")
