"""The weight program: each operation against plain algebra, and what the parser refuses."""

import json
from typing import Any

import hypothesis.extra.numpy as hnp
import numpy as np
import pytest
from colora.devices.errors import BundleError
from colora.runtime.program import OPS, operands, parse_program, program_json, reads, run_steps
from hypothesis import given
from hypothesis import strategies as st

floats = st.floats(-4, 4, width=32)
sizes = st.integers(1, 6)


def array(*shape: int) -> st.SearchStrategy[Any]:
    return hnp.arrays(np.float32, shape, elements=floats)


def run(steps: list[list[Any]], **params: Any) -> Any:
    return run_steps("t", parse_program({"t": steps})["t"], params.__getitem__)


# Tolerances: float32 sums of at most 6 products of numbers up to 4·4; one rounding is 6e-8 of 96.
CLOSE = {"rtol": 1e-5, "atol": 1e-4}


@given(st.data(), sizes, sizes)
def test_norm_folds_into_a_1x1_convolution(data: Any, cout: int, cin: int) -> None:
    """W·(γ∘(x − mean x)) + W·β + b equals the folded convolution on x: the identity that passes rest on."""
    w, x = data.draw(array(cout, cin, 1, 1)), data.draw(array(cin))
    gamma, beta, b = data.draw(array(cin)), data.draw(array(cin)), data.draw(array(cout))
    folded_w = run([["param", "w"], ["scale_in", "g"], ["center_in"]], w=w, g=gamma)
    folded_b = run([["param", "b"], ["add_through", "w", "beta"]], b=b, w=w, beta=beta)
    expected = w[:, :, 0, 0] @ (gamma * (x - x.mean()) + beta) + b
    # the folded product subtracts means of weights up to 16 from each other: a few roundings of 6·16·4
    assert np.allclose(folded_w[:, :, 0, 0] @ x + folded_b, expected, rtol=1e-4, atol=1e-3)


@given(st.data(), sizes, sizes)
def test_scale_in_and_out_are_diagonal_products(data: Any, cout: int, cin: int) -> None:
    w, s, t = data.draw(array(cout, cin, 3, 3)), data.draw(array(cin)), data.draw(array(1, cout, 1, 1))
    out = run([["param", "w"], ["scale_in", "s"], ["scale_out", "t"]], w=w, s=s, t=t)
    assert np.allclose(out, np.einsum("o,oihw,i->oihw", t.ravel(), w, s), **CLOSE)


@given(st.data(), sizes, sizes)
def test_center_in_removes_what_a_constant_adds(data: Any, cout: int, cin: int) -> None:
    w = data.draw(array(cout, cin, 1, 1))
    once = run([["param", "w"], ["center_in"]], w=w)
    assert np.allclose(once.sum(axis=1), 0, atol=1e-4)
    assert np.allclose(run([["param", "w"], ["center_in"]], w=once), once, **CLOSE)


@given(st.data(), sizes, sizes)
def test_add_through_starts_from_zero(data: Any, cout: int, cin: int) -> None:
    w, b = data.draw(array(cout, cin, 1, 1)), data.draw(array(1, cin, 1, 1))
    assert np.allclose(run([["add_through", "w", "b"]], w=w, b=b), w[:, :, 0, 0] @ b.ravel(), **CLOSE)


@given(st.data(), st.integers(2, 9))
def test_slices_put_together_are_the_whole(data: Any, cout: int) -> None:
    w = data.draw(array(cout, 2, 1, 1))
    cut = data.draw(st.integers(1, cout - 1))
    parts = [run([["param", "w"], ["slice_out", i, j]], w=w) for i, j in ((0, cut), (cut, cout))]
    assert np.array_equal(np.concatenate(parts), w)
    assert all(part.flags.c_contiguous for part in parts)


@given(st.data(), sizes, sizes)
def test_phases_are_every_nth_row(data: Any, n: int, count: int) -> None:
    w = data.draw(array(n * count, 2))
    out = run([["param", "w"], ["phases_out", n]], w=w)
    assert np.array_equal(out, np.concatenate([w[k::n] for k in range(n)]))


@given(st.data(), sizes)
def test_reshape_and_cast(data: Any, n: int) -> None:
    w = data.draw(array(n))
    out = run([["param", "w"], ["reshape", 1, n, 1, 1], ["cast", "float16"]], w=w)
    assert out.dtype == np.float16
    assert np.array_equal(out, w.astype(np.float16).reshape(1, n, 1, 1))


def test_sources_are_never_changed() -> None:
    w, g = np.ones((2, 3, 1, 1), np.float32), np.full(3, 2, np.float32)
    run([["param", "w"], ["scale_in", "g"], ["center_in"], ["add_through", "w2", "b"]][:3], w=w, g=g)
    assert (w == 1).all()
    assert (g == 2).all()


def test_a_value_that_is_given_is_written_over_only_if_it_may_be() -> None:
    steps = parse_program({"t": [["param", "w"], ["scale_out", "s"], ["center_in"]]})["t"][1:]
    s = np.array([2, 3], np.float32)
    for writeable in (True, False):
        value = np.arange(6, dtype=np.float32).reshape(2, 3)
        value.flags.writeable = writeable
        result = run_steps("t", steps, {"s": s}.__getitem__, value)
        assert np.array_equal(result, [[-2, 0, 2], [-3, 0, 3]])
        assert np.shares_memory(result, value) == writeable
        assert writeable or np.array_equal(value.ravel(), range(6))


def test_reads_count_every_time_a_parameter_is_asked_for() -> None:
    program = parse_program({"t": [["param", "b"], ["add_through", "w", "b"]], "u": [["param", "w"]]})
    assert reads(program.values()) == {"b": 2, "w": 2}


def test_operands_in_order_each_once() -> None:
    steps = parse_program(
        {"t": [["param", "b"], ["add_through", "w", "beta"], ["scale_out", "b"], ["slice_out", 0, 1]]}
    )["t"]
    assert operands(steps) == ("b", "w", "beta")


@given(
    st.dictionaries(
        st.text(min_size=1),
        st.lists(
            st.sampled_from([["scale_in", "p"], ["center_in"], ["slice_out", 0, 4], ["reshape", 2, 3]]),
            max_size=4,
        ),
    )
)
def test_json_round_trip(bodies: dict[str, list[list[Any]]]) -> None:
    data = {tensor: [["param", "w"], *steps, ["cast", "float32"]] for tensor, steps in bodies.items()}
    assert program_json(parse_program(json.loads(json.dumps(data)))) == data


@pytest.mark.parametrize(
    ("data", "message"),
    [
        ([], "weight program is list, expected an object"),
        ({"t": []}, "weight program of t: expected a list of steps"),
        ({"t": [["matmul", "w"]]}, r"unknown step \['matmul', 'w'\]; this version knows param, scale_in"),
        ({"t": [[["param"], "w"]]}, "unknown step"),
        ({"t": ["param"]}, "unknown step 'param'"),
        ({"t": [["scale_in", "w"]]}, "starts with scale_in w; expected param or add_through"),
        ({"t": [["param", "w"], ["param", "v"]]}, "param v after other steps"),
        ({"t": [["param", "w"], ["cast", "float16"], ["center_in"]]}, "cast float16 before other steps"),
        ({"t": [["param", "w"], ["cast", "int8"]]}, "cast int8; expected float16 or float32"),
        ({"t": [["param"]]}, "param; expected a parameter name"),
        ({"t": [["param", 3]]}, "param 3; expected a parameter name"),
        ({"t": [["param", "w"], ["slice_out", 0, 1.5]]}, "slice_out 0 1.5; expected a size, a size"),
        ({"t": [["param", "w"], ["slice_out", -1, 3]]}, "slice_out -1 3; expected a size"),
        ({"t": [["param", "w"], ["slice_out", True, 3]]}, "slice_out True 3"),
        ({"t": [["param", "w"], ["reshape"]]}, "reshape; expected a size"),
        ({"t": [["param", "w"], ["center_in", 1]]}, "center_in 1; expected no argument"),
    ],
)
def test_the_parser_names_tensor_step_and_reason(data: Any, message: str) -> None:
    with pytest.raises(BundleError, match=message):
        parse_program(data)


@pytest.mark.parametrize(
    ("steps", "message"),
    [
        (
            [["param", "w"], ["scale_in", "one"]],
            r"t: scale_in one on \(4, 3, 1, 1\): 1 factors for 3 input channels",
        ),
        ([["param", "w"], ["scale_out", "v"]], "3 factors for 4 output channels"),
        ([["param", "v"], ["scale_in", "v"]], "scale_in v"),
        ([["param", "w"], ["slice_out", 2, 5]], r"\[2:5\] of 4"),
        ([["param", "w"], ["phases_out", 3]], "3 phases of 4 rows"),
        ([["param", "w"], ["reshape", 5]], "reshape 5"),
        ([["param", "v"], ["add_through", "w", "v"]], "add_through w v"),
        ([["param", "big"], ["cast", "float16"]], "cast float16 .* overflows float16"),
        ([["param", "one"], ["center_in"]], "center_in"),
    ],
)
def test_shapes_that_do_not_fit_are_named(steps: Any, message: str) -> None:
    params = {
        "w": np.ones((4, 3, 1, 1), np.float32),
        "v": np.ones(3, np.float32),
        "one": np.ones(1, np.float32),
        "big": np.full(2, 1e6, np.float32),
    }
    with pytest.raises(BundleError, match=message):
        run(steps, **params)


def test_the_set_of_operations_is_closed() -> None:
    """A new operation needs a new manifest format: change both, then this list."""
    assert set(OPS) == {
        "param", "scale_in", "scale_out", "center_in", "add_through", "slice_out", "phases_out", "reshape", "cast"
    }  # fmt: skip
