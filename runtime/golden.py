"""The fixed picture on which every network is checked, in training and on the device."""

import numpy as np
import numpy.typing as npt

GOLDEN_SHAPE = (1, 3, 64, 64)


def golden_input() -> npt.NDArray[np.float32]:
    """1×3×64×64 float32 RGB in [0, 1], the same bits on every platform and numpy version.

    Integer arithmetic only: ramps, a checkerboard of 8×8 cells (edges) and noise of ±15 grey levels from
    a linear congruential generator (Numerical Recipes' constants), as 8-bit values divided by 255. A
    fresh array each time.
    """
    state, noise = 1, []
    for _ in range(3 * 64 * 64):
        state = (state * 1664525 + 1013904223) % 2**32
        noise.append((state >> 16) % 31 - 15)
    channel, y, x = np.indices((3, 64, 64))
    grey = 32 + np.choose(channel, [2 * x, 2 * y, x + y]) + 48 * ((x // 8 + y // 8) % 2)
    levels = np.clip(grey + np.array(noise).reshape(3, 64, 64), 0, 255).astype(np.uint8)
    golden: npt.NDArray[np.float32] = levels[None].astype(np.float32) / np.float32(255)
    return golden
