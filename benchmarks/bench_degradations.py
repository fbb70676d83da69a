"""What a training patch costs before the network sees it: each degradation, and PROD's random order of several."""

from typing import TYPE_CHECKING

import numpy as np
import pytest
from colora.train.degradations import DEGRADATIONS, prod
from pytest_benchmark.fixture import BenchmarkFixture

if TYPE_CHECKING:
    from colora.runtime.weights import Array

pytestmark = pytest.mark.benchmark(group="one picture degraded, 256×256")


@pytest.fixture(scope="module")
def clean(image: "Array") -> "Array":
    return image.astype(np.float32) / np.float32(255)


@pytest.mark.parametrize("name", DEGRADATIONS)
def test_degradation(benchmark: BenchmarkFixture, clean: "Array", name: str) -> None:
    rng = np.random.default_rng(0)
    benchmark(lambda: DEGRADATIONS[name](clean, rng))


def test_prod(benchmark: BenchmarkFixture, clean: "Array") -> None:
    """The same sixteen draws in every round, since a draw of one function costs less than one of five."""

    def sixteen() -> None:
        rng = np.random.default_rng(0)
        for _ in range(16):
            prod(clean, rng)

    benchmark.extra_info["pictures"] = 16
    benchmark.pedantic(sixteen, rounds=3, warmup_rounds=1)  # type: ignore[no-untyped-call]
