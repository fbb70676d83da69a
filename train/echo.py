"""Data echoing: patches are used several times, where making them takes longer than learning from them.

Choi et al., "Faster Neural Network Training with Data Echoing", arXiv 1907.05550: examples are echoed behind a shuffle
buffer. Here the buffer holds the batches made last, and what a step draws from it depends on the step alone.
"""

from collections.abc import Iterator

import numpy as np
import torch
from torch import Tensor

Batch = tuple[Tensor, Tensor]

WINDOW = 16
"""the buffer holds as many batches for each use of a patch, so that a patch's uses are some steps apart"""


def first_needed(step: int, echo: int) -> int:
    """The first fresh batch that `echoed` needs to go on at `step`."""
    return max(0, step // echo - WINDOW * echo + 1) if echo > 1 else step


def echoed(fresh: Iterator[Batch], start: int, echo: int, seed: int) -> Iterator[Batch]:
    """Batches of the steps from `start` on; `fresh` gives those from `first_needed(start, echo)` on.

    Each step draws as many patches as a batch has, from the batches of its size made up to now, and mirrors half of the
    time, as left and right are alike to every degradation. The next fresh batch comes after `echo` steps. With an echo
    of 1 this is `fresh`.
    """
    if echo == 1:
        yield from fresh
        return
    buffer: list[Tensor] = []
    held, size = 0, WINDOW * echo
    for made, batch in enumerate(fresh, first_needed(start, echo)):
        count = len(batch[0])
        if not buffer or buffer[0].shape[1:] != batch[0].shape[1:] or buffer[0].shape[0] != size * count:
            buffer, held = [half.new_empty((size * count, *half.shape[1:])) for half in batch], 0
        slot = made % size * count
        for whole, half in zip(buffer, batch, strict=True):
            whole[slot : slot + count] = half
        held = min(held + 1, size)
        for step in range(max(start, made * echo), (made + 1) * echo):
            rng = np.random.default_rng([seed, step])
            ages = torch.from_numpy(rng.integers(held, size=count))
            items = torch.from_numpy(rng.integers(count, size=count))
            places = ((made - ages) % size * count + items).to(buffer[0].device)
            degraded, clean = (whole[places] for whole in buffer)
            mirror = rng.random() < 0.5
            yield (degraded.flip(-1), clean.flip(-1)) if mirror else (degraded, clean)
