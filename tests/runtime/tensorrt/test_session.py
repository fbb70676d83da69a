"""A session over TensorRT engines: what the double computes is the network, whatever goes wrong on the way."""

from pathlib import Path
from typing import Any

import numpy as np
from colora.runtime.golden import golden_input
from colora.runtime.session import load

CLOSE = 1e-5
"""float32 weights and results against float64."""


def loaded(bundle: Path, **options: Any) -> Any:
    return load(bundle, "tensorrt", **options)


def check(session: Any, mini: Any, *mixtures: dict[str, float]) -> None:
    for mixture in mixtures:
        x = golden_input()
        found = session.network(mixture)(x)
        assert np.abs(found - mini.forward(x, mixture)).max() < CLOSE, mixture


def test_tasks_and_mixtures_are_what_they_are(mini: Any, ort_bundle: Path, trt: Any) -> None:
    with loaded(ort_bundle) as session:
        assert session.describe().policy == "refit", session.describe().why
        check(session, mini, {"rain": 1.0}, {"noise": 1.0}, {"rain": 0.5, "noise": 0.25}, {"rain": 1.0})
        assert session.describe().backend.device == "Orin (SM 8.7)"


def test_back_and_forth_gives_the_same_bits(ort_bundle: Path, trt: Any) -> None:
    with loaded(ort_bundle) as session:
        first = session.network("rain")(golden_input())
        session.network("noise")(golden_input())
        assert np.array_equal(session.network("rain")(golden_input()), first)


def test_later_switches_refit_the_union_of_touched_layers(ort_bundle: Path, trt: Any) -> None:
    with loaded(ort_bundle) as session:
        for task in ("rain", "noise"):
            session.network(task)(golden_input())
        before = len(trt.refits)
        session.network("rain")(golden_input())
        assert trt.refits[before:] == [frozenset(("w1", "b1", "w2a", "b2a", "w2b", "b2b", "w3", "b3"))]
        session.network({})(golden_input())
        assert trt.refits[before + 1 :] == [frozenset(("w1", "b1", "w3", "b3"))]
