"""FAIG of a tiny network: ten points of the path over one picture, and pooling to the layers of the shipped one."""

import pytest
from colora.benchmarks.tiny import Tiny, make_tiny
from colora.train.contribution import Attribution, pool
from pytest_benchmark.fixture import BenchmarkFixture

pytestmark = pytest.mark.benchmark(group="attribution of nafnet-tiny, 10 points, 64×64")


@pytest.fixture(scope="module")
def tiny(tmp_path_factory: pytest.TempPathFactory) -> Tiny:
    return make_tiny(tmp_path_factory.mktemp("tiny"))


def test_faig(benchmark: BenchmarkFixture, tiny: Tiny) -> None:
    import torch
    from colora.train.attribution import faig
    from colora.train.checkpoint import load_backbone

    module = load_backbone(str(tiny.backbone)).module
    generator = torch.Generator().manual_seed(0)
    baseline = {name: p.detach().clone() for name, p in module.named_parameters()}
    target = {n: p + 0.01 * torch.randn(p.shape, generator=generator) for n, p in baseline.items()}
    pair = tuple(torch.rand((1, 3, 64, 64), generator=generator) for _ in range(2))
    benchmark.pedantic(  # type: ignore[no-untyped-call]
        faig, (module, baseline, target, [pair], 10), rounds=5, warmup_rounds=1
    )


@pytest.mark.parametrize("by", ["layer", "stage"])
def test_pool(benchmark: BenchmarkFixture, by: str) -> None:
    from colora.train.backbones import DEFAULT_BACKBONE, find_backbone

    numbers = {name: p.numel() for name, p in find_backbone(DEFAULT_BACKBONE).build().named_parameters()}
    found = Attribution({name: 1 / n for name, n in numbers.items()}, numbers, 1.0, 1.0, 10, 1)
    benchmark(pool, found, by)
