"""Parity compares the trained network with the graph as a device runs it, and fails when they differ."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from colora.devices.errors import ParityError
from colora.export.parity import TOLERANCE, Case, Network, Parity, check, measure, natural_image
from colora.export.pipeline import Report
from colora.runtime.bundle import GRAPH, open_bundle
from colora.train.checkpoint import arrays


def test_backbone_and_tasks_agree_in_both_policies_at_padded_odd_sizes(bundle: Report, tiny: Any) -> None:
    cases = bundle.parity.cases
    networks = [(case.network, case.policy) for case in cases]
    assert set(networks) == {(n, p) for n in ("backbone", "rain", "noise") for p in ("refit", "merged")}
    multiple = tiny.backbone.pad.multiple_of
    assert {(c.height, c.width) for c in cases} == {
        (64, 64),
        (-(-97 // multiple) * multiple, -(-131 // multiple) * multiple),
        (48, 160),
    }
    assert (
        bundle.parity.worst.max_abs_error <= TOLERANCE
    )  # the 1e-4, which fp32 sums of this depth stay within
    stored = json.loads((bundle.output / "parity.json").read_text())
    assert stored["tolerance"] == TOLERANCE and len(stored["cases"]) == len(cases)
    assert stored["cases"][0].keys() == {"network", "policy", "height", "width", "max_abs_error", "psnr_db"}


def test_wrong_weights_in_the_graph_are_seen(bundle: Report, tiny: Any, tmp_path: Path) -> None:
    """Other weights than those of the graph file are compared fairly, and a small shift of the network is caught."""
    for name in (GRAPH, "graph.data"):
        shutil.copy(bundle.output / name, tmp_path)
    weights = arrays(tiny.module)
    wrong = {name: tensor * 1.01 for name, tensor in weights.items()}
    manifest = open_bundle(bundle.output).manifest
    parity = measure(
        tiny.module, [Network("backbone", weights)], tmp_path / GRAPH, manifest, sizes=[(16, 16)]
    )
    check(parity)

    class Shifted(type(tiny.module)):  # type: ignore[misc]
        def forward(self, image: Any) -> Any:
            return super().forward(image) + 2e-4

    tiny_shifted = Shifted(tiny.module.config).eval()
    parity = measure(tiny_shifted, [Network("rain", wrong)], tmp_path / GRAPH, manifest, sizes=[(16, 16)])
    with pytest.raises(
        ParityError, match=r"rain \((refit|merged), 16×16\): .* differ by 0\.0002.*, more than 0\.0001"
    ):
        check(parity)


def test_a_difference_that_is_no_number_is_a_failure() -> None:
    cases = (Case("rain", "refit", 16, 16, 0.0, None), Case("noise", "merged", 16, 16, float("nan"), 0.0))
    with pytest.raises(ParityError, match="noise"):
        check(Parity(1e-4, cases))


def test_natural_image_fills_the_range_and_is_smooth() -> None:
    image = natural_image(33, 50, np.random.default_rng(0))
    assert image.shape == (1, 3, 33, 50) and image.dtype == np.float32
    assert image.min() == 0 and image.max() == 1
    step = np.abs(np.diff(image, axis=3)).mean()
    shuffled = np.random.default_rng(1).permutation(image.ravel()).reshape(image.shape)
    assert step < 0.75 * np.abs(np.diff(shuffled, axis=3)).mean()  # neighbours are alike, as in photographs
