"""`colora pretrain` says what it will draw before it trains, and refuses what it can't."""

import json
from pathlib import Path

import cv2
import numpy as np
import pytest
from click.testing import CliRunner
from colora.runtime.cli import main
from colora.runtime.weights import read_tensors
from colora.train.pretrain import command


@pytest.fixture
def photos(tmp_path: Path) -> str:
    folder = tmp_path / "photos"
    folder.mkdir()
    cv2.imwrite(str(folder / "a.png"), np.random.default_rng(0).integers(0, 256, (40, 40, 3), np.uint8))
    return str(folder)


@pytest.mark.parametrize(
    ("options", "text"),
    [
        (
            [],
            "9 degradations, up to 9 functions an image, in random order: 986,409 different sequences of functions "
            "can be drawn, parameters not counted; of the images 50.1% get 1, 25.0% get 2",
        ),
        (
            ["--mode", "fixed", "--max-count", "2", "--decay", "1"],
            "9 degradations, up to 2 functions an image, always in the order given: 45 different sequences of "
            "functions can be drawn, parameters not counted; of the images 50.0% get 1, 50.0% get 2",
        ),
        (
            ["--mode", "single", "--degradations", "rain,noise"],
            "2 degradations, one function an image: 2 different sequences of functions can be drawn, parameters not "
            "counted; of the images 100.0% get 1",
        ),
    ],
)
def test_command_tells_what_can_be_drawn(
    photos: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, options: list[str], text: str
) -> None:
    monkeypatch.setattr(
        "colora.train.pretrain.pretrain", lambda *args, **kwargs: "0" * 64
    )  # training is not asked
    result = CliRunner().invoke(
        command, ["--photos", photos, "-o", str(tmp_path / "b.safetensors"), *options]
    )
    assert result.exit_code == 0, result.output
    assert result.output.startswith(text)


def test_goes_on_with_the_same_settings_only(photos: str, tmp_path: Path) -> None:
    options = ["--photos", photos, "-o", str(tmp_path / "b.safetensors"), "--backbone", "nafnet-tiny"]
    options += ["--held-out", "0", "--threads", "1", "--patch", "8", "--steps", "1"]
    done = CliRunner().invoke(main, ["pretrain", *options, "--batch", "1"])
    assert done.exit_code == 0, done.output
    for changed, text in (
        (
            ["--batch", "1", "--patch", "16"],
            "patches '8x1'; expected patches '16x1': give another output (-o)",
        ),
        (["--batch", "1", "--mode", "single"], "mode 'random'"),
        (["--batch", "1", "--seed", "1"], "seed 0; expected seed 1"),
    ):
        done = CliRunner().invoke(main, ["pretrain", *options, *changed])
        assert done.exit_code == 2 and text in " ".join(done.output.split()), done.output
    cv2.imwrite(f"{photos}/a.png", np.zeros((40, 40, 3), np.uint8))
    done = CliRunner().invoke(main, ["pretrain", *options, "--batch", "1"])
    assert done.exit_code == 2 and "begun with other settings, pictures_sha256" in done.output


def test_a_folder_of_pictures_that_is_only_a_dot_and_an_output_that_a_shell_would_split(
    photos: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(photos)
    output = tmp_path / "my net.safetensors"
    options = ["--backbone", "nafnet-tiny", "--threads", "1", "--patches", "8x1", "--steps", "1"]
    options += ["--photos", ".", "-o", str(output)]
    done = CliRunner().invoke(main, ["pretrain", *options, "--held-out", "0"])
    assert done.exit_code == 0, done.output
    assert f"next: colora adapt --task rain --backbone '{output}' --photos ." in done.output
    assert json.loads(read_tensors(output)[1]["colora"])["training"]["folders"] == ["photos"]


def test_refuses_a_held_out_picture_that_is_too_small(photos: str, tmp_path: Path) -> None:
    cv2.imwrite(f"{photos}/A.png", np.full((3, 40, 3), 99, np.uint8))
    options = ["--photos", photos, "-o", str(tmp_path / "b.safetensors"), "--backbone", "nafnet-tiny"]
    done = CliRunner().invoke(main, ["pretrain", *options, "--patches", "8x1", "--held-out", "1"])
    assert done.exit_code == 2, done.output
    assert f"{photos}/A.png: a side below 4 pixels: leave it out" in done.output


@pytest.mark.parametrize(
    ("options", "text"),
    [
        (["--degradations", "rain,rain"], "--degradations rain,rain: expected each name once"),
        (["--mode", "fixd"], "'fixd' is not one of 'single', 'fixed', 'random'"),
        (["--max-count", "0"], "0 is not in the range x>=1"),
        (["--decay", "0"], "0.0 is not in the range 0<x<=1"),
    ],
)
def test_command_refuses_what_cannot_be_drawn(photos: str, options: list[str], text: str) -> None:
    result = CliRunner().invoke(command, ["--photos", photos, *options])
    assert result.exit_code == 2
    assert text in " ".join(result.output.split())
