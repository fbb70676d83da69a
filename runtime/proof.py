"""What a graph must show: its golden output before it is used, and finite numbers at every run."""

import math
from collections.abc import Callable

import numpy as np
from colora.devices.errors import BackendError, ParityError
from colora.runtime.backend import Backend
from colora.runtime.golden import golden_input
from colora.runtime.weights import Array


def check_golden(graph: Backend, what: str, expected: Array, tolerance: float) -> None:
    """Run the golden input. Raises: ParityError naming `what`, the difference and the tolerance; BackendError."""
    if not graph.computes:
        return
    found = graph.run(golden_input())
    difference = float(np.abs(found - expected).max()) if found.shape == expected.shape else math.inf
    if not difference <= tolerance:  # NaN is no pass
        raise ParityError(
            f"{what} differs from its golden output by {difference:.2g}, more than "
            f"{tolerance:g}: this machine does not compute what was trained; "
            "export the bundle again, or try policy='merged'"
        )


def finite(graph: Backend) -> Callable[[Array], Array]:
    """The graph's `run`, refusing results that no picture can hold."""

    def run(tensor: Array) -> Array:
        result = graph.run(tensor)
        finite = bool(np.isfinite(result).all())
        if result.shape != tensor.shape or not finite:
            raise BackendError(
                f"the network made {result.shape} of {tensor.shape}{'' if finite else ', with NaN or infinity'}; "
                "expected finite numbers of the same shape: lower the strength, or export in fp32"
            )
        return result

    return run
