"""A before/after sheet: what went in, what each network made of it, and the clean picture, side by side."""

from collections.abc import Callable, Mapping, Sequence

import numpy as np
from colora.runtime.quality import psnr
from colora.train.photos import Pair, Pixels

SIDE, GAP, LABEL = 256, 8, 20
"""px: of a part shown, between two, and above each"""


def before_after(pairs: Sequence[Pair], restorers: Mapping[str, Callable[[Pixels], Pixels]]) -> Pixels:
    """One row for each pair: input, each restorer's result under its name, clean; H×W×3 RGB uint8.

    Shown are the middles, up to 256×256 and not scaled; the dB are those of the whole picture.
    """
    from PIL import Image, ImageDraw, ImageFont

    columns = len(restorers) + 2
    height = len(pairs) * (LABEL + SIDE + GAP) - GAP
    drawn = Image.new("RGB", (columns * (SIDE + GAP) - GAP, height), "white")
    pen, font = ImageDraw.Draw(drawn), ImageFont.load_default(14)
    for row, pair in enumerate(pairs):
        shown = {"input": pair.degraded} | {
            name: restore(pair.degraded) for name, restore in restorers.items()
        }
        labelled = [
            (f"{name}  {psnr(picture, pair.clean):.2f} dB", picture) for name, picture in shown.items()
        ]
        for column, (label, picture) in enumerate(
            [*labelled, (f"clean  {pair.name.rsplit('/')[-1][-24:]}", pair.clean)]
        ):
            x, y = column * (SIDE + GAP), row * (LABEL + SIDE + GAP)
            top, left = (max(0, n - SIDE) // 2 for n in picture.shape[:2])
            pen.text((x + 2, y + 2), label, fill="black", font=font)
            drawn.paste(Image.fromarray(picture[top : top + SIDE, left : left + SIDE]), (x, y + LABEL))
    return np.asarray(drawn)
