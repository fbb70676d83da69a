"""A tiny real network: three convolutions, folded as the compiler folds, with a plain numpy reference beside the graph.

Source parameters: conv1 3→8 (3×3), norm (scale and shift of 8 channels), conv2 8→16 (1×1), conv3 8→3 (1×1), beta.
    y = conv1(x);  z = conv2(norm.weight·y + norm.bias);  out = x + beta·conv3(z[:8]·z[8:])
"""

import importlib.util
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest
from colora.runtime.adapter import Adapter, ParamDelta, write_adapter
from colora.runtime.bundle import write_bundle, write_golden
from colora.runtime.golden import golden_input
from colora.runtime.manifest import ImageConvention, Manifest, Pad, Shapes, Tile
from colora.runtime.program import parse_program
from colora.runtime.weights import Array, weights_sha256, write_tensors
from hypothesis import settings

settings.register_profile("untimed", deadline=None, derandomize=True)  # a busy machine is no failure
settings.load_profile("untimed")

PROGRAM = {
    "w1": [["param", "conv1.weight"]],
    "b1": [["param", "conv1.bias"]],
    "w2a": [["param", "conv2.weight"], ["scale_in", "norm.weight"], ["slice_out", 0, 8]],
    "b2a": [["param", "conv2.bias"], ["add_through", "conv2.weight", "norm.bias"], ["slice_out", 0, 8]],
    "w2b": [["param", "conv2.weight"], ["scale_in", "norm.weight"], ["slice_out", 8, 16]],
    "b2b": [["param", "conv2.bias"], ["add_through", "conv2.weight", "norm.bias"], ["slice_out", 8, 16]],
    "w3": [["param", "conv3.weight"], ["scale_out", "beta"]],
    "b3": [["param", "conv3.bias"], ["scale_out", "beta"]],
}
GRAPH_SHAPES = {
    "w1": (8, 3, 3, 3), "b1": (8,), "w2a": (8, 8, 1, 1), "b2a": (8,), "w2b": (8, 8, 1, 1), "b2b": (8,),
    "w3": (3, 8, 1, 1), "b3": (3,),
}  # fmt: skip


@dataclass(frozen=True)
class Mini:
    """The network's parts, and what makes bundles of it."""

    weights: Mapping[str, Array]
    sha256: str
    adapters: Mapping[str, Adapter]
    manifest: Manifest

    def forward(self, x: Array, mixture: Mapping[str, float] | None = None) -> Array:
        """Reference in float64 numpy, from source parameters."""
        w = self.adapted(mixture or {})
        y = conv3x3(x, w["conv1.weight"]) + w["conv1.bias"][:, None, None]
        y = y * w["norm.weight"][:, None, None] + w["norm.bias"][:, None, None]
        z = np.einsum("oi,nihw->nohw", w["conv2.weight"][:, :, 0, 0], y) + w["conv2.bias"][:, None, None]
        gated = z[:, :8] * z[:, 8:]
        out = (
            np.einsum("oi,nihw->nohw", w["conv3.weight"][:, :, 0, 0], gated) + w["conv3.bias"][:, None, None]
        )
        return np.asarray(x + w["beta"] * out)

    def adapted(self, mixture: Mapping[str, float]) -> dict[str, Array]:
        """W0 + Σ strength·scale·(B@A or dense), in float64."""
        adapted = {name: tensor.astype(np.float64) for name, tensor in self.weights.items()}
        for task, strength in mixture.items():
            for name, p in self.adapters[task].params.items():
                t = {short: tensor.astype(np.float64) for short, tensor in p.tensors.items()}
                change = t["lora_B"] @ t["lora_A"] if p.kind == "low-rank" else t["delta"]
                adapted[name] = adapted[name] + strength * p.scale * change.reshape(p.shape)
        return adapted

    def graph_tensors(self, mixture: Mapping[str, float]) -> dict[str, Array]:
        """Of the graph under a mixture, in float64."""
        return folded(self.adapted(mixture))

    def fill(self, folder: Path) -> Manifest:
        """Everything of a bundle, with a graph that only the null backend takes."""
        (folder / "graph.onnx").write_bytes(b"no graph: for the null backend")
        write_tensors(folder / "weights.safetensors", self.weights, {})
        write_golden(folder / "golden.npz", self.forward(golden_input()).astype(np.float32))
        (folder / "tasks").mkdir()
        for task, adapter in self.adapters.items():
            write_adapter(folder / "tasks" / f"{task}.safetensors", adapter)
        return self.manifest

    def fill_with_graph(self, folder: Path) -> Manifest:
        """The same with the real graph."""
        manifest = self.fill(folder)
        write_graph(folder / "graph.onnx", self.weights)
        return manifest


def conv3x3(x: Array, w: Array) -> Array:
    """3×3 convolution with zero padding, written as nine shifted products."""
    height, width = x.shape[2:]
    padded = np.pad(x, ((0, 0), (0, 0), (1, 1), (1, 1)))
    return np.asarray(
        sum(
            np.einsum("oi,nihw->nohw", w[:, :, i, j], padded[:, :, i : i + height, j : j + width])
            for i in range(3)
            for j in range(3)
        )
    )


def folded(w: Mapping[str, Array]) -> dict[str, Array]:
    """Graph tensors by hand, not by the weight program."""
    w2 = w["conv2.weight"] * w["norm.weight"][None, :, None, None]
    b2 = w["conv2.bias"] + w["conv2.weight"][:, :, 0, 0] @ w["norm.bias"]
    beta = w["beta"].ravel()
    return {
        "w1": w["conv1.weight"], "b1": w["conv1.bias"],
        "w2a": w2[:8], "b2a": b2[:8], "w2b": w2[8:], "b2b": b2[8:],
        "w3": w["conv3.weight"] * beta[:, None, None, None], "b3": w["conv3.bias"] * beta,
    }  # fmt: skip


def write_graph(path: Path, weights: Mapping[str, Array]) -> None:
    """graph.onnx beside graph.data, as the export writes them."""
    import onnx
    from onnx import TensorProto, helper, numpy_helper

    nodes = [
        helper.make_node("Conv", ["input", "w1", "b1"], ["y"], pads=[1, 1, 1, 1]),
        helper.make_node("Conv", ["y", "w2a", "b2a"], ["a"]),
        helper.make_node("Conv", ["y", "w2b", "b2b"], ["b"]),
        helper.make_node("Mul", ["a", "b"], ["gated"]),
        helper.make_node("Conv", ["gated", "w3", "b3"], ["out"]),
        helper.make_node("Add", ["input", "out"], ["output"]),
    ]
    size = [1, 3, "height", "width"]
    graph = helper.make_graph(
        nodes,
        "mini",
        [helper.make_tensor_value_info("input", TensorProto.FLOAT, size)],
        [helper.make_tensor_value_info("output", TensorProto.FLOAT, size)],
        [numpy_helper.from_array(t.astype(np.float32), name) for name, t in folded(weights).items()],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    onnx.checker.check_model(model)
    onnx.save(model, str(path), save_as_external_data=True, location="graph.data", size_threshold=0)


def delta(shape: tuple[int, ...], rank: int, rng: np.random.Generator) -> ParamDelta:
    if rank == 0:
        return ParamDelta("dense", shape, {"delta": rng.normal(0, 0.1, shape).astype(np.float32)})
    a = rng.normal(0, 0.3, (rank, int(np.prod(shape[1:])))).astype(np.float32)
    b = rng.normal(0, 0.3, (shape[0], rank)).astype(np.float32)
    return ParamDelta("low-rank", shape, {"lora_A": a, "lora_B": b}, scale=0.5, rank=rank, contribution=0.25)


@pytest.fixture
def mini() -> Mini:
    """The network with two tasks: rain changes conv1 and beta, noise changes conv2 and the norm's shift."""
    rng = np.random.default_rng(7)
    shapes = {
        "conv1.weight": (8, 3, 3, 3), "conv1.bias": (8,), "norm.weight": (8,), "norm.bias": (8,),
        "conv2.weight": (16, 8, 1, 1), "conv2.bias": (16,), "conv3.weight": (3, 8, 1, 1), "conv3.bias": (3,),
        "beta": (1, 3, 1, 1),
    }  # fmt: skip
    weights = {name: rng.normal(0, 0.3, shape).astype(np.float32) for name, shape in shapes.items()}
    sha256 = weights_sha256(weights)
    touched = {
        "rain": {"conv1.weight": 2, "conv1.bias": 0, "beta": 0},
        "noise": {"conv2.weight": 3, "norm.bias": 0},
    }
    params = {
        task: {name: delta(shapes[name], rank, rng) for name, rank in ranks.items()}
        for task, ranks in touched.items()
    }
    blank = np.zeros((1, 3, 64, 64), np.float32)
    drafts = {task: Adapter(task, "colora", sha256, p, blank) for task, p in params.items()}
    manifest = Manifest(
        kind="shared",
        backbone="mini",
        backbone_sha256=sha256,
        target="cpu",
        precision="fp32",
        image=ImageConvention(),
        shapes=Shapes((4, 4), (64, 64), (128, 128), 4),
        pad=Pad("zeros", 4),
        tile=Tile(64, 8, 96),
        program=parse_program(PROGRAM),
        versions={"colora": "0.1.0"},
    )
    draft = Mini(weights, sha256, drafts, manifest)
    adapters = {
        task: Adapter(
            task,
            "colora",
            sha256,
            p,
            draft.forward(golden_input(), {task: 1.0}).astype(np.float32),
            seeds={"fit": 3},
            quality={"made_up_psnr_db": 24.5},
        )
        for task, p in params.items()
    }
    return Mini(weights, sha256, adapters, manifest)


@pytest.fixture
def null_bundle(mini: Mini, tmp_path: Path) -> Path:
    """A shared bundle that opens with backend="null"."""
    return write_bundle(tmp_path / "bundle", mini.fill)


@pytest.fixture
def ort_bundle(mini: Mini, tmp_path: Path) -> Path:
    """A shared bundle with its real graph."""
    need("onnx", "onnxruntime")
    return write_bundle(tmp_path / "bundle", mini.fill_with_graph)


@pytest.fixture
def picture() -> Callable[..., Array]:
    """`picture(height, width)`: smooth uint8 colours with some noise, the same each time."""

    def make(height: int, width: int) -> Array:
        rng = np.random.default_rng(height * 1000 + width)
        y, x, c = np.meshgrid(np.arange(height), np.arange(width), np.arange(3), indexing="ij")
        return np.clip(
            128 + 60 * np.sin(x / 9 + c) + 50 * np.cos(y / 7) + rng.normal(0, 5, x.shape), 0, 255
        ).astype(np.uint8)

    return make


def need(*packages: str) -> None:
    """Skip a test where an optional package is not installed."""
    for package in packages:
        if importlib.util.find_spec(package) is None:
            pytest.skip(f"{package} is not installed")
