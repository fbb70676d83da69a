"""Every size, batches, and a bundle of one size."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from colora.devices.errors import BundleError, PlanError
from colora.export.pipeline import Report, export
from colora.runtime import tiles
from colora.runtime.bundle import GRAPH
from colora.runtime.cli_devices import bundle_plan
from colora.runtime.policy import SPARE, estimate
from colora.runtime.session import load
from colora.runtime.tiles import padded

SWEPT = [(1, 1), (1, 9), (2, 3), (7, 13), (15, 17), (31, 61), (16, 64), (127, 3)]
"""One pixel, below every minimum, prime, odd, one side short"""


def picture(height: int, width: int) -> Any:
    return np.random.default_rng(height * width).random((height, width, 3), dtype=np.float32)


def test_sizes_are_swept(bundle: Report, tiny: Any) -> None:
    with load(bundle.output, policy="refit") as session:
        manifest = session.bundle.manifest
        for height, width in SWEPT:
            image = picture(height, width)
            tensor = padded(
                np.ascontiguousarray(image.transpose(2, 0, 1)[None]), manifest.shapes, manifest.pad
            )
            expected = tiny.run(tensor, session.bundle.read_task("rain"))[0, :, :height, :width]
            # what exports are held to
            np.testing.assert_allclose(
                session.restore(image, "rain"), np.clip(expected.transpose(1, 2, 0), 0, 1), rtol=0, atol=1e-4
            )


def test_a_4k_picture_goes_through_tiles_of_sizes_the_graph_takes(bundle: Report) -> None:
    """3840×2160, the network replaced by its input: the sizes are what is swept."""
    with load(bundle.output, backend="null") as session:
        manifest = session.bundle.manifest
        seen: set[tuple[int, int]] = set()

        def run(tensor: Any) -> Any:
            seen.add(tensor.shape[2:])
            return tensor

        image = np.random.default_rng(0).integers(0, 256, (2160, 3840, 3), dtype=np.uint8)
        result = tiles.apply(image, run, manifest.shapes, manifest.pad, manifest.tile)
    assert np.array_equal(result, image)
    for size in seen:
        assert all(side % manifest.shapes.multiple_of == 0 for side in size)
        assert all(
            low <= side <= high
            for side, low, high in zip(size, manifest.shapes.min, manifest.shapes.max, strict=True)
        )


def test_a_batch_gives_what_its_pictures_give_alone(bundle: Report, tiny: Any) -> None:
    import onnxruntime as ort

    options = ort.SessionOptions()
    options.intra_op_num_threads = 1
    session = ort.InferenceSession(str(bundle.output / GRAPH), options, providers=["CPUExecutionProvider"])
    side = 2 * tiny.backbone.pad.multiple_of
    images = np.random.default_rng(0).random((3, 3, side, side), dtype=np.float32)
    together = session.run(None, {"input": images})[0]
    alone = [session.run(None, {"input": image[None]})[0][0] for image in images]
    # float32 sums in another order at most
    np.testing.assert_allclose(together, alone, rtol=0, atol=1e-5 * float(np.abs(together).max()))


def test_a_bundle_of_one_size(nafnet: Any, tmp_path: Path) -> None:
    size = (48, 64)
    rain = nafnet.write(tmp_path, "rain", 1)
    report = export(backbone=str(nafnet.file), output=tmp_path / "b", adapters=[rain], size=size)
    assert {(case.height, case.width) for case in report.parity.cases} == {size}
    with load(report.output, policy="refit") as session:
        manifest = session.bundle.manifest
        assert manifest.shapes.min == manifest.shapes.opt == manifest.shapes.max == size
        seen: set[tuple[int, int]] = set()
        network = session.network("rain")

        def run(tensor: Any) -> Any:
            seen.add(tensor.shape[2:])
            return network(tensor)

        small = padded(np.random.default_rng(0).random((1, 3, 47, 63)), manifest.shapes, manifest.pad)
        assert np.array_equal(small[:, :, 47], small[:, :, 45])  # reflected, whatever the official padding is

        pixels = size[0] * size[1]
        assert estimate(session.bundle).activations == round(
            SPARE * manifest.activation_bytes_per_pixel * pixels
        )
        for height, width in ((1, 1), (48, 48), (47, 63), (100, 150)):
            result = tiles.apply(picture(height, width), run, manifest.shapes, manifest.pad, manifest.tile)
            assert result.shape == (height, width, 3)
    assert seen == {size}
    one, some = (bundle_plan(report.output, image, "jetson") for image in (size, (100, 150)))
    assert (one.tile, one.tiles, some.tile, some.tiles) == (size, 1, size, 9)
    assert one.seconds and some.seconds == (9 * one.seconds[0], 9 * one.seconds[1])
    assert (
        one.activation_bytes
        == some.activation_bytes
        == bundle_plan(report.output, (9, 9), "jetson").activation_bytes
    )
    with pytest.raises(PlanError, match="expected positive sizes"):
        bundle_plan(report.output, (0, 9), "jetson")
    with pytest.raises(
        BundleError, match=r"a bundle for sizes from \(48, 64\) to \(48, 64\), not for \(64, 64\) alone"
    ):
        export(backbone=str(nafnet.file), output=tmp_path / "b", adapters=[rain], size=(64, 64))
    with pytest.raises(
        BundleError, match="size 50×64: nafnet-tiny takes heights and widths that are multiples of 4"
    ):
        export(backbone=str(nafnet.file), output=tmp_path / "c", adapters=[rain], size=(50, 64))


def test_size_is_read_from_the_command_line() -> None:
    import click
    from colora.export.cli import Size

    assert Size().convert("512x768", None, None) == (512, 768)
    for wrong in ("512", "x", "512x", "-1x5", "5 x 5"):
        with pytest.raises(click.BadParameter, match="expected height and width in pixels, as 512x512"):
            Size().convert(wrong, None, None)
