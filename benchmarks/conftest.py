"""What the suites time: the bundle in $COLORA_BUNDLE, or one exported from the zoo, with two tasks or more."""

import os
import shutil
from dataclasses import dataclass
from itertools import cycle
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from colora.benchmarks.fleet import Member, make_fleet
from colora.benchmarks.record import environment
from colora.benchmarks.scenarios import picture
from colora.benchmarks.zoo_bundle import zoo_bundle
from colora.runtime.default import VARIABLE
from colora.train.backbones import DEFAULT_BACKBONE

if TYPE_CHECKING:
    from collections.abc import Iterator

    from colora.runtime.weights import Array

PACKAGES = ("numpy", "onnxruntime", "torch", "opencv-python-headless")


@dataclass(frozen=True)
class Subject:
    """A bundle with two tasks, each also as a whole ONNX model."""

    bundle: Path
    members: tuple[Member, Member]

    def by_turns(self) -> "Iterator[Member]":
        """One, the other, one, …"""
        return cycle(self.members)


@pytest.fixture(scope="session")
def subject(tmp_path_factory: pytest.TempPathFactory) -> Subject:
    folder = tmp_path_factory.mktemp("bench")
    bundle = folder / "bundle"
    if os.environ.get(VARIABLE):
        shutil.copytree(os.environ[VARIABLE], bundle)
    else:
        zoo_bundle(bundle, DEFAULT_BACKBONE)
    first, second = make_fleet(bundle, folder / "models", 2)
    return Subject(bundle, (first, second))


@pytest.fixture(scope="session")
def image() -> "Array":
    return picture(256)


def pytest_benchmark_generate_machine_info(config: pytest.Config) -> dict[str, object]:
    """What a saved run says of its machine: no name of a host."""
    where = environment(PACKAGES)
    told = ("cpu", "cores", "machine", "os", "python", "packages")
    return {name: getattr(where, name) for name in told}


def pytest_benchmark_update_commit_info(config: pytest.Config, commit_info: dict[str, object]) -> None:
    """Nor of the folder that the checkout lies in."""
    commit_info.pop("project", None)
