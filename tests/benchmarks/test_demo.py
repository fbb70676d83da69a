"""The demo, end to end, with a tiny network in place of the shipped one."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner
from colora.benchmarks.demo import PHOTOS, command, rainy, sheet
from colora.benchmarks.tiny import Tiny
from colora.runtime.image import read_image
from colora.runtime.quality import psnr


def test_demo_runs_end_to_end(tiny: Tiny, tmp_path: Path) -> None:
    out = tmp_path / "demo"
    args = [
        "-o",
        str(out),
        "--photo",
        "gates",
        "--backbone",
        str(tiny.backbone),
        "--adapter",
        str(tiny.rain),
    ]
    result = CliRunner().invoke(command, args, catch_exceptions=False)
    assert result.exit_code == 0
    clean, degraded, told = rainy(PHOTOS["gates"])
    restored = read_image(out / "restored.png")
    assert np.array_equal(read_image(out / "rainy.png"), degraded)
    assert restored.shape == degraded.shape
    assert not np.array_equal(restored, degraded)
    assert (out / "before_after.png").is_file()
    for text in (
        f"colora-export --adapter {tiny.rain} --backbone {tiny.backbone} --target jetson",
        f"{psnr(degraded, clean):.2f}",
        f"{psnr(restored, clean):.2f}",
        f"synthetic: {told}",
        "Budgie",
        "CC0 1.0",
        "peak RSS",
        "not a Jetson",
        "before_after.png",
    ):
        assert text in result.output, result.output


@pytest.mark.parametrize("name", PHOTOS)
def test_rain_is_the_same_every_time_and_visible(name: str) -> None:
    clean, degraded, _ = rainy(PHOTOS[name])
    assert np.array_equal(degraded, rainy(PHOTOS[name])[1])
    assert 10 < psnr(degraded, clean) < 25  # dB: rain that any eye sees, under which the scene is still there


def test_photographs_are_small_and_attributed() -> None:
    folder = Path(__file__).parents[2] / "benchmarks" / "photos"
    attribution = (folder / "ATTRIBUTION.md").read_text("utf-8")
    stored = {file.name for file in folder.glob("*.jpg")}
    assert stored == {photo.file for photo in PHOTOS.values()}
    for name in stored:
        assert (folder / name).stat().st_size < 150_000
        assert f"`{name}`" in attribution


def test_sheet_shows_each_picture_and_its_zoom() -> None:
    pictures = [("a", np.full((40, 60, 3), 10, np.uint8)), ("b", np.full((40, 60, 3), 200, np.uint8))]
    drawn = np.asarray(sheet(pictures, (8, 8, 16)))
    assert drawn.shape == (34 + 40 + 8 + 60, 60 + 8 + 60, 3)
    assert (drawn[-60:, :60] == 10).all() and (drawn[-60:, 68:] == 200).all()
    assert (drawn[-60:, 60:68] == 255).all()
