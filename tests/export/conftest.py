"""Tiny networks with random weights, adapters for them, and bundles made of them.

A trace takes seconds and depends on the layout only, so it is made once per layout; the rest of `export` runs as it is.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import onnx
import pytest
import torch
from colora.export import parity, pipeline
from colora.export.graph import shapes_of, trace
from colora.export.twin import Twin
from colora.runtime.adapter import Adapter, ParamDelta, write_adapter
from colora.runtime.golden import golden_input
from colora.runtime.weights import Array
from colora.train.backbones import BACKBONES, Backbone
from colora.train.checkpoint import arrays, save_backbone
from hypothesis import settings
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
        weights = arrays(self.module)
        if adapter:
            weights = pipeline.merged_weights(weights, adapter)
        return parity.run_module(self.module, weights, tensor)


def random_network(backbone: Backbone, seed: int) -> nn.Module:
    """Norms away from the identity, beta and gamma away from zero: else the blocks would not show."""
    torch.manual_seed(seed)
    module = backbone.build().eval()
    for name, parameter in module.named_parameters():
        if "norm" in name or name.endswith(("beta", "gamma", "temperature")):
            parameter.data += 0.2 * torch.randn_like(parameter)
    return module


@pytest.fixture(scope="session", autouse=True)
def one_trace_per_layout() -> Iterator[None]:
    graphs: dict[str, onnx.ModelProto] = {}

    def traced(twin: Twin, multiple_of: int) -> onnx.ModelProto:
        key = f"{multiple_of} {shapes_of(twin)}"
        if key not in graphs:
            graphs[key] = trace(twin, multiple_of)
        return graphs[key]

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(pipeline, "trace", traced)
        yield


@pytest.fixture(scope="session")
def make_tiny(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str, int], Tiny]:
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
def bundle(tiny: Tiny, tmp_path_factory: pytest.TempPathFactory) -> pipeline.Report:
    """A shared bundle with the tasks rain and noise, and what its export said. Not to be changed."""
    folder = tmp_path_factory.mktemp("export")
    adapters = [tiny.write(folder, "rain", 1), tiny.write(folder, "noise", 2)]
    return pipeline.export(backbone=str(tiny.file), output=folder / "bundle", adapters=adapters)
