"""Cameras: those that come back, those that do not, and what of them is in the file."""

import os
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from itertools import chain, count
from pathlib import Path
from threading import Event
from typing import Any

import numpy as np
import pytest
from colora.devices.errors import BackendFailed, VideoError
from colora.runtime.camera import camera_frames, record, stopped_by_signals
from colora.runtime.video_io import decode, probe

GREYS = range(10, 250, 20)


def grey(level: int) -> Any:
    return np.full((32, 48, 3), level, np.uint8)


def camera(*lives: list[int] | Exception) -> Callable[[], Iterator[Any]]:
    """A camera that gives these frames, or fails so, at each time it is opened; after them it stays away."""
    left = iter(lives)

    def fake() -> Iterator[Any]:
        life = next(left, None)
        if life is None:
            raise OSError("no route to host")
        if isinstance(life, Exception):
            raise life
        yield from (grey(level) for level in life)

    return fake


def test_a_camera_that_comes_back_goes_on() -> None:
    waits: list[float] = []
    source = camera([1, 2], OSError("unplugged"), VideoError("busy"), [3], [4, 5])
    frames = camera_frames(source, retries=3, wait_s=0.5, wait=waits.append)
    levels = [int(next(frames)[0, 0, 0]) for _ in range(5)]
    assert levels == [1, 2, 3, 4, 5]
    assert waits == [0.5, 1, 2, 0.5]  # the wait doubles until a frame comes
    with pytest.raises(
        VideoError,
        match="camera fake vanished after 5 frames, and 3 retries failed, the last because: no route to host",
    ):
        next(frames)
    assert waits[4:] == [0.5, 1, 2]


def test_a_long_wait_is_bounded() -> None:
    waits: list[float] = []
    with pytest.raises(VideoError, match="vanished after 0 frames, and 10 retries failed"):
        list(camera_frames(camera(), retries=10, wait=waits.append))
    assert waits == [1, 2, 4, 8, 16, 32, 60, 60, 60, 60]


def test_other_errors_are_not_retried() -> None:
    with pytest.raises(KeyError):
        list(camera_frames(camera(KeyError("a bug")), wait=lambda seconds: None))


def test_passwords_of_addresses_are_not_shown() -> None:
    pytest.importorskip("av")
    source = "rtsp://admin:secret@127.0.0.1:9/stream"  # port 9, discard: nobody listens
    with pytest.raises(VideoError, match=r"camera rtsp://\*\*\*@127\.0\.0\.1:9/stream vanished") as caught:
        list(camera_frames(source, retries=1, wait=lambda seconds: None))
    assert "secret" not in str(caught.value)


@pytest.mark.parametrize("password", ["p@ss", "p/ss", "p ss", "p:s?s#@"])
def test_no_part_of_a_password_is_shown(password: str) -> None:
    def gone() -> Iterator[Any]:
        raise OSError(f"connection refused: 'rtsp://admin:{password}@cam/stream'")

    with pytest.raises(VideoError, match=r"refused: 'rtsp://\*\*\*@cam/stream'$"):
        list(camera_frames(gone, retries=0))


def levels(path: Path) -> list[int]:
    pytest.importorskip("av")
    return [round(float(frame.image.mean())) for frame in decode(path, probe(path))]


def near(got: list[int], expected: list[int]) -> bool:
    """Same greys but for the rounding of coding."""
    return len(got) == len(expected) and all(abs(a - b) <= 2 for a, b in zip(got, expected, strict=True))


def test_a_recording_keeps_order_and_times_of_arrival(tmp_path: Path) -> None:
    pytest.importorskip("av")
    arrivals = chain([0.0], (0.1 * n * n for n in count()))
    target = tmp_path / "out.mp4"
    frames = camera_frames(camera([10, 50], [90, 130, 170]), wait=lambda seconds: None)
    done = record(lambda image: 255 - image, frames, target, 4, clock=lambda: next(arrivals), keep_all=True)
    assert (done.written, done.dropped) == (4, 0)
    assert near(levels(target), [245, 205, 165, 125])
    facts = probe(target)
    seconds = [frame.time * facts.time_base for frame in decode(target, facts)]
    assert np.allclose(np.array(seconds, float), [0, 0.1, 0.4, 0.9], atol=1 / 90_000)


def test_a_camera_that_vanishes_leaves_what_it_gave(tmp_path: Path) -> None:
    pytest.importorskip("av")
    target = tmp_path / "out.mkv"
    frames = camera_frames(camera(list(GREYS)), retries=2, wait=lambda seconds: None)
    with pytest.raises(
        VideoError, match=r"vanished after 12 frames, and 2 retries .*out\.mkv holds 12 frames"
    ):
        record(lambda image: image, frames, target, keep_all=True)
    assert near(levels(target), list(GREYS))
    with pytest.raises(VideoError, match="vanished after 0 frames"):
        record(lambda image: image, camera_frames(camera(), retries=0), tmp_path / "none.mp4")
    assert [f.name for f in tmp_path.iterdir()] == ["out.mkv"]


def test_a_camera_that_comes_back_with_another_size_leaves_what_it_gave(tmp_path: Path) -> None:
    pytest.importorskip("av")
    frames = chain(map(grey, GREYS[:5]), [np.zeros((64, 96, 3), np.uint8)])
    with pytest.raises(VideoError, match=r"gives 96×64 now, and gave 48×32: .*out\.mp4 holds 5 frames"):
        record(lambda image: image, frames, tmp_path / "out.mp4", keep_all=True)
    assert near(levels(tmp_path / "out.mp4"), list(GREYS[:5]))


@pytest.mark.parametrize(
    "error", [BackendFailed("the GPU is gone"), KeyError("a bug"), OSError("the GPU is gone")]
)
def test_a_restoration_that_fails_leaves_what_it_gave(error: Exception, tmp_path: Path) -> None:
    pytest.importorskip("av")
    target, left = tmp_path / "out.mkv", [grey(level) for level in GREYS]

    def restore(image: Any) -> Any:
        if image is left[7]:
            raise error
        return image

    with pytest.raises(VideoError, match=r"(the GPU is gone|a bug).*out\.mkv holds 7 frames"):
        record(restore, left, target, keep_all=True)
    assert near(levels(target), list(GREYS[:7]))
    with pytest.raises(type(error)):  # before there was a frame it is told as it is
        record(restore, left[7:], tmp_path / "none.mkv", keep_all=True)
    assert [f.name for f in tmp_path.iterdir()] == ["out.mkv"]


@pytest.mark.skipif(os.name == "nt", reason="no resource limits")
def test_a_full_disk_is_told_and_leaves_the_old_file(tmp_path: Path) -> None:
    """A limit on file sizes is what a test can have of a full disk: the same calls fail."""
    pytest.importorskip("av")
    (tmp_path / "out.mkv").write_bytes(b"old")
    code = (
        "import resource, sys\nimport numpy as np\nfrom colora.devices.errors import VideoError\n"
        "from colora.runtime.camera import record\n"
        "resource.setrlimit(resource.RLIMIT_FSIZE, (2000, 2000))\nrng = np.random.default_rng(0)\n"
        "frames = (rng.integers(0, 256, (64, 64, 3), np.uint8) for _ in range(20))\n"
        "try: record(lambda image: image, frames, sys.argv[1], 20, keep_all=True)\n"
        "except VideoError as e: print(e)"
    )
    command = [sys.executable, "-c", code, str(tmp_path / "out.mkv")]
    run = subprocess.run(command, capture_output=True, text=True)
    assert f"{tmp_path / 'out.mkv'} was not written: " in run.stdout, run.stderr
    assert (tmp_path / "out.mkv").read_bytes() == b"old"
    assert [f.name for f in tmp_path.iterdir()] == ["out.mkv"]


def test_a_slow_restoration_gets_the_newest_frames(tmp_path: Path) -> None:
    """The first frame is restored when the camera has ended: only the waiting places' frames are left."""
    pytest.importorskip("av")
    ended = Event()

    def live() -> Iterator[Any]:
        yield grey(10)
        started.wait(60)
        yield from (grey(level) for level in GREYS[1:])
        ended.set()

    started = Event()

    def slow(image: Any) -> Any:
        started.set()
        assert ended.wait(60)
        return image

    done = record(slow, live(), tmp_path / "out.mp4")
    assert (done.written, done.dropped) == (5, 7)
    assert near(levels(tmp_path / "out.mp4"), [10, *GREYS[-4:]])


def test_a_signal_finishes_the_file(tmp_path: Path) -> None:
    pytest.importorskip("av")

    def endless() -> Iterator[Any]:
        for n in count():
            if n == 6:
                os.kill(os.getpid(), signal.SIGTERM)
            yield grey(n % 256)

    before = signal.getsignal(signal.SIGTERM)
    with stopped_by_signals() as stop:
        done = record(lambda image: image, endless(), tmp_path / "out.mp4", stop=stop, keep_all=True)
    assert signal.getsignal(signal.SIGTERM) is before
    assert len(levels(tmp_path / "out.mp4")) == done.written > 0


def test_the_command_records_a_camera(
    null_bundle: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from click.testing import CliRunner
    from colora.runtime.cli import main

    pytest.importorskip("av")
    pytest.importorskip("rich")
    monkeypatch.setattr("colora.runtime.camera._open", lambda source: camera(list(GREYS))())
    options = [
        "--task",
        "rain",
        "--bundle",
        str(null_bundle),
        "--backend",
        "null",
        "-o",
        str(tmp_path / "o.mp4"),
    ]
    result = CliRunner().invoke(main, ["restore", "--camera", "0", "--frames", "3", *options])
    assert result.exit_code == 0, result.output
    assert "3 frames restored, " in result.output
    assert len(levels(tmp_path / "o.mp4")) == 3
    for wrong, message in (
        ([], "name pictures or videos, or a --camera"),
        (["--camera", "0", "a.png"], "name pictures or videos, or a --camera, not both"),
        (["a.mp4", "--frames", "3"], "--frames goes with --camera"),
    ):
        result = CliRunner().invoke(main, ["restore", *wrong, *options])
        assert result.exit_code == 2
        assert message in result.output
