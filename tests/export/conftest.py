"""Tiny networks with random weights, adapters for them, and bundles made of them.

A trace takes seconds and depends on the layout only, so it is made once per layout; the rest of `export` runs as it is.
torch is imported where it is needed: tests of passes do without.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import onnx
import pytest
from colora.runtime.adapter import Adapter, ParamDelta, write_adapter
from colora.runtime.golden import golden_input
from colora.runtime.program import Program, run_steps
from colora.runtime.weights import Array
from hypothesis import settings

if TYPE_CHECKING:
    from colora.export.pipeline import Report
    from colora.export.twin import Twin
    from colora.train.backbones import Backbone
    from torch import nn

settings.register_profile("untimed", deadline=None, derandomize=True)  # a busy machine is no failure
settings.load_profile("untimed")


@dataclass(frozen=True)
class Tiny:
    """A tiny backbone with random weights, on disk."""

    backbone: Backbone
    module: nn.Module
    file: Path
    sha256: str

    def adapter(self, task: str, seed: int, size: float = 0.05) -> Adapter:
        """Random changes of every parameter: low-rank of rank 1 or 2 where it has two wide axes, dense elsewhere."""
        rng = np.random.default_rng(seed)

        def normal(*shape: int) -> Array:
            return rng.standard_normal(shape, dtype=np.float32)

        from colora.train.checkpoint import arrays

        params = {}
        for name, w0 in arrays(self.module).items():
            if w0.ndim == 4 and w0.shape[1] > 1 and w0.shape[0] > 1:
                rank = int(rng.integers(1, 3))
                factors = {"lora_A": normal(rank, w0[0].size), "lora_B": normal(w0.shape[0], rank)}
                params[name] = ParamDelta("low-rank", w0.shape, factors, scale=size / 4, rank=rank)
            else:
                params[name] = ParamDelta("dense", w0.shape, {"delta": size * normal(*w0.shape)})
        bare = Adapter(task, "random", self.sha256, params, golden_input())
        return Adapter(task, "random", self.sha256, params, self.run(golden_input(), bare))

    def write(self, folder: Path, task: str, seed: int) -> Path:
        file = folder / f"{task}.safetensors"
        write_adapter(file, self.adapter(task, seed))
        return file

    def run(self, tensor: Array, adapter: Adapter | None = None) -> Array:
        """PyTorch's answer, the reference."""
        from colora.export import parity
        from colora.export.tensors import MergedWeights
        from colora.train.checkpoint import arrays

        weights: Mapping[str, Array] = arrays(self.module)
        if adapter:
            weights = MergedWeights(weights, adapter)
        return parity.run_module(self.module, weights, tensor)


def random_network(backbone: Backbone, seed: int) -> nn.Module:
    """Norms away from the identity, beta and gamma away from zero: else the blocks would not show."""
    import torch

    torch.manual_seed(seed)
    module: nn.Module = backbone.build().eval()
    for name, parameter in module.named_parameters():
        if "norm" in name or name.endswith(("beta", "gamma", "temperature")):
            parameter.data += 0.2 * torch.randn_like(parameter)
    return module


@pytest.fixture(scope="session")
def one_trace_per_layout() -> Iterator[None]:
    from colora.export import compile as compiler
    from colora.export.graph import shapes_of, trace

    graphs: dict[str, onnx.ModelProto] = {}

    def traced(twin: Twin, multiple_of: int) -> onnx.ModelProto:
        key = f"{multiple_of} {shapes_of(twin)}"
        if key not in graphs:
            graphs[key] = trace(twin, multiple_of)
        return graphs[key]

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(compiler, "trace", traced)
        yield


@pytest.fixture(scope="session")
def make_tiny(
    one_trace_per_layout: None, tmp_path_factory: pytest.TempPathFactory
) -> Callable[[str, int], Tiny]:
    from colora.train.backbones import BACKBONES
    from colora.train.checkpoint import save_backbone

    def make(name: str, seed: int) -> Tiny:
        backbone = BACKBONES[name]
        module = random_network(backbone, seed)
        file = tmp_path_factory.mktemp("backbone") / f"{name}.safetensors"
        return Tiny(backbone, module, file, save_backbone(file, module, backbone, {}))

    return make


@pytest.fixture(scope="session", params=["nafnet-tiny", "restormer-tiny"])
def tiny(request: pytest.FixtureRequest, make_tiny: Callable[[str, int], Tiny]) -> Tiny:
    """Each layout in turn."""
    return make_tiny(request.param, 0)


@pytest.fixture(scope="session")
def nafnet(make_tiny: Callable[[str, int], Tiny]) -> Tiny:
    """For what does not depend on the layout."""
    return make_tiny("nafnet-tiny", 0)


@pytest.fixture(scope="session")
def bundle(tiny: Tiny, tmp_path_factory: pytest.TempPathFactory) -> Report:
    """A shared bundle with the tasks rain and noise, and what its export said. Not to be changed."""
    from colora.export import pipeline

    folder = tmp_path_factory.mktemp("export")
    adapters = [tiny.write(folder, "rain", 1), tiny.write(folder, "noise", 2)]
    return pipeline.export(backbone=str(tiny.file), output=folder / "bundle", adapters=adapters)


def run_open(model: onnx.ModelProto, program: Program, params: Mapping[str, Array], image: Array) -> Array:
    """Output of an open graph whose weights the program makes of source parameters, by ONNX Runtime as it is."""
    import onnxruntime as ort

    options = ort.SessionOptions()
    options.intra_op_num_threads = 1
    session = ort.InferenceSession(model.SerializeToString(), options, providers=["CPUExecutionProvider"])
    weights = {name: run_steps(name, steps, params.__getitem__) for name, steps in program.items()}
    result: Array = session.run(None, {"input": image, **weights})[0]
    return result


@pytest.fixture(scope="session")
def open_graph() -> Callable[..., Array]:
    """`run_open`."""
    return run_open


@pytest.fixture(scope="session")
def draft_of() -> Callable[..., Any]:
    """`draft_of(text, **shapes)`: a draft from ONNX's text form, every input but the first a weight.

    A weight of 1×C×1×1 is made by `param` and `reshape` from C numbers, any other by `param`, of its own name.
    """
    from colora.export.draft import Draft
    from colora.runtime.program import Step

    def make(text: str) -> Draft:
        model = onnx.parser.parse_model('<ir_version: 8, opset_import: ["": 18]>\n' + text)
        program = {}
        for value in model.graph.input[1:]:
            shape = tuple(axis.dim_value for axis in value.type.tensor_type.shape.dim)
            vector = len(shape) == 4 and shape[0] == shape[2] == shape[3] == 1
            steps = (Step("param", (value.name,)), *([Step("reshape", shape)] if vector else []))
            program[value.name] = steps
        return Draft(model, program)

    return make


NORM = """
  mean = ReduceMean (input, axes)
  centred = Sub (input, mean)
  square = Mul (centred, centred)
  variance = ReduceMean (square, axes)
  shifted = Add (variance, eps)
  sigma = Sqrt (shifted)
  rstd = Reciprocal (sigma)
  normal = Mul (centred, rstd)
"""


@pytest.fixture(scope="session")
def norm() -> str:
    """`normal`, a channel LayerNorm of `input` without weight and bias; wants the constants `axes` and `eps`."""
    return NORM


def numbers(seed: int, **shapes: tuple[int, ...]) -> dict[str, Array]:
    """Source parameters: standard normal, divided by the root of what a kernel sums."""
    rng = np.random.default_rng(seed)
    return {
        name: rng.standard_normal(shape, dtype=np.float32) / np.float32(np.prod(shape[1:]) ** 0.5)
        for name, shape in shapes.items()
    }


@pytest.fixture(scope="session")
def random_params() -> Callable[..., dict[str, Array]]:
    """`numbers`."""
    return numbers
