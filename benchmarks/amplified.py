"""The same network with larger activations: what float16 has to survive, made of any network.

    x → f·x along the whole residual stream, f a power of two

Norms do not see it: norm(f·x) = norm(x) but for ε, which counts f² times less. So every layer that writes to the
stream is multiplied by f (its bias, where it reads the stream itself), and the last layer divided by it. In float32
that is the same function; in float16 the squares inside the norms are f² times as large. Nothing promises that a
training does not end there: porters of a published NAFNet met activations of 175 where ours has 6.
"""

import re
from collections.abc import Mapping

from colora.runtime.weights import Array

WRITERS = re.compile(
    r"intro\.(weight|bias)|.*\.(beta|gamma)|downs\.\d+\.bias"  # NAFNet
    r"|patch_embed\.proj\.(weight|bias)|.*\.project_out\.(weight|bias)"  # Restormer
)
"""What is multiplied; other layers between blocks are linear, and without a bias"""
LAST = re.compile(r"(ending|output)\.weight")
"""What is divided"""


def amplified(weights: Mapping[str, Array], factor: float) -> dict[str, Array]:
    """Source parameters of the same function with a residual stream `factor` times as large. Others are shared."""
    made = dict(weights)
    for name, value in weights.items():
        if WRITERS.fullmatch(name):
            made[name] = value * value.dtype.type(factor)
        if LAST.fullmatch(name):
            made[name] = value / value.dtype.type(factor)
    return made
