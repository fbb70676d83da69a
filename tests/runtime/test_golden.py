"""The golden input is what its description says, number by number."""

import numpy as np
from colora.runtime.golden import golden_input


def test_noise_of_the_congruential_generator() -> None:
    state, expected = 1, []
    for number in range(3 * 64 * 64):
        state = (state * 1664525 + 1013904223) % 2**32
        channel, y, x = number // 4096, number // 64 % 64, number % 64
        grey = 32 + (2 * x, 2 * y, x + y)[channel] + 48 * ((x // 8 + y // 8) % 2)
        expected.append(min(255, max(0, grey + (state >> 16) % 31 - 15)))
    levels = np.array(expected, np.uint8).reshape(1, 3, 64, 64)
    assert np.array_equal(golden_input(), levels.astype(np.float32) / np.float32(255))
