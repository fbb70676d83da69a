"""The options that the training commands share, and a command run by several processes."""

import subprocess
import sys
from pathlib import Path

import click
import numpy as np
import pytest
import torch
from click.testing import CliRunner
from colora.runtime.adapter import read_adapter
from colora.runtime.image import write_image
from colora.train.backbones import find_backbone
from colora.train.checkpoint import save_backbone
from colora.train.options import TrainOptions, train_options
from colora.train.patches import Stage

SEEN: list[tuple[int, TrainOptions]] = []


@click.command
@click.option("--steps", default=5)
@train_options
def command(steps: int, options: TrainOptions) -> None:
    SEEN.append((steps, options))


def test_values_come_as_one(tmp_path: Path) -> None:
    given = [
        "--steps",
        "7",
        "--batch",
        "2",
        "--loss",
        "l1",
        "--patience",
        "3",
        "--device",
        "meta",
        "--compile",
        "--tensorboard",
        "logs",
    ]
    assert CliRunner().invoke(command, given).exit_code == 0
    steps, options = SEEN.pop()
    assert (steps, options.batch, options.held_out, options.tensorboard) == (7, 2, None, Path("logs"))
    config = options.fit_config(9, 0.5)
    told = (config.steps, config.lr, config.loss, config.patience, config.device, config.compile, config.bf16)
    assert told == (9, 0.5, "l1", 3, "meta", True, False)


def options(**changes: object) -> TrainOptions:
    CliRunner().invoke(command, [word for k, v in changes.items() for word in (f"--{k}", str(v))])
    return SEEN.pop()[1]


def test_joined_refuses_a_batch_that_cannot_be_shared(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("colora.train.options.rank_and_world", lambda: (0, 3))
    with (
        pytest.raises(click.UsageError, match="a batch of 4 can't be shared by 3 processes: give a"),
        options().joined(),
    ):
        pytest.fail("went on")


def test_patches_say_how_large_and_how_many() -> None:
    assert options().stages == (Stage(128, 4),)
    assert options(patches="64x8,128x2:3").stages == (Stage(64, 8), Stage(128, 2, 3.0))
    for words, text in [
        (
            ["--patches", "64x8", "--batch", "4"],
            "--patches says how large and how many: leave --patch and --batch",
        ),
        (["--patches", "64"], "'64' is no stage; expected patch x batch"),
    ]:
        done = CliRunner().invoke(command, words)
        assert done.exit_code == 2 and text in " ".join(done.output.split())


def test_joined_refuses_any_batch_that_cannot_be_shared(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("colora.train.options.rank_and_world", lambda: (0, 2))
    with pytest.raises(click.UsageError, match="a batch of 1 can't"), options(patches="8x4,16x1").joined():
        pytest.fail("went on")


def test_a_loss_that_is_not_finite_is_told_without_a_traceback() -> None:
    with pytest.raises(click.ClickException, match="loss is nan at step 3"), options().joined():
        raise FloatingPointError("loss is nan at step 3")


def test_the_end_of_another_process_is_told_and_other_faults_are_not_hidden(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    gone = RuntimeError("[pair.cc:553] Connection closed by peer [127.0.0.1]:17089")
    with pytest.raises(RuntimeError, match=r"pair\.cc"), options().joined():  # no group
        raise gone
    monkeypatch.setattr("colora.train.options.rank_and_world", lambda: (0, 2))
    told = "another process of the group has ended: its own output"
    with pytest.raises(click.ClickException, match=told), options(batch=4).joined():
        raise gone
    with pytest.raises(RuntimeError, match="out of memory"), options(batch=4).joined():
        raise RuntimeError("out of memory")


def test_torchrun_adapts_with_two_processes(tmp_path: Path) -> None:
    torch.manual_seed(0)
    spec = find_backbone("nafnet-tiny")
    save_backbone(tmp_path / "tiny.safetensors", spec.build(), spec, {})
    for i in range(4):
        clean = np.random.default_rng(i).integers(0, 200, (16, 16, 3)).astype(np.uint8)
        for side, picture in (("input", 128 + clean // 2), ("target", clean)):
            (tmp_path / "foggy" / side).mkdir(parents=True, exist_ok=True)
            write_image(tmp_path / "foggy" / side / f"{i}.png", picture)
    (tmp_path / "run.py").write_text("from colora.runtime.cli import main\nmain()\n")
    torchrun = [
        "-m",
        "torch.distributed.run",
        "--standalone",
        "--nproc-per-node=2",
        "run.py",
        "adapt",
        "--task",
        "fog",
    ]
    sizes = [
        "--budget",
        "1",
        "--batch",
        "2",
        "--patch",
        "16",
        "--steps",
        "2",
        "--target-steps",
        "2",
        "--faig-steps",
        "1",
        "--threads",
        "1",
    ]
    files = ["--backbone", "tiny.safetensors", "--pairs", "foggy", "-o", "fog.safetensors"]
    done = subprocess.run(
        [sys.executable, *torchrun, *files, *sizes], check=False, capture_output=True, text=True, cwd=tmp_path
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout.count("fog: 3 pairs of foggy; 1 more held out") == 1
    assert done.stdout.count("next: colora export") == 1
    assert "held_out_adapted_psnr_db" in read_adapter(tmp_path / "fog.safetensors").quality
