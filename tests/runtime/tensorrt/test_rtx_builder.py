"""The builder against a real one: TensorRT for RTX, whose parser and ahead-of-time builder need no GPU.

It builds no refittable engine without a driver and opens none, so this is where truth ends here.
"""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from colora.devices.errors import BackendError
from colora.runtime.engine import Built, build
from colora.runtime.manifest import Shapes

trt = pytest.importorskip("tensorrt_rtx")

SHAPES = Shapes((16, 16), (64, 64), (128, 128), 16)


def made(bundle: Path, name: str = "x.engine", **options: Any) -> Built:
    def for_ampere(config: Any) -> None:
        config.num_compute_capabilities = 1
        config.set_compute_capability(trt.ComputeCapability.SM86, 0)

    return build(bundle / "graph.onnx", bundle / name, SHAPES, api=trt, configure=for_ampere, **options)


def test_engines_are_built_with_the_weights_given(ort_bundle: Path) -> None:
    seen: list[float] = []
    first = made(ort_bundle, "a.engine", progress=lambda _, share: seen.append(share))
    assert (ort_bundle / "a.engine").stat().st_size == first.size_bytes > 0
    assert first.weight_bytes and first.activation_bytes
    assert seen == sorted(seen) and 0 < seen[-1] <= 1
    assert made(ort_bundle, "b.engine", weights={"b3": np.ones(3, np.float32)}).sha256 != first.sha256


def test_every_switchable_tensor_is_a_weight_by_its_name(ort_bundle: Path, mini: Any) -> None:
    with pytest.raises(BackendError, match=r"1 of 9 switchable tensors are no weights .* first view_3"):
        made(ort_bundle, refit=(*mini.manifest.program, "view_3"))


def test_a_build_that_is_stopped_leaves_nothing(ort_bundle: Path) -> None:
    def stop(phase: str, share: float) -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        made(ort_bundle, progress=stop)
    assert not list(ort_bundle.glob("*engine*"))


def test_a_graph_that_can_not_be_read(ort_bundle: Path) -> None:
    (ort_bundle / "graph.onnx").write_bytes(b"no ONNX")
    with pytest.raises(BackendError, match=r"can't read it: .*Failed to parse the ONNX model"):
        made(ort_bundle)
