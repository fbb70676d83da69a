"""The weight program: graph tensors as functions of source parameters.

Compiler passes fold source parameters into fewer graph tensors; each records what it did as steps on a
running value, so that a device can redo it for another task. Operands are task-updated parameters in
float32.

| step | value v becomes |
|---|---|
| `param p` | p (first) |
| `scale_in p` | v · p along axis 1 (input channels): W·diag(p) |
| `scale_out p` | v · p along axis 0 (output channels): diag(p)·W, or a bias times p |
| `center_in` | v less its mean over axis 1: W·(I − 11ᵀ/C) |
| `add_through W b` | v + W·b, W a 1×1 kernel; as a first step v is 0 |
| `slice_out i j` | v[i:j] along axis 0 |
| `phases_out n` | v[0::n], v[1::n], …, v[n−1::n], one behind the other along axis 0 |
| `reshape n…` | v in that shape |
| `cast d` | v as float16 or float32 (last) |

A new operation raises the manifest's format: `phases_out` came with format 2.

Operands are never changed: `param` is a read-only view. What the steps themselves made is computed on in
place, because memory at hand is memory in the cache.
"""

from collections import Counter
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from colora.devices.errors import BundleError
from colora.runtime.weights import Array


@dataclass(frozen=True)
class Step:
    """One operation: `args` are parameter names (text), sizes (int) or a dtype (text)."""

    op: str
    args: tuple[str | int, ...] = ()


Steps = tuple[Step, ...]
Program = Mapping[str, Steps]
"""Graph tensor → the steps that make it."""


def _own(v: Array) -> Array | None:
    """Where to write the next value: over v, if these steps made it, or its base."""
    return v if v.flags.writeable else None


def _param(v: Array, p: Array) -> Array:
    view = p.view()
    view.flags.writeable = False
    return view


def _scale_in(v: Array, p: Array) -> Array:
    if p.size != v.shape[1]:
        raise ValueError(f"{p.size} factors for {v.shape[1]} input channels")
    scaled: Array = np.multiply(v, p.reshape(1, -1, *[1] * (v.ndim - 2)), out=_own(v))
    return scaled


def _scale_out(v: Array, p: Array) -> Array:
    if p.size != v.shape[0]:
        raise ValueError(f"{p.size} factors for {v.shape[0]} output channels")
    scaled: Array = np.multiply(v, p.reshape(-1, *[1] * (v.ndim - 1)), out=_own(v))
    return scaled


def _center_in(v: Array) -> Array:
    if v.ndim == 1:
        raise ValueError("expected 2 axes or more")
    total: Array = np.einsum("ijk->ik", v.reshape(len(v), v.shape[1], -1))  # five times as fast as `mean`
    mean = total.reshape(len(v), 1, *v.shape[2:]) / np.float32(v.shape[1])
    centred: Array = np.subtract(v, mean, out=_own(v))
    return centred


def _add_through(v: Array, w: Array, b: Array) -> Array:
    # not `@`: OpenBLAS would wake its threads, which then spin
    through: Array = np.einsum("ij,j->i", w.reshape(len(w), -1), b.reshape(-1))
    return v + through.reshape(v.shape) if v.ndim else through


def _slice_out(v: Array, begin: int, end: int) -> Array:
    if not 0 <= begin < end <= len(v):
        raise ValueError(f"[{begin}:{end}] of {len(v)}")
    return v[begin:end]


def _phases_out(v: Array, n: int) -> Array:
    if n < 1 or len(v) % n:
        raise ValueError(f"{n} phases of {len(v)} rows")
    phases: Array = v.reshape(-1, n, *v.shape[1:]).swapaxes(0, 1)
    return phases.reshape(v.shape)


def _reshape(v: Array, *shape: int) -> Array:
    return v.reshape(shape)


def _cast(v: Array, dtype: str) -> Array:
    with np.errstate(over="ignore"):
        cast: Array = v.astype(dtype)
    if not np.isfinite(cast).all():
        raise ValueError(f"overflows {dtype}")
    return cast


@dataclass(frozen=True)
class Op:
    """How one operation is written and computed."""

    args: str
    """One letter per argument: p parameter, i size, d dtype; `i*` any number of sizes. p stands alone."""
    apply: Callable[..., Array]


OPS: dict[str, Op] = {
    "param": Op("p", _param),
    "scale_in": Op("p", _scale_in),
    "scale_out": Op("p", _scale_out),
    "center_in": Op("", _center_in),
    "add_through": Op("pp", _add_through),
    "slice_out": Op("ii", _slice_out),
    "phases_out": Op("i", _phases_out),
    "reshape": Op("i*", _reshape),
    "cast": Op("d", _cast),
}
FIRST = ("param", "add_through")
NOTHING: Array = np.zeros((), np.float32)
DTYPES = ("float16", "float32")


def parse_program(data: Any) -> dict[str, Steps]:
    """Program from its JSON form `{tensor: [[op, arg…], …]}`.

    Raises: BundleError naming tensor, step and reason.
    """
    if not isinstance(data, dict):
        raise BundleError(f"weight program is {type(data).__name__}, expected an object of tensor: steps")
    return {tensor: _parse_steps(tensor, steps) for tensor, steps in data.items()}


def program_json(program: Program) -> dict[str, list[list[str | int]]]:
    """The form `parse_program` reads."""
    return {tensor: [[step.op, *step.args] for step in steps] for tensor, steps in program.items()}


def operands(steps: Iterable[Step]) -> tuple[str, ...]:
    """Source parameters that `steps` read, each once, in order of first use."""
    return tuple(
        dict.fromkeys(str(a) for step in steps for a in step.args if OPS[step.op].args.startswith("p"))
    )


def reads(programs: Iterable[Steps]) -> dict[str, int]:
    """Source parameters, and how often `run_steps` asks for each."""
    named = (step for steps in programs for step in steps if OPS[step.op].args.startswith("p"))
    return dict(Counter(str(arg) for step in named for arg in step.args))


def run_steps(tensor: str, steps: Steps, param: Callable[[str], Array], value: Array = NOTHING) -> Array:
    """Compute one graph tensor; `param` gives the task-updated float32 parameter of a name.

    value: what steps before these have made; it is written over if it is writeable.

    The result is C-contiguous, and read-only where it is an operand or a part of one.
    Raises: BundleError naming tensor and step where shapes do not fit or a cast overflows.
    """
    for step in steps:
        op = OPS[step.op]
        args = [param(str(a)) for a in step.args] if op.args.startswith("p") else step.args
        try:
            value = op.apply(value, *args)
        except (ValueError, IndexError) as e:
            raise BundleError(f"weight program of {tensor}: {_show(step)} on {value.shape}: {e}") from e
    return np.asarray(value, order="C")


def _parse_steps(tensor: str, data: Any) -> Steps:
    where = f"weight program of {tensor}"
    if not isinstance(data, list) or not data:
        raise BundleError(f"{where}: expected a list of steps, got {data!r:.80}")
    steps = []
    for i, entry in enumerate(data):
        if not isinstance(entry, list) or not entry or not isinstance(entry[0], str) or entry[0] not in OPS:
            raise BundleError(f"{where}: unknown step {entry!r:.80}; this version knows {', '.join(OPS)}")
        step = Step(entry[0], tuple(entry[1:]))
        _check(where, step)
        if i == 0 and step.op not in FIRST:
            raise BundleError(f"{where}: starts with {_show(step)}; expected {' or '.join(FIRST)}")
        if i > 0 and step.op == "param":
            raise BundleError(f"{where}: {_show(step)} after other steps; expected it first")
        if step.op == "cast" and i < len(data) - 1:
            raise BundleError(f"{where}: {_show(step)} before other steps; expected it last")
        steps.append(step)
    return tuple(steps)


def _check(where: str, step: Step) -> None:
    """Refuse arguments of the wrong number or kind."""
    kinds = OPS[step.op].args
    if kinds == "i*":
        kinds = "i" * max(1, len(step.args))
    fits = {
        "p": lambda a: isinstance(a, str),
        "i": lambda a: type(a) is int and a >= 0,
        "d": lambda a: a in DTYPES,
    }
    if len(step.args) != len(kinds) or not all(fits[k](a) for a, k in zip(step.args, kinds, strict=True)):
        meant = {"p": "a parameter name", "i": "a size", "d": " or ".join(DTYPES)}
        expected = ", ".join(meant[k] for k in kinds) or "no argument"
        raise BundleError(f"{where}: {_show(step)}; expected {expected}")


def _show(step: Step) -> str:
    return " ".join([step.op, *map(str, step.args)])
