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
    # states 1, 2, …: aⁿ + c·(1 + a + … + aⁿ⁻¹), products and sums modulo 2³² as uint32 has them
    powers = np.cumprod(np.full(3 * 64 * 64, 1664525, np.uint32), dtype=np.uint32)
    sums = np.cumsum(np.concatenate([np.ones(1, np.uint32), powers[:-1]]), dtype=np.uint32)
    states = powers + np.uint32(1013904223) * sums
    noise = (states >> np.uint32(16)).astype(np.int64) % 31 - 15
    channel, y, x = np.indices((3, 64, 64))
    grey = 32 + np.choose(channel, [2 * x, 2 * y, x + y]) + 48 * ((x // 8 + y // 8) % 2)
    levels = np.clip(grey + noise.reshape(3, 64, 64), 0, 255).astype(np.uint8)
    golden: npt.NDArray[np.float32] = levels[None].astype(np.float32) / np.float32(255)
    return golden
