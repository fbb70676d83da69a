"""From files to a session that has proven its graph, and from there to a first picture."""

from collections.abc import Callable

import pytest
from colora.benchmarks.conftest import Subject
from colora.benchmarks.scenarios import PEERS, open_model
from colora.runtime.bundle import open_bundle
from colora.runtime.session import load
from colora.runtime.weights import Array
from pytest_benchmark.fixture import BenchmarkFixture

pytestmark = pytest.mark.benchmark(group="load of one task")
ROUNDS = 5


def time(benchmark: BenchmarkFixture, call: Callable[[], object]) -> None:
    benchmark.pedantic(call, rounds=ROUNDS, warmup_rounds=1)  # type: ignore[no-untyped-call]


@pytest.mark.parametrize("policy", ["refit", "merged"])
def test_session(benchmark: BenchmarkFixture, subject: Subject, policy: str) -> None:
    time(benchmark, lambda: load(subject.bundle, "ort", policy).close())


def test_session_and_first_picture(benchmark: BenchmarkFixture, subject: Subject, image: Array) -> None:
    def run() -> None:
        with load(subject.bundle, "ort", "refit") as session:
            session.restore(image, subject.members[0].task)

    time(benchmark, run)


def test_whole_model(benchmark: BenchmarkFixture, subject: Subject) -> None:
    time(benchmark, lambda: open_model(str(subject.members[0].model), PEERS["default"], 0))


def test_bundle_read_and_hashed(benchmark: BenchmarkFixture, subject: Subject) -> None:
    time(benchmark, lambda: open_bundle(subject.bundle))
