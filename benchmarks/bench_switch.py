"""Another task and its first picture, 256×256: weights changed in place, or a whole model opened for it."""

import pytest
from colora.benchmarks.conftest import Subject
from colora.benchmarks.scenarios import INPUT, OUTPUT, PEERS, open_model, tensor_of
from colora.runtime.session import load
from colora.runtime.weights import Array
from pytest_benchmark.fixture import BenchmarkFixture

pytestmark = pytest.mark.benchmark(group="another task and its first picture, 256×256")


def test_adapter_refit(benchmark: BenchmarkFixture, subject: Subject, image: Array) -> None:
    turns = subject.by_turns()
    with load(subject.bundle, "ort", "refit") as session:
        benchmark(lambda: session.restore(image, next(turns).task))
        if session.timings:  # of the last round: what the picture itself does not take
            benchmark.extra_info["switch_ms"] = session.timings.switch_ms


def test_whole_model_opened(benchmark: BenchmarkFixture, subject: Subject, image: Array) -> None:
    turns, tensor = subject.by_turns(), tensor_of(image)
    benchmark(lambda: open_model(str(next(turns).model), PEERS["default"], 0).run([OUTPUT], {INPUT: tensor}))


def test_whole_models_all_open(benchmark: BenchmarkFixture, subject: Subject, image: Array) -> None:
    turns, tensor = subject.by_turns(), tensor_of(image)
    opened = {member.task: open_model(str(member.model), PEERS["default"], 0) for member in subject.members}
    benchmark(lambda: opened[next(turns).task].run([OUTPUT], {INPUT: tensor}))
