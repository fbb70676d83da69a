"""Graph tensors under a mixture: what is written in place is what is computed one by one, whatever came between."""

import sys
from collections.abc import Iterator
from itertools import permutations
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from colora.runtime import blocks
from colora.runtime.blocks import put
from colora.runtime.bundle import WEIGHTS, open_bundle
from colora.runtime.merge import GraphTensors
from colora.runtime.mixture import Mixture, Part

STRENGTHS: list[dict[str, float]] = [
    {},
    {"rain": 1.0},
    {"noise": 1.0},
    {"noise": 0.3},
    {"noise": 0.4, "rain": -0.7},
]


@pytest.fixture(params=["as it is", "many blocks"])
def tensors(null_bundle: Path, request: Any, monkeypatch: pytest.MonkeyPatch) -> Iterator[GraphTensors]:
    if request.param != "as it is":
        monkeypatch.setattr(blocks, "BLOCK", 20)
        monkeypatch.setattr(blocks, "ROWS", 2)
        monkeypatch.setattr(blocks, "ONE_THREAD", 30)
    yield GraphTensors(open_bundle(null_bundle))


def mixture(mini: Any, strengths: dict[str, float]) -> Mixture:
    return tuple(Part(mini.adapters[task], strength) for task, strength in sorted(strengths.items()))


def test_graph_tensors_are_the_program_over_changed_parameters(mini: Any, tensors: GraphTensors) -> None:
    for strengths in STRENGTHS:
        expected = mini.graph_tensors(strengths)
        found = dict(tensors.under(mixture(mini, strengths), tuple(expected)))
        for name in expected:  # float64 against float32 sums of up to 11 products of order 0.1
            assert np.abs(found[name] - expected[name]).max() < 1e-6, name


def test_what_is_written_is_what_is_computed_one_by_one_bit_for_bit(mini: Any, tensors: GraphTensors) -> None:
    names = tuple(mini.manifest.program)
    reference = [
        {name: tensor.copy() for name, tensor in tensors.under(mixture(mini, strengths), names)}
        for strengths in STRENGTHS
    ]
    buffers = {name: np.full_like(tensor, np.nan) for name, tensor in reference[0].items()}
    for order in list(permutations(range(len(STRENGTHS))))[::17]:
        for i in order:
            tensors.write(mixture(mini, STRENGTHS[i]), buffers, names)
            for name in names:
                assert np.array_equal(buffers[name], reference[i][name]), (name, STRENGTHS[i])


def test_only_what_was_asked_for_is_written(mini: Any, tensors: GraphTensors) -> None:
    rain = mixture(mini, {"rain": 1.0})
    names = tensors.touched(rain)
    assert names == ("w1", "b1", "w3", "b3")  # rain changes conv1 and beta
    assert tensors.touched() == tensors.touched(()) == ()
    everything = tuple(mini.manifest.program)
    assert tensors.touched(rain, mixture(mini, {"noise": 1.0})) == everything
    buffers = {name: np.full_like(t, 7) for name, t in tensors.under((), everything)}
    tensors.write(rain, buffers, names)
    assert {name for name, buffer in buffers.items() if not (buffer == 7).all()} == {*names}


def test_adapters_and_weights_stay_as_they_are(mini: Any, tensors: GraphTensors) -> None:
    before = {
        n: t.copy() for a in mini.adapters.values() for p in a.params.values() for n, t in p.tensors.items()
    }
    names = tuple(mini.manifest.program)
    buffers = {name: tensor.copy() for name, tensor in tensors.under((), names)}
    pristine = {name: tensor.copy() for name, tensor in buffers.items()}
    for strengths in STRENGTHS:
        tensors.write(mixture(mini, strengths), buffers, names)
    tensors.write((), buffers, names)
    assert all(np.array_equal(buffers[name], pristine[name]) for name in names)
    after = {n: t for a in mini.adapters.values() for p in a.params.values() for n, t in p.tensors.items()}
    assert all(np.array_equal(after[name], before[name]) for name in before)


@pytest.mark.skipif(sys.platform != "linux", reason="/proc/self/smaps is Linux's")
def test_pages_of_the_source_weights_are_released_after_a_switch(mini: Any, null_bundle: Path) -> None:
    def resident() -> int:
        """kB of the source weights in memory because they are mapped here."""
        _, _, rest = Path("/proc/self/smaps").read_text().partition(str(null_bundle / WEIGHTS))
        return int(rest.partition("Rss:")[2].split()[0])

    tensors = GraphTensors(open_bundle(null_bundle))
    names = tuple(mini.manifest.program)
    buffers = {name: tensor.copy() for name, tensor in tensors.under((), names)}
    assert resident() == 0
    tensor = next(half := tensors.under((), names))[1]
    assert tensor.sum() != 0
    assert resident() > 0  # or nothing is proven
    half.close()
    tensors.write(mixture(mini, {"rain": 1.0}), buffers, names)
    assert resident() == 0


@pytest.mark.parametrize("size", [(32, 16, 1, 1), (48, 32, 1, 1), (32, 32, 3, 3), (12, 16, 1, 1)])
@pytest.mark.parametrize("inputs", [True, False])
def test_kernels_in_blocks_of_channels_get_every_number(
    size: tuple[int, int, int, int], inputs: bool
) -> None:
    """Into the orders of runtime/ort_layout.py; 12 kernels leave a part of their block empty."""
    from colora.runtime.ort_layout import Place

    place = Place("k", (-(-size[0] // 16) * 16, *size[1:]), 16, inputs)
    tensor = np.random.default_rng(0).standard_normal(size).astype(np.float32)
    buffers = [np.zeros(place.shape, np.float32) for _ in range(2)]
    put(tensor, place.view(buffers[0], size))
    view = place.view(buffers[1], size)
    view[...] = tensor.reshape(view.shape)
    assert np.array_equal(*buffers)
    assert np.count_nonzero(buffers[0]) == tensor.size
