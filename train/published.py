"""Published checkpoints: an official `.pth` of NAFNet or Restormer → its weights and the layout that they have.

Read with `weights_only=True`, so that nothing in the file can run. Every fact of a layout shows in the names and shapes
of its weights, so nothing has to be told but the file. NAFNetLocal and Restormer-Local (TLC) have the same weights as
NAFNet and Restormer, and are run as those.
"""

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path

import torch
from colora.devices.errors import CheckpointError, unknown
from colora.train.nafnet import NAFNetConfig
from colora.train.restormer import RestormerConfig
from torch import Tensor

Shapes = Mapping[str, tuple[int, ...]]

WRAPPINGS = ("params_ema", "params", "state_dict")
"""keys under which a file may hold its weights, the averaged ones (EMA) first; BasicSR writes `params`"""

PARTS = {
    "nafnet": "intro encoders downs middle_blks ups decoders ending",
    "restormer": "patch_embed encoder_level1 down1_2 encoder_level2 down2_3 encoder_level3 down3_4 latent up4_3 "
    "reduce_chan_level3 decoder_level3 up3_2 reduce_chan_level2 decoder_level2 up2_1 decoder_level1 refinement output",
}
"""architecture → first words of its parameters' names, by which a file is recognised"""


@dataclass(frozen=True)
class Published:
    """What a published file holds."""

    config: NAFNetConfig | RestormerConfig
    """read from the weights; whether they fill it exactly is for `load_backbone` to say"""
    state: Mapping[str, Tensor]
    """by official name, without wrapping"""


def read_published(path: Path, architecture: str | None = None) -> Published:
    """Weights and layout of a published `.pth`, on the CPU.

    `architecture`: "nafnet" or "restormer"; None takes what the file looks like.
    Raises: UnknownName for another architecture; CheckpointError naming the file, for one that is missing, holds more
    than plain weights (it is not run), looks like the other architecture or none, or lacks what tells the layout.
    """
    if architecture is not None and architecture not in READERS:
        raise unknown("architecture", architecture, READERS)
    state = _read_state(path)
    shapes = {name: tuple(tensor.shape) for name, tensor in state.items()}
    found = looks_like(shapes)
    if found is None:
        raise CheckpointError(
            f"{path}: {len(state)} tensors, first {min(state)!r}: looks like none of {', '.join(READERS)}"
        )
    if found != (architecture or found):
        raise CheckpointError(
            f"{path} looks like a {found}, not a {architecture}: colora import {found} {path}"
        )
    try:
        return Published(READERS[found](shapes), state)
    except (ArithmeticError, ValueError) as error:
        raise CheckpointError(f"{path}: no layout of a {found}: {error}") from error


def looks_like(names: Iterable[str]) -> str | None:
    """The architecture more than half of whose parts are among the parameters `names`; they share no part."""
    words = {name.partition(".")[0] for name in names}
    for architecture, parts in PARTS.items():
        expected = parts.split()
        if len(words & set(expected)) > len(expected) / 2:
            return architecture
    return None


def nafnet_config(shapes: Shapes) -> NAFNetConfig:
    """Stages are counted where they change resolution: one may have no blocks.

    Raises ValueError naming the parameter that is missing or has no such axis.
    """
    return NAFNetConfig(
        width=_axis(shapes, "intro.weight", 0),
        enc_blocks=tuple(_count(shapes, f"encoders.{i}.") for i in range(_count(shapes, "downs."))),
        middle_blocks=_count(shapes, "middle_blks."),
        dec_blocks=tuple(_count(shapes, f"decoders.{i}.") for i in range(_count(shapes, "ups."))),
        in_channels=_axis(shapes, "intro.weight", 1),
    )


def restormer_config(shapes: Shapes) -> RestormerConfig:
    """Raises ValueError naming the parameter that is missing or has no such axis."""
    levels = ("encoder_level1", "encoder_level2", "encoder_level3", "latent")
    b1, b2, b3, b4 = (_count(shapes, f"{level}.") for level in levels)
    h1, h2, h3, h4 = (_axis(shapes, f"{level}.0.attn.temperature", 0) for level in levels)
    dim = _axis(shapes, "patch_embed.proj.weight", 0)
    return RestormerConfig(
        dim=dim,
        blocks=(b1, b2, b3, b4),
        refinement_blocks=_count(shapes, "refinement."),
        heads=(h1, h2, h3, h4),
        ffn_expansion=_expansion(8 * dim, _axis(shapes, "latent.0.ffn.project_out.weight", 1)),
        norm="WithBias" if any(name.endswith(".norm1.body.bias") for name in shapes) else "BiasFree",
        in_channels=_axis(shapes, "patch_embed.proj.weight", 1),
        out_channels=_axis(shapes, "output.weight", 0),
        dual_pixel="skip_conv.weight" in shapes,
    )


READERS: Mapping[str, Callable[[Shapes], NAFNetConfig | RestormerConfig]] = {
    "nafnet": nafnet_config,
    "restormer": restormer_config,
}


def _count(names: Iterable[str], prefix: str) -> int:
    """Different words right behind `prefix`: never more than there are tensors, whatever numbers the names claim."""
    return len({name.removeprefix(prefix).partition(".")[0] for name in names if name.startswith(prefix)})


def _axis(shapes: Shapes, name: str, axis: int) -> int:
    if name not in shapes:
        raise ValueError(f"{name!r} is missing")
    if len(shapes[name]) <= axis:
        raise ValueError(f"{name!r} has shape {shapes[name]}, expected at least {axis + 1} axes")
    return shapes[name][axis]


def _expansion(channels: int, hidden: int) -> float:
    """Shortest decimal e with int(channels·e) = hidden; the published 2.66 where that fits.

    `channels` are those of the coarsest level: what fits there fits the finer ones, whose channels are halves of it.
    """
    default = RestormerConfig.ffn_expansion
    middle = (hidden + 0.5) / channels
    candidates = (default, *(round(middle, digits) for digits in range(12)))
    return next((e for e in candidates if int(channels * e) == hidden), middle)


def _read_state(path: Path) -> dict[str, Tensor]:
    try:
        loaded = torch.load(path, map_location="cpu", weights_only=True)
    except FileNotFoundError as error:
        raise CheckpointError(f"{path}: no such file") from error
    except Exception as error:  # torch raises many kinds for what is damaged or holds more than weights
        raise CheckpointError(
            f"{path}: refused: not a file of plain weights ({type(error).__name__}); expected a dictionary of tensors"
        ) from error  # whose text advises to run what is in the file
    if isinstance(loaded, dict):
        loaded = next((loaded[key] for key in WRAPPINGS if key in loaded), loaded)
    if (
        not isinstance(loaded, dict)
        or not loaded
        or not all(isinstance(n, str) and isinstance(t, Tensor) for n, t in loaded.items())
    ):
        raise CheckpointError(
            f"{path}: expected a dictionary of tensors, plain or under one of the keys {', '.join(WRAPPINGS)}"
        )
    state: dict[str, Tensor] = {}
    for name, tensor in loaded.items():
        if not tensor.is_floating_point():
            raise CheckpointError(f"{path}: {name!r} is {tensor.dtype}, expected floating-point numbers")
        bare = name.removeprefix("module.")  # of DataParallel
        if bare in state:
            raise CheckpointError(f"{path}: {bare!r} is there twice, with and without 'module.'")
        state[bare] = tensor
    claimed, held = sum(t.numel() * t.element_size() for t in state.values()), path.stat().st_size
    if claimed > held:
        raise CheckpointError(f"{path}: its tensors claim {claimed:,} bytes, the file has {held:,}: refused")
    return state
