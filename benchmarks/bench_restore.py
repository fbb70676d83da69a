"""One picture of 256×256 under a task that is in place already: adapted, merged, plain ONNX Runtime, PyTorch."""

import pytest
from colora.benchmarks.conftest import Subject
from colora.benchmarks.scenarios import INPUT, OUTPUT, PEERS, open_model, tensor_of
from colora.runtime.bundle import WEIGHTS, open_bundle
from colora.runtime.session import load
from colora.runtime.weights import Array, read_tensors
from pytest_benchmark.fixture import BenchmarkFixture

pytestmark = pytest.mark.benchmark(group="one picture, 256×256")


@pytest.mark.parametrize("policy", ["refit", "merged"])
def test_session(benchmark: BenchmarkFixture, subject: Subject, image: Array, policy: str) -> None:
    with load(subject.bundle, "ort", policy) as session:
        benchmark(session.restore, image, subject.members[0].task)


def test_plain_onnxruntime(benchmark: BenchmarkFixture, subject: Subject, image: Array) -> None:
    session = open_model(str(subject.members[0].model), PEERS["default"], 0)
    benchmark(session.run, [OUTPUT], {INPUT: tensor_of(image)})


def test_pytorch(benchmark: BenchmarkFixture, subject: Subject, image: Array) -> None:
    import torch
    from colora.train.backbones import find_backbone
    from colora.train.checkpoint import Checkpoint
    from colora.train.methods import merged

    bundle = open_bundle(subject.bundle)
    backbone = find_backbone(bundle.manifest.backbone)
    module = backbone.build()
    weights, _ = read_tensors(bundle.path / WEIGHTS)
    module.load_state_dict({name: torch.from_numpy(tensor) for name, tensor in weights.items()})
    adapter = bundle.read_task(subject.members[0].task)
    tuned = merged(Checkpoint(backbone, module, bundle.manifest.backbone_sha256), adapter.params)
    with torch.inference_mode():
        benchmark(tuned, torch.from_numpy(tensor_of(image)))
