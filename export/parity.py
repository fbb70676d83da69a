"""PyTorch against ONNX Runtime, on the same padded tensors, for the backbone and for each task.

Both ways in which a device runs the graph are compared: `refit` (weights edited in place) and `merged` (a session
optimised fully over the task's weights). The reference is the network that was trained, not its twin.
"""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from colora.devices.errors import ParityError
from colora.export.memory import close_session, give_back
from colora.export.tensors import GraphTensors
from colora.runtime.backend_ort import OrtBackend
from colora.runtime.manifest import ImageConvention, Manifest
from colora.runtime.program import Program
from colora.runtime.quality import psnr
from colora.runtime.tiles import padded
from colora.runtime.weights import Array
from torch import from_numpy, nn, no_grad
from torch.func import functional_call

if TYPE_CHECKING:
    from colora.export.precision import Loss

TOLERANCE = 1e-4
"""largest difference allowed, in units of the image range [0, 1]: a fortieth of an 8-bit grey level"""
SIZES = ((64, 64), (97, 131), (48, 160))
"""height and width before padding: the golden size, both odd, wide"""
BACKBONE = "backbone"


@dataclass(frozen=True)
class Case:
    """One network on one input."""

    network: str
    """a task, or `backbone`"""
    policy: str
    """`refit` or `merged`: how the weights came into the graph"""
    height: int
    """of the padded input, pixels"""
    width: int
    max_abs_error: float
    """in units of the image range [0, 1]"""
    psnr_db: float | None
    """of the graph's output against PyTorch's, peak 1; None where they are equal bit for bit"""


@dataclass(frozen=True)
class Parity:
    """What was compared."""

    tolerance: float
    cases: tuple[Case, ...]

    @property
    def worst(self) -> Case:
        """The case of the largest difference; a difference that is no number counts as infinite."""
        return max(self.cases, key=lambda case: np.nan_to_num(case.max_abs_error, nan=np.inf))


@dataclass(frozen=True)
class Network:
    """Source parameters to compare."""

    name: str
    """a task, or `backbone`"""
    weights: Mapping[str, Array]


def measure(
    module: nn.Module,
    networks: Sequence[Network],
    graph: Path,
    manifest: Manifest,
    tolerance: float = TOLERANCE,
    sizes: Iterable[tuple[int, int]] = SIZES,
    seed: int = 0,
) -> Parity:
    """Compare `module` under the weights of each network with `graph` under the same.

    module: the network as trained; its own weights play no part, and stay as they are.
    manifest: of the bundle that `graph` is in; where a task is merged its network is the only one.
    sizes: heights and widths in pixels, padded as the manifest says.
    """
    inputs = pictures(manifest, sizes, seed)
    expected = {n.name: [run_module(module, n.weights, tensor) for tensor in inputs] for n in networks}
    give_back()
    cases: list[Case] = []
    if (
        manifest.kind == "shared"
    ):  # the session in place is closed before others are opened: each holds the network
        refit: OrtBackend | None = None
        for network in networks:
            tensors = GraphTensors(manifest.program, network.weights)
            refit = refit or OrtBackend(graph, ImageConvention(), tensors, True, 0)
            refit.set_weights(tensors.items())
            cases += _cases(network.name, "refit", refit.run, inputs, expected[network.name])
        if refit:
            close_session(refit)
    for network in networks:
        tensors = GraphTensors(manifest.program, network.weights)
        merged = OrtBackend(graph, ImageConvention(), tensors, False, 0)
        cases += _cases(network.name, "merged", merged.run, inputs, expected[network.name])
        close_session(merged)
    return Parity(tolerance, tuple(cases))


def check(parity: Parity) -> None:
    """Raises: ParityError naming the worst case."""
    worst = parity.worst
    if not worst.max_abs_error <= parity.tolerance:
        raise ParityError(
            f"{worst.network} ({worst.policy}, {worst.height}×{worst.width}): ONNX Runtime and PyTorch differ by "
            f"{worst.max_abs_error:.3g}, more than {parity.tolerance:g}. Nothing was written. If the network's "
            "outputs are far outside [0, 1], its weights are untrained or damaged; else raise the tolerance"
        )


def pictures(manifest: Manifest, sizes: Iterable[tuple[int, int]] = SIZES, seed: int = 0) -> list[Array]:
    """Inputs to compare on, padded as the manifest says, a shape once; of the one size of a manifest that has one."""
    rng, shapes = np.random.default_rng(seed), manifest.shapes
    taken = [shapes.max] if shapes.min == shapes.max else sizes
    tensors = [padded(natural_image(h, w, rng), shapes, manifest.pad) for h, w in taken]
    return list({tensor.shape: tensor for tensor in tensors}.values())


def graph_tensors(program: Program, weights: Mapping[str, Array]) -> dict[str, Array]:
    """Graph tensors that a weight program makes of source parameters, all at once."""
    return dict(GraphTensors(program, weights))


def parity_json(parity: Parity, losses: Iterable[Loss] = ()) -> str:
    """The text of `parity.json`: the fields of these classes, and under `precision` what a lower precision costs."""
    found = [dataclasses.asdict(loss) | {"change_db": loss.change_db} for loss in losses]
    return json.dumps(dataclasses.asdict(parity) | {"precision": found}, indent=1) + "\n"


def natural_image(height: int, width: int, rng: np.random.Generator) -> Array:
    """1×3×height×width float32 in [0, 1] with the spectrum of photographs: amplitude falling as 1/frequency."""
    y, x = np.fft.fftfreq(height)[:, None], np.fft.rfftfreq(width)[None]
    amplitude = 1 / np.maximum(np.hypot(y, x), 1 / max(height, width))
    noise = np.fft.rfft2(rng.standard_normal((3, height, width)))
    layers = np.fft.irfft2(noise * amplitude, s=(height, width))
    layers = 0.3 * layers + layers.mean(0)  # channels of a photograph go together
    low, high = layers.min(), layers.max()
    image: Array = ((layers - low) / (high - low)).astype(np.float32)[None]
    return image


def run_module(module: nn.Module, weights: Mapping[str, Array], tensor: Array) -> Array:
    """The network as trained, under `weights`: 1×3×H×W float32 → same."""
    with no_grad():
        state = {name: from_numpy(array) for name, array in weights.items()}
        result: Array = functional_call(module, state, from_numpy(tensor)).numpy()
    return result


def _cases(
    network: str, policy: str, run: Callable[[Array], Array], inputs: list[Array], expected: list[Array]
) -> list[Case]:
    cases = []
    for tensor, reference in zip(inputs, expected, strict=True):
        result = run(tensor)
        _, _, height, width = tensor.shape
        error = float(np.abs(result - reference).max())
        decibel = psnr(result[0].transpose(1, 2, 0), reference[0].transpose(1, 2, 0))
        cases.append(Case(network, policy, height, width, error, None if error == 0 else round(decibel, 2)))
    return cases
