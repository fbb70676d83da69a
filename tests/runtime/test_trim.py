"""Memory of activations goes back to the system when it is asked for, and nothing else changes."""

import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from colora.devices.errors import BackendError
from colora.runtime.manifest import Shapes, Tile
from colora.runtime.session import load

STATM = Path("/proc/self/statm")
MAP_BYTES = 4 * 8 * 1024 * 1024
"""Of one of the activations of the test's network, which has 8 channels, at 1024×1024."""


def resident_bytes() -> int:
    return int(STATM.read_text().split()[1]) * 4096


@pytest.mark.skipif(sys.platform != "linux", reason="memory is read from /proc")
def test_activations_are_given_back(ort_bundle: Path, picture: Any) -> None:
    image = picture(1024, 1024)
    with load(ort_bundle, policy="refit", threads=1) as session:
        large = Shapes((4, 4), (1024, 1024), (1024, 1024), 4)
        manifest = replace(session.bundle.manifest, shapes=large, tile=Tile(1024, 8, 1024))
        session.bundle = replace(session.bundle, manifest=manifest)
        first = session.restore(image, "rain")
        used = resident_bytes()
        session.trim()
        assert used - resident_bytes() > 2 * MAP_BYTES  # two at least are alive at one time
        assert np.array_equal(session.restore(image, "rain"), first)
        session.close()
        with pytest.raises(BackendError, match="is closed: load it again"):
            session.trim()


@pytest.mark.parametrize("policy", ["refit", "merged"])
def test_weights_and_tasks_stay(ort_bundle: Path, picture: Any, policy: str) -> None:
    image = picture(40, 50)
    with load(ort_bundle, policy=policy, threads=1) as session:
        expected = {task: session.restore(image, task) for task in ("rain", "noise")}
        for task, result in expected.items():
            switches = session.metrics().switches
            session.trim()
            assert session.metrics().switches == switches
            assert np.array_equal(session.restore(image, task), result)


def test_a_backend_that_holds_nothing_has_nothing_to_give(null_bundle: Path) -> None:
    with load(null_bundle, "null") as session:
        session.trim()
