"""Export of a tiny network: a verified bundle, or what torch.onnx and onnxsim alone make in a user's own script."""

from pathlib import Path

import pytest
from colora.benchmarks.tiny import Tiny, make_tiny
from pytest_benchmark.fixture import BenchmarkFixture

pytestmark = pytest.mark.benchmark(group="export of nafnet-tiny")
ROUNDS = 3


@pytest.fixture(scope="module")
def tiny(tmp_path_factory: pytest.TempPathFactory) -> Tiny:
    return make_tiny(tmp_path_factory.mktemp("tiny"))


def test_bundle_with_probe_and_parity(benchmark: BenchmarkFixture, tiny: Tiny, tmp_path: Path) -> None:
    from colora.export.pipeline import export

    def run() -> None:
        export(backbone=str(tiny.backbone), output=tmp_path / "b", adapters=[tiny.rain], replace=True)

    benchmark.pedantic(run, rounds=ROUNDS, warmup_rounds=1)  # type: ignore[no-untyped-call]


@pytest.mark.filterwarnings("ignore")  # of the exporter's own internals
def test_torch_onnx_and_onnxsim(benchmark: BenchmarkFixture, tiny: Tiny, tmp_path: Path) -> None:
    import onnx
    import onnxsim  # type: ignore[import-untyped]
    import torch
    from colora.train.checkpoint import load_backbone

    module = load_backbone(str(tiny.backbone)).module
    file = tmp_path / "plain.onnx"

    def run() -> None:
        torch.onnx.export(module, (torch.rand(1, 3, 64, 64),), file, dynamo=True, verbose=False)
        simplified, _ = onnxsim.simplify(onnx.load(file))
        onnx.save(simplified, file)

    benchmark.pedantic(run, rounds=ROUNDS, warmup_rounds=1)  # type: ignore[no-untyped-call]
