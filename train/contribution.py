"""What FAIG found, by parameter, and pooled to layers, blocks, stages or kinds.

How CoLoRA pools is not published; this is our choice. With s_i the mean |FAIG| per number of parameter i and n_i its
numbers, a group's total is Σ n_i·s_i and its mean is that over Σ n_i. So biases, norms and scales count by how many
numbers they hold, and whatever the grouping, the totals add up to the same sum. Ranks need no pooling: they follow the
s_i of the kernels themselves.
"""

import json
import math
import re
from collections.abc import Callable
from dataclasses import asdict, dataclass, fields
from pathlib import Path

from colora.devices.errors import CheckpointError, unknown
from colora.runtime.atomic import write_text


@dataclass(frozen=True)
class Attribution:
    """FAIG of a pair of weight sets over some images."""

    contribution: dict[str, float]
    """mean |FAIG| per number of each parameter tensor, averaged over images; not normalised"""
    numbers: dict[str, int]
    """how many numbers each parameter holds; same keys, in the network's order of parameters"""
    explained: float
    """Σ FAIG with its sign, averaged over images"""
    change: float
    """L(target) - L(baseline), averaged over images: what `explained` tends to"""
    steps: int
    """points on the path (N)"""
    images: int

    @property
    def total(self) -> float:
        """Σ |FAIG| over all numbers of the network, averaged over images."""
        return math.fsum(self.numbers[name] * mean for name, mean in self.contribution.items())

    def write(self, path: Path) -> None:
        """Writes JSON, whole or not at all."""
        write_text(path, json.dumps(asdict(self), indent=1))

    @staticmethod
    def read(path: Path) -> "Attribution":
        """Raises CheckpointError where `path` is no file that `write` made."""
        try:
            facts = json.loads(path.read_text())
            found = Attribution(**{field.name: facts[field.name] for field in fields(Attribution)})
            if not found.contribution or found.contribution.keys() != found.numbers.keys():
                raise ValueError("contribution and numbers name other parameters")
            float(found.total)
        except (OSError, AttributeError, KeyError, TypeError, ValueError) as error:
            raise CheckpointError(
                f"{path}: not an attribution ({type(error).__name__}: {error}); expected the faig.json of colora adapt"
            ) from error
        return found


@dataclass(frozen=True)
class Group:
    """Parameters pooled."""

    name: str
    numbers: int
    total: float
    """Σ |FAIG|"""

    @property
    def mean(self) -> float:
        """|FAIG| per number."""
        return self.total / self.numbers


def layer_of(parameter: str) -> str:
    """`encoders.0.0.conv1` for its weight and its bias; a block's own scales (beta, temperature) stand alone."""
    return re.sub(r"\.(weight|bias)$", "", parameter)


def block_of(parameter: str) -> str:
    """`encoders.0.1`, `latent.3`, `intro`: the first name, with the numbers that follow it."""
    match = re.match(r"[^.]+(\.\d+)*", parameter)
    return match[0] if match else parameter


STAGES = (
    (r"(encoders|decoders)\.(\d+)\.\d+", r"\1.\2"),
    (r"downs\.(\d+)", r"encoders.\1"),
    (r"ups\.(\d+)\.\d+", r"decoders.\1"),
    (r"down(\d)_\d", r"encoder_level\1"),
    (r"(?:up\d_|reduce_chan_level)(\d)", r"decoder_level\1"),
    (r"(.+?)\.\d+", r"\1"),
)
"""(block, its stage), the first that matches; resampling belongs to the encoder stage before it and to the decoder
stage behind it. Other blocks (intro, ending, patch_embed, output) are stages of their own."""


def stage_of(parameter: str) -> str:
    """`encoders.0`, `middle_blks`, `decoder_level2`, `ending`: what the paper's figure gives one δ."""
    block = block_of(parameter)
    for pattern, stage in STAGES:
        if match := re.fullmatch(pattern, block):
            return match.expand(stage)
    return block


def kind_of(parameter: str) -> str:
    """`convolution`, `bias`, `norm` (its weight and bias) or `scale` (beta, gamma, temperature)."""
    *path, name = parameter.split(".")
    if any(part.startswith("norm") for part in path):
        return "norm"
    return {"weight": "convolution", "bias": "bias"}.get(name, "scale")


POOLINGS: dict[str, Callable[[str], str]] = {
    "layer": layer_of,
    "block": block_of,
    "stage": stage_of,
    "kind": kind_of,
}
"""Name → parameter to the name of its group."""


def pool(attribution: Attribution, by: str) -> list[Group]:
    """Groups in the order in which an image passes their stages. Raises UnknownName for no entry of POOLINGS."""
    if by not in POOLINGS:
        raise unknown("pooling", by, POOLINGS)
    stages = list(dict.fromkeys(map(stage_of, attribution.numbers)))
    members: dict[str, list[str]] = {}
    for name in sorted(attribution.numbers, key=lambda name: stages.index(stage_of(name))):
        members.setdefault(POOLINGS[by](name), []).append(name)
    return [
        Group(
            group,
            sum(attribution.numbers[n] for n in names),
            math.fsum(attribution.numbers[n] * attribution.contribution[n] for n in names),
        )
        for group, names in members.items()
    ]
