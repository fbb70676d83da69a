"""`task="auto"`: the rule, what it does to pictures and files, and that clean pictures come back untouched."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from click.testing import CliRunner
from colora.devices.errors import CheckpointError, ImageError
from colora.runtime.bands import spread_rows
from colora.runtime.choice import AUTO, CLEAN, NOTHING, choose, decide, network, read_network
from colora.runtime.choice_file import choose_file
from colora.runtime.cli import main
from colora.runtime.default import restore
from colora.runtime.image import read_image, write_image
from colora.runtime.session import load
from colora.runtime.weights import Array, write_tensors
from hypothesis import given
from hypothesis import strategies as st

PHOTOS = Path(__file__).parents[2] / "benchmarks" / "photos"
LABELS = network().labels


@pytest.fixture(scope="module")
def clean() -> Array:
    """A photograph that no training has seen."""
    pytest.importorskip("PIL")
    return read_image(PHOTOS / "motorcycle.jpg")


@pytest.fixture(scope="module")
def noisy(clean: Array) -> Array:
    grain = np.random.default_rng(0).normal(0, 25, clean.shape)
    return np.clip(clean + grain, 0, 255).astype(np.uint8)


def told(**shares: float) -> Array:
    """Probabilities of LABELS, the rest on CLEAN."""
    return np.array([shares.get(name, 1 - sum(shares.values()) if name == CLEAN else 0) for name in LABELS])


@pytest.mark.parametrize(
    ("shares", "tasks", "task", "confidence"),
    [
        ({"rain": 0.8}, ["rain", "noise"], "rain", 0.8),
        ({"rain": 0.1}, ["rain", "noise"], NOTHING, 0.9),
        ({"haze": 0.9, "rain": 0.1}, ["rain", "noise"], NOTHING, 0.9),  # no task for what is wrong
        ({"rain": 0.45, "noise": 0.4}, ["rain", "noise"], NOTHING, 0.15),  # something is wrong, but what?
        ({"rain": 1.0}, [], NOTHING, 1.0),
        ({"rain": 1.0}, ["my-own", CLEAN], NOTHING, 1.0),
    ],
)
def test_the_rule(shares: dict[str, float], tasks: list[str], task: str, confidence: float) -> None:
    choice = decide(told(**shares), tasks)
    assert (choice.task, choice.confidence) == (task, pytest.approx(confidence))


@given(
    st.lists(st.floats(0.001, 1), min_size=len(LABELS), max_size=len(LABELS)),
    st.sets(st.sampled_from([*LABELS, "my-own"])),
    st.floats(0.3, 1),
)
def test_a_task_is_there_and_likely_enough(weights: list[float], tasks: set[str], least: float) -> None:
    choice = decide(np.array(weights) / sum(weights), tasks, least)
    assert sum(choice.probabilities.values()) == pytest.approx(1)
    if choice.task == NOTHING:
        assert all(p < least for name, p in choice.probabilities.items() if name in tasks - {CLEAN})
    else:
        assert choice.task in tasks
        assert choice.confidence == choice.probabilities[choice.task] >= least


def test_a_choice_says_what_it_is() -> None:
    assert str(decide(told(rain=0.9), ["rain"])) == "rain (90%)"
    assert str(decide(told(haze=0.75), ["rain"])) == "nothing (>99%, most like haze 75%)"
    assert str(decide(told(), ["rain"])) == "nothing (>99%)"


def test_noise_is_seen_and_a_clean_photograph_too(clean: Array, noisy: Array) -> None:
    for picture in (
        noisy,
        noisy.astype(np.uint16) * 257,
        (noisy / 255).astype(np.float32),
        noisy[:200, :200],
    ):
        choice = choose([picture], ["rain", "noise"])
        assert choice.task == "noise", choice
        assert choice.confidence > 0.8
    for picture in (
        clean,
        clean[::2, ::2],
        clean[100:200, 100:200],
        clean.mean(2, keepdims=True).repeat(3, 2),
    ):
        assert choose([picture.astype(np.uint8)], ["rain", "noise"]).task == NOTHING


def test_frames_are_averaged(clean: Array, noisy: Array) -> None:
    both = choose([clean, noisy], ["noise"]).probabilities
    one, other = (choose([picture], ["noise"]).probabilities for picture in (clean, noisy))
    assert all(both[name] == pytest.approx((one[name] + other[name]) / 2) for name in both)


def test_too_small_a_picture_is_left_alone(noisy: Array) -> None:
    choice = choose([noisy[:31, :200]], ["noise"])
    assert choice.task == NOTHING
    assert len(set(choice.probabilities.values())) == 1


def test_a_session_restores_what_it_chose(
    null_bundle: Path, ort_bundle: Path, clean: Array, noisy: Array
) -> None:
    with load(ort_bundle) as session:
        assert session.choice is None
        restored = session.restore(noisy, AUTO)
        assert session.choice == session.choose(noisy)
        assert session.choice is not None and session.choice.task == "noise"
        assert np.array_equal(restored, session.restore(noisy, "noise"))
        untouched = session.restore(clean, AUTO)
        assert session.choice.task == NOTHING
        assert np.array_equal(untouched, clean) and not np.shares_memory(untouched, clean)
        batch = session.restore_batch([clean, noisy, noisy], [AUTO, AUTO, "rain"])
        assert session.choice.task == NOTHING  # still the one of `restore`
        alone = [untouched, restored, session.restore(noisy, "rain")]
        assert all(np.array_equal(a, b) for a, b in zip(batch, alone, strict=True))
        assert session.choose(noisy, least=1.0).task == NOTHING
        with pytest.raises(ImageError, match="choose was given no picture"):
            session.choose()
    assert np.array_equal(restore(noisy, AUTO, bundle=ort_bundle), restored)


def colora(*args: object) -> Any:
    return CliRunner().invoke(main, [str(a) for a in args])


def test_a_folder_gets_a_choice_for_each(
    ort_bundle: Path, clean: Array, noisy: Array, tmp_path: Path
) -> None:
    pytest.importorskip("rich")
    photos, out = tmp_path / "photos", tmp_path / "out"
    photos.mkdir()
    write_image(photos / "a.jpg", clean)
    write_image(photos / "b.png", noisy)
    result = colora("restore", photos, "--task", "auto", "-o", out, "--bundle", ort_bundle)
    assert result.exit_code == 0, result.output
    assert "a.jpg: nothing (" in result.output
    assert "b.png: noise (" in result.output
    assert (out / "a.jpg").read_bytes() == (photos / "a.jpg").read_bytes()  # not compressed a second time
    with load(ort_bundle) as session:
        assert np.array_equal(read_image(out / "b.png"), session.restore(noisy, "noise"))
    result = colora(
        "restore", photos / "a.jpg", "--task", "auto", "-o", tmp_path / "a.png", "--bundle", ort_bundle
    )
    assert result.exit_code == 0, result.output
    assert np.array_equal(read_image(tmp_path / "a.png"), read_image(photos / "a.jpg"))


def test_row_bands_are_chosen_for_as_the_whole(
    ort_bundle: Path, clean: Array, noisy: Array, tmp_path: Path
) -> None:
    tifffile = pytest.importorskip("tifffile")
    tifffile.imwrite(tmp_path / "in.tif", noisy, photometric="rgb", compression="zlib", rowsperstrip=7)
    rows = spread_rows(tmp_path / "in.tif")
    assert len(rows) < len(noisy)
    assert choose([rows], ["noise"]) == choose([noisy], ["noise"])
    with load(ort_bundle) as session:
        assert choose_file(session, tmp_path / "in.tif") == session.choose(noisy)
    tifffile.imwrite(tmp_path / "in.tif", clean, photometric="rgb", rowsperstrip=7)
    options = (
        "--task",
        "auto",
        "-o",
        tmp_path / "out.tiff",
        "--bundle",
        ort_bundle,
    )  # another suffix: no copy
    result = colora("restore", tmp_path / "in.tif", *options)
    assert result.exit_code == 0, result.output
    assert np.array_equal(tifffile.imread(tmp_path / "out.tiff"), clean)


def test_a_video_has_one_choice(ort_bundle: Path, clean: Array, tmp_path: Path) -> None:
    pytest.importorskip("av")
    pytest.importorskip("rich")
    from fractions import Fraction

    from colora.runtime.video_io import Frame, VideoFacts, decode, encode, probe

    rng = np.random.default_rng(1)
    facts = VideoFacts(10, 0, Fraction(1, 25), Fraction(25), "yuv444p", Fraction(1), (1, 1, 1, 1))
    still = clean[:128, :192].astype(np.float64)
    frames = [np.clip(still + rng.normal(0, 30, still.shape), 0, 255).astype(np.uint8) for _ in range(10)]
    source, target = tmp_path / "in.mp4", tmp_path / "out.mp4"
    encode((Frame(frame, n) for n, frame in enumerate(frames)), source, "mp4", facts)
    result = colora("restore", source, "--task", "auto", "-o", target, "--bundle", ort_bundle)
    assert result.exit_code == 0, result.output
    assert result.output.count("in.mp4: noise (") == 1
    assert len(list(decode(target, probe(target)))) == 10


def test_a_foreign_file_is_no_network(tmp_path: Path) -> None:
    write_tensors(tmp_path / "x.safetensors", {"w1": np.zeros(3, np.float32)}, {})
    with pytest.raises(CheckpointError, match=r"x\.safetensors is no network of train/choice\.py"):
        read_network(tmp_path / "x.safetensors")
