"""Folders and videos under SIGTERM and with a memory budget: what is done is whole, what is left is told."""

import os
import signal
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from click.testing import CliRunner
from colora.devices.errors import ImageError
from colora.runtime.backend_null import NullBackend
from colora.runtime.byte_size import byte_size
from colora.runtime.cli import main
from colora.runtime.cli_restore import targets
from colora.runtime.image import read_image, write_image
from colora.runtime.session import load
from colora.runtime.video import restore_video
from colora.runtime.video_io import decode, probe


def restore(bundle: Path, *args: object) -> Any:
    options = ["--task", "rain", "--bundle", bundle, "--backend", "null", *args]
    return CliRunner().invoke(main, ["restore", *map(str, options)])


@pytest.fixture
def term_at(monkeypatch: pytest.MonkeyPatch) -> Any:
    """`term_at(n)`: the process gets SIGTERM in the nth run of a network from then on."""
    real = NullBackend.run

    def arrange(n: int) -> None:
        runs = 0

        def run(self: NullBackend, tensor: Any) -> Any:
            nonlocal runs
            runs += 1
            if runs == n:
                os.kill(os.getpid(), signal.SIGTERM)
            return real(self, tensor)

        monkeypatch.setattr(NullBackend, "run", run)

    return arrange


@pytest.fixture
def photos(tmp_path: Path, picture: Any) -> Path:
    pytest.importorskip("PIL")
    pytest.importorskip("rich")
    (tmp_path / "photos").mkdir()
    for i in range(4):
        write_image(tmp_path / "photos" / f"{i}.png", picture(20 + i, 24))
    return tmp_path / "photos"


def test_sigterm_finishes_the_picture_and_the_next_run_does_the_rest(
    null_bundle: Path, photos: Path, tmp_path: Path, term_at: Any
) -> None:
    out, handler = tmp_path / "out", signal.getsignal(signal.SIGTERM)
    term_at(2)
    result = restore(null_bundle, photos, "-o", out)
    assert result.exit_code == 3, result.output
    assert "2 of 4 restored" in result.output
    assert (
        f"stopped; 2 left, from {photos / '2.png'} on: the same command with --skip-existing" in result.output
    )
    assert signal.getsignal(signal.SIGTERM) is handler
    assert sorted(f.name for f in out.iterdir()) == ["0.png", "1.png"]
    before = {f: f.stat().st_mtime_ns for f in out.iterdir()}
    result = restore(null_bundle, photos, "-o", out, "--skip-existing")
    assert result.exit_code == 0, result.output
    assert "2 of 2 restored" in result.output
    assert before == {f: f.stat().st_mtime_ns for f in before}
    for i in range(4):  # the null backend returns its input
        assert np.array_equal(read_image(out / f"{i}.png"), read_image(photos / f"{i}.png"))


def test_sigterm_in_the_last_picture_leaves_nothing(
    null_bundle: Path, photos: Path, tmp_path: Path, term_at: Any
) -> None:
    term_at(4)
    result = restore(null_bundle, photos, "-o", tmp_path / "out")
    assert result.exit_code == 0, result.output
    assert "4 of 4 restored" in result.output


def test_sigterm_in_a_video_keeps_its_segments(
    null_bundle: Path, photos: Path, tmp_path: Path, term_at: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    pytest.importorskip("av")
    from fractions import Fraction

    from colora.runtime.video_io import Frame, VideoFacts, encode

    facts = VideoFacts(0, 0, Fraction(1, 25), Fraction(25), "yuv420p", Fraction(1), (1, 1, 1, 1))
    frames = [Frame(np.full((32, 48, 3), 10 * n + 20, np.uint8), n) for n in range(10)]
    encode(frames, tmp_path / "in.mp4", "mp4", facts)
    short = partial(restore_video, segment_frames=3)
    monkeypatch.setattr("colora.runtime.restore_files.restore_video", short)
    term_at(5)
    out = tmp_path / "out.mp4"
    result = restore(null_bundle, tmp_path / "in.mp4", "-o", out)
    assert result.exit_code == 3, result.output
    assert "0 of 1 restored" in result.output and not out.exists()
    kept = sorted(f.name for f in (tmp_path / "out.mp4.parts").glob("*.nut"))
    assert kept[0] == "000000.nut" and len(kept) < 4  # of 4; a signal may be seen some frames late
    result = restore(null_bundle, tmp_path / "in.mp4", "-o", out)
    assert result.exit_code == 0, result.output
    levels = [float(frame.image.mean()) for frame in decode(out, probe(out))]
    assert np.allclose(levels, [10 * n + 20 for n in range(10)], atol=2)  # coding rounds greys


def test_a_full_output_folder_is_not_compared_with_every_picture(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for folder in ("in", "out"):
        (tmp_path / folder).mkdir()
        for i in range(100):
            (tmp_path / folder / f"{i}.png").touch()
    calls, real = [], Path.stat
    monkeypatch.setattr(Path, "stat", lambda file, **options: calls.append(file) or real(file, **options))
    assert len(targets([tmp_path / "in"], tmp_path / "out")) == 100
    assert len(calls) < 1000  # a few each; comparing all with all takes 30,000
    (tmp_path / "out" / "7.png").unlink()
    (tmp_path / "out" / "7.png").hardlink_to(tmp_path / "in" / "99.png")
    with pytest.raises(ImageError, match=r"out.7\.png would overwrite a picture to be restored"):
        targets([tmp_path / "in"], tmp_path / "out")


@pytest.mark.parametrize(
    ("text", "size"),
    [
        ("2.4GB", 2_400_000_000),
        ("600 MB", 600_000_000),
        ("512mib", 2**29),
        (".5KiB", 512),
        ("77", 77),
        ("1b", 1),
    ],
)
def test_sizes(text: str, size: int) -> None:
    assert byte_size(text) == size


def test_a_memory_budget(null_bundle: Path, photos: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    for wrong in ("much", "2.4XB", "-1GB", "1e9", "GB", "nan"):
        result = restore(null_bundle, photos, "-o", out, "--memory-budget", wrong)
        assert result.exit_code == 2
        assert f"'{wrong}' is no size; expected a number and B, KB, MB, GB, KiB, MiB or GiB" in result.output
    result = restore(null_bundle, photos, "-o", out, "--memory-budget", "1KB")
    assert result.exit_code == 2
    assert "memory_budget is 0.00 MB; " in result.output and "needs at least" in result.output
    result = restore(null_bundle, photos, "-o", out, "--memory-budget", "4GB")
    assert result.exit_code == 0, result.output


def test_alpha_goes_from_file_to_file(ort_bundle: Path, picture: Any, tmp_path: Path) -> None:
    image = pytest.importorskip("PIL.Image")
    source, out = tmp_path / "in.png", tmp_path / "out.png"
    clear = np.dstack([picture(40, 48), np.random.default_rng(0).integers(0, 256, (40, 48), np.uint8)])
    image.fromarray(clear).save(source)
    options = (source, "--task", "rain", "--bundle", ort_bundle, "--backend", "ort", "-o")
    arguments = ["restore", *map(str, options)]
    result = CliRunner().invoke(main, [*arguments, str(out)])
    assert result.exit_code == 0, result.output
    got = np.asarray(image.open(out))
    assert np.array_equal(got[:, :, 3], clear[:, :, 3])
    with load(ort_bundle, "ort") as session:
        assert np.array_equal(got[:, :, :3], session.restore(clear[:, :, :3], "rain"))
        assert session.choose(clear) == session.choose(clear[:, :, :3])
    result = CliRunner().invoke(main, [*arguments, str(out), "--compare"])
    assert result.exit_code == 0, result.output
    assert np.asarray(image.open(out)).shape == (40, 48 + 8 + 48, 4)
    result = CliRunner().invoke(main, [*arguments, str(tmp_path / "out.jpg")])
    assert result.exit_code == 1
    assert "out.jpg: .jpg holds no transparency; expected one of .png, .webp, .tif, .tiff" in result.output


def test_the_colour_profile_goes_from_file_to_file(null_bundle: Path, picture: Any, tmp_path: Path) -> None:
    """That of CMYK or grey does not: results are RGB."""
    image, cms = pytest.importorskip("PIL.Image"), pytest.importorskip("PIL.ImageCms")
    rgb = cms.ImageCmsProfile(cms.createProfile("sRGB")).tobytes()
    for suffix in (".png", ".jpg", ".tif", ".webp", ".bmp"):
        for profile in (rgb, rgb[:16] + b"CMYK" + rgb[20:], None):
            image.fromarray(picture(40, 48)).save(tmp_path / "in.png", icc_profile=profile)
            result = restore(null_bundle, tmp_path / "in.png", "-o", tmp_path / f"out{suffix}")
            assert result.exit_code == 0, result.output
            with image.open(tmp_path / f"out{suffix}") as written:
                kept = profile == rgb and suffix != ".bmp"
                assert written.info.get("icc_profile") == (rgb if kept else None), (suffix, profile)
