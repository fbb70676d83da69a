"""A folder is one training's: another process is refused, until the first one has ended or is killed."""

import os
import signal
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from colora.devices.errors import CheckpointError
from colora.train.fit import FitConfig, fit
from colora.train.hold import hold
from colora.train.patches import Stage
from colora.train.photos import Batches
from torch import nn

CODE = """
import os, sys, time
from pathlib import Path
from colora.train.hold import hold
hold(Path(sys.argv[1]))
if os.fork() == 0:  # a worker, which outlives a trainer that is killed
    time.sleep(60)
print("held", flush=True)
sys.stdin.read()
"""


def train(folder: Path) -> None:
    picture = np.zeros((8, 8, 3), np.float32)
    batches = Batches(lambda rng, patch: (picture, picture), [Stage(8, 1)], 1, 0)
    fit(nn.Conv2d(3, 3, 1), batches, FitConfig(1), folder)


def test_no_two_processes_train_in_one_folder(tmp_path: Path) -> None:
    train(tmp_path)  # and has left the folder when it ends
    command = [sys.executable, "-c", CODE, str(tmp_path)]
    with subprocess.Popen(
        command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, start_new_session=True
    ) as other:
        assert other.stdout and other.stdout.readline() == b"held\n"
        with pytest.raises(CheckpointError, match=r"another process trains there: wait for its end, or give"):
            train(tmp_path)
        other.kill()
        other.wait()
        train(tmp_path)
        os.killpg(other.pid, signal.SIGKILL)


def test_a_folder_that_takes_no_file_is_refused(tmp_path: Path) -> None:
    (tmp_path / ".lock").mkdir()  # as no permission keeps root out
    with pytest.raises(
        CheckpointError, match=r"nothing can be written there \(Is a directory\): give another"
    ):
        hold(tmp_path)
