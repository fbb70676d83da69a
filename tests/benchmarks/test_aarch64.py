"""The comparison of two processors: what is too far apart is seen. The machine itself is tried by `make aarch64`."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from colora.benchmarks.aarch64 import MOST, compare, interpreter
from colora.devices.errors import BackendError

PARTS = ("refit, whole, rain", "refit, tiled, rain", "merged, whole, rain", "merged, tiled, rain")


def results(off: float = 0.0, level: int = 0, said: str = "the same") -> dict[str, Any]:
    floats = {part: np.zeros((4, 4, 3), np.float32) for part in PARTS}
    floats["merged, tiled, rain"][1, 2, 0] = off
    told = np.array(json.dumps({"same": {"devices": said}}))
    return {**floats, "refit, bytes, rain": np.full((2, 2, 3), level, np.uint8), "told": told}


@pytest.mark.parametrize(
    ("there", "missed"),
    [
        (results(), []),
        (results(off=0.9 * MOST, level=1), []),
        (results(off=1.1 * MOST), ["network: merged, tiled, largest difference"]),
        (results(level=2), ["network: bytes, largest difference"]),
        (results(said="another"), ["network: commands that print the same, of 1"]),
    ],
)
def test_what_is_too_far_apart_is_missed(there: dict[str, Any], missed: list[str]) -> None:
    assert [d.what for d in compare("network", results(), there) if d.holds is False] == missed


def test_other_pictures_are_refused() -> None:
    there = results()
    there["refit, bytes, rain"] = np.zeros((3, 2, 3), np.uint8)
    with pytest.raises(BackendError, match="network: "):
        compare("network", results(), there)


def test_without_a_machine_the_script_is_named(tmp_path: Path) -> None:
    with pytest.raises(BackendError, match=r"holds no emulated machine: make one with \.ci/aarch64"):
        interpreter(tmp_path)
