"""Graph tensors in blocks against the weight program on whole parameters, into every order a buffer may have."""

from typing import Any

import numpy as np
import pytest
from colora.runtime import blocks
from colora.runtime.blocks import LowRank, Param, form_of, put_all
from colora.runtime.ort_layout import Place
from colora.runtime.program import parse_program, run_steps
from colora.runtime.weights import Array
from hypothesis import given
from hypothesis import strategies as st

NAMES = ("w", "gamma", "s")
RELATIVE = 1e-5
"""of the largest number: float32 sums of up to 64 + 40 products, centring cancels"""


def params(
    rows: int, inputs: int, kernel: tuple[int, int], rank: int, dense: bool, seed: int, half: bool = False
) -> dict[str, Param]:
    rng = np.random.default_rng(seed)

    def numbers(*shape: int) -> Array:
        return rng.standard_normal(shape, np.float32)

    shape = (rows, inputs, *kernel)
    changed = numbers(*shape) if dense else None
    b, a = numbers(rows, rank), numbers(rank, inputs * kernel[0] * kernel[1])
    if half:
        b, a = b.astype(np.float16), a.astype(np.float16)
    low_rank = LowRank(b, a, 1.0 if dense else -0.75) if rank else None
    return {
        "w": Param(numbers(*shape), changed, low_rank),
        "gamma": Param(numbers(inputs), None, None),
        "s": Param(numbers(1, rows, 1, 1), None, None),
    }


def value(param: Param) -> Array:
    """In float64."""
    total = param.w0.astype(np.float64)
    if param.dense is not None:
        total += param.dense
    if param.low_rank is not None:
        low = param.low_rank
        total += low.scale * (low.b.astype(np.float64) @ low.a).reshape(total.shape)
    return total


FORMS: list[list[list[Any]]] = [
    [],
    [["scale_in", "gamma"]],
    [["scale_in", "gamma"], ["center_in"]],
    [["center_in"]],
    [["scale_out", "s"]],
    [["center_in"], ["scale_out", "s"]],
]


@given(
    form=st.sampled_from(FORMS),
    rows=st.sampled_from([1, 3, 16, 32, 48, 64]),
    inputs=st.sampled_from([1, 5, 16, 32]),
    kernel=st.sampled_from([(1, 1), (3, 3)]),
    rank=st.sampled_from([0, 1, 3, 40]),
    dense=st.booleans(),
    cut=st.booleans(),
    small=st.booleans(),
    half=st.booleans(),
    width=st.sampled_from([0, 8, 16]),
    phases=st.booleans(),
)
def test_any_form_into_any_order(
    form: Any,
    rows: int,
    inputs: int,
    kernel: Any,
    rank: int,
    dense: bool,
    cut: bool,
    small: bool,
    half: bool,
    width: int,
    phases: bool,
) -> None:
    if any(step[0] == "center_in" for step in form) and kernel != (1, 1):
        kernel = (1, 1)
    if "scale_out" in str(form) and cut:
        cut = False
    first = rows // 2 if cut and rows > 1 else 0
    sliced = [["slice_out", first, rows]] if first else []
    dealt = [["phases_out", 2]] if phases and (rows - first) % 32 == 0 else []
    steps = parse_program({"t": [["param", "w"], *form, *sliced, *dealt]})["t"]
    known = params(rows, inputs, kernel, rank, dense, rows + inputs, half)
    with pytest.MonkeyPatch.context() as patch:
        if small:
            patch.setattr(blocks, "BLOCK", 1)
            patch.setattr(blocks, "ONE_THREAD", 3000)
        made = form_of(steps, known.__getitem__, lambda name: known[name].w0)
        assert made
        shape = (rows - first, inputs, *kernel)
        buffers = [np.full(shape, np.nan, np.float32)]
        if width and (shape[0] % width == 0 or shape[0] < width) and (inputs % width == 0 or inputs < width):
            padded = (max(width, shape[0]), max(width, inputs), *kernel)
            place = Place("t", padded, width, True)
            buffers.append(place.view(np.zeros(place.shape, np.float32), shape))
        for buffer in buffers:
            scratch = np.full((2, max(block.room for block in made)), np.nan, np.float32)
            put_all(made, buffer, scratch)
    expected = run_steps("t", steps, lambda name: value(known[name]))
    largest = max(np.abs(expected).max(), np.abs(value(known["w"])).max())
    for buffer in buffers:
        assert np.abs(buffer.reshape(shape) - expected).max() < RELATIVE * largest
        assert np.array_equal(buffer.reshape(shape), buffers[0])


@pytest.mark.parametrize(
    "steps",
    [
        [["param", "w"], ["scale_in", "gamma"], ["scale_out", "s"]],
        [["param", "w"], ["scale_out", "gamma"]],
        [["param", "w"], ["slice_out", 2, 99]],
        [["param", "w"], ["phases_out", 2]],  # eight rows each, no whole block of channels
        [["param", "w"], ["cast", "float16"]],
        [["param", "gamma"], ["center_in"]],
        [["add_through", "w", "gamma"]],
    ],
)
def test_what_has_another_form_is_left_to_the_program(steps: Any) -> None:
    known = params(16, 8, (1, 1), 2, False, 0)
    assert not form_of(parse_program({"t": steps})["t"], known.__getitem__, lambda name: known[name].w0)
