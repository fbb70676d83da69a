"""Progressive patches: small ones and many in a batch at first, large ones and few at last.

So Restormer is trained (Zamir et al., CVPR 2022, "Progressive Learning": patches of 128 to 384, batches of 64 to 8): a
step costs about the same throughout, and in the end the network sees more of a picture, as it will when it is used.
"""

import re
from collections.abc import Sequence
from dataclasses import dataclass

from colora.devices.errors import ColoraError


@dataclass(frozen=True)
class Stage:
    """A part of a training. Raises ColoraError where a number is not above 0."""

    patch: int
    """side of a patch in pixels"""
    batch: int
    """patches in a step"""
    share: float = 1.0
    """of the steps, beside the other stages' shares"""

    def __post_init__(self) -> None:
        if min(self.patch, self.batch, self.share) <= 0:
            raise ColoraError(f"patches {self}: expected patch, batch and share above 0")

    def __str__(self) -> str:
        return f"{self.patch}x{self.batch}" + ("" if self.share == 1 else f":{self.share:g}")


def read_stages(text: str) -> tuple[Stage, ...]:
    """Stages of "64x16,96x8,128x4", patch × batch in the order of training, with equal shares of the steps, or with
    those given: "128x8:92,160x5:64,384x1:24". Raises ColoraError for another text.
    """
    stages = []
    for word in text.split(","):
        match = re.fullmatch(r"\s*(\d{1,6})x(\d{1,6})(?::(\d{1,9}(?:\.\d{1,9})?))?\s*", word)
        if not match:
            raise ColoraError(
                f"patches {text!r}: {word!r} is no stage; expected patch x batch, and where they differ the shares of "
                "the steps, like 64x16,96x8,128x4 or 64x16:2,128x4:1"
            )
        stages.append(Stage(int(match[1]), int(match[2]), float(match[3] or 1)))
    return tuple(stages)


def stage_at(stages: Sequence[Stage], step: int, steps: int) -> Stage:
    """The stage of `step`, counted from 0, in a training of `steps`; a later one, too, is of the last stage.

    A stage ends at the whole step that is nearest to its share's end.
    """
    total, until = sum(stage.share for stage in stages), 0.0
    for stage in stages[:-1]:
        until += stage.share
        if step < round(steps * until / total):
            return stage
    return stages[-1]
