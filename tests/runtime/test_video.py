"""Videos: every frame once and in order, its time and the audio untouched, after a kill and on a full disk."""

import os
import signal
import subprocess
import sys
from collections.abc import Callable
from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from colora.devices.errors import ImageError, VideoError
from colora.runtime.video import restore_video
from colora.runtime.video_io import decode, encode, probe

av = pytest.importorskip("av")

FRAMES, HEIGHT, WIDTH = 16, 32, 48
TICKS = Fraction(1, 90_000)
GREYS = [20 + 13 * n for n in range(FRAMES)]
"""Each frame is a smooth picture around its own grey: it can be told from the others after coding."""


def film(
    path: Path,
    pixel_format: str = "yuv420p",
    codec: str = "libx264",
    audio: str | None = "aac",
    tick: Fraction = TICKS,
    colours: tuple[int | None, int | None] = (None, None),
    shape: tuple[int, int] = (HEIGHT, WIDTH),
) -> Path:
    """A video of uneven frame distances with a second of noise in its audio."""
    with av.open(str(path), "w") as out:
        video = out.add_stream(codec, rate=25, options={"crf": "4"} if codec == "libx264" else {})
        video.height, video.width, video.pix_fmt, video.codec_context.time_base = *shape, pixel_format, tick
        matrix, span = colours
        if matrix is not None:
            video.codec_context.colorspace, video.codec_context.color_range = matrix, span
        sound = out.add_stream(audio, rate=8000) if audio else None
        ramp = np.linspace(0, 15, shape[1])[None, :, None] * np.array([1, 0.5, -1])
        time = 0
        for n, grey in enumerate(GREYS):
            image = np.broadcast_to(np.clip(grey + ramp, 0, 255), (*shape, 3)).astype(np.uint8)
            frame = av.VideoFrame.from_ndarray(np.ascontiguousarray(image), format="rgb24").reformat(
                format=pixel_format, dst_colorspace=matrix, dst_color_range=span
            )
            frame.pts, frame.time_base = time, tick
            time += int(Fraction(1 + n % 3, 25) / tick) + n
            out.mux(video.encode(frame))
        out.mux(video.encode(None))
        if sound is not None:
            noise = np.random.default_rng(0).normal(0, 3000, (1, 8000)).astype(np.int16)
            second = av.AudioFrame.from_ndarray(noise, format="s16", layout="mono")
            second.sample_rate, second.pts = 8000, 0
            out.mux(sound.encode(second))
            out.mux(sound.encode(None))
    return path


def frames(path: Path) -> list[Any]:
    return [frame.image for frame in decode(path, probe(path))]


def times(path: Path) -> list[Fraction]:
    with av.open(str(path)) as file:
        return [frame.pts * frame.time_base for frame in file.decode(video=0)]


def audio_packets(path: Path) -> list[tuple[Fraction, bytes]]:
    with av.open(str(path)) as file:
        return [(p.pts * p.time_base, bytes(p)) for p in file.demux(audio=0) if p.size]


def inverted(image: Any) -> Any:
    return np.iinfo(image.dtype).max - image


def test_frames_times_and_audio(tmp_path: Path) -> None:
    source, target = film(tmp_path / "in.mp4"), tmp_path / "out.mp4"
    seen: list[int] = []
    advanced: list[int] = []

    def restore(image: Any) -> Any:
        assert (image.shape, image.dtype) == ((HEIGHT, WIDTH, 3), np.uint8)
        seen.append(round(float(image[:, 0].mean())))
        return inverted(image)

    restore_video(restore, source, target, segment_frames=5, advance=advanced.append)
    assert np.abs(np.subtract(seen, GREYS)).max() <= 2  # levels, by coding
    got = [255 - image[:, 0].mean() for image in frames(target)]
    assert np.abs(np.subtract(got, GREYS)).max() < 5  # by coding twice; neighbours are 13 apart
    assert times(target) == times(source)
    assert audio_packets(target) == audio_packets(source)
    assert sum(advanced) == FRAMES
    assert sorted(f.name for f in tmp_path.iterdir()) == ["in.mp4", "out.mp4"]


@pytest.mark.parametrize("segment_frames", range(1, FRAMES + 1))
def test_segments_of_any_length_keep_every_frame(segment_frames: int, tmp_path: Path) -> None:
    """FFmpeg finds no decoding times in a NUT file of 7 H.264 frames: they were dropped once."""
    source, target = film(tmp_path / "in.mp4"), tmp_path / "out.mp4"
    restore_video(lambda image: image, source, target, segment_frames=segment_frames)
    assert times(target) == times(source)


@pytest.mark.parametrize(
    ("name", "options", "dtype"),
    [
        ("b.mkv", {"pixel_format": "yuv444p", "audio": None}, np.uint8),
        ("c.mov", {"pixel_format": "yuv420p10le"}, np.uint16),
        ("d.mp4", {"colours": (1, 1)}, np.uint8),
        ("e.mp4", {"colours": (1, 2)}, np.uint8),
        ("f.mkv", {"pixel_format": "yuv444p", "shape": (33, 45)}, np.uint8),
        ("g.mp4", {"codec": "mpeg4", "tick": Fraction(1, 600)}, np.uint8),
    ],
)
def test_formats_and_colours_are_kept(name: str, options: Any, dtype: Any, tmp_path: Path) -> None:
    source, target = film(tmp_path / name, **options), tmp_path / f"out{Path(name).suffix}"
    restore_video(lambda image: image, source, target)
    before, after = probe(source), probe(target)
    assert (after.pixel_format, after.colours) == (before.pixel_format, before.colours)
    assert times(target) == times(source)
    pairs = list(zip(frames(source), frames(target), strict=True))
    white = np.iinfo(dtype).max
    assert all(a.dtype == b.dtype == dtype and a.shape == b.shape for a, b in pairs)
    # a wrong matrix or range moves these colours by far more than coding does: 2 % of white
    assert max(np.abs(a.astype(float) - b).mean() for a, b in pairs) < 0.02 * white


def test_phone_videos_are_turned_upright(tmp_path: Path) -> None:
    """The display matrix of the only track, written by hand: show turned clockwise by 90°."""
    source = film(tmp_path / "in.mp4", audio=None)
    stored, data = frames(source), bytearray(source.read_bytes())
    at = data.index(b"tkhd") + 4 + 40
    turned = [0, 0x10000, 0, -0x10000, 0, 0, 0, 0, 0x40000000]
    data[at : at + 36] = b"".join(n.to_bytes(4, "big", signed=True) for n in turned)
    source.write_bytes(data)
    upright = frames(source)
    assert all(np.array_equal(np.rot90(a, -1), b) for a, b in zip(stored, upright, strict=True))
    restore_video(lambda image: image, source, tmp_path / "out.mp4")
    assert frames(tmp_path / "out.mp4")[0].shape == (WIDTH, HEIGHT, 3)


def test_a_killed_run_goes_on(tmp_path: Path) -> None:
    source, whole, target = film(tmp_path / "in.mp4"), tmp_path / "whole.mp4", tmp_path / "out.mp4"
    restore_video(inverted, source, whole, "invert", segment_frames=4)
    code = (
        "import os, signal, sys\nfrom colora.runtime.video import restore_video\ncalls = []\n"
        "def restore(image):\n"
        "    calls.append(1)\n"
        "    if len(calls) == 12: os.kill(os.getpid(), signal.SIGKILL)\n"
        "    return 255 - image\n"
        "restore_video(restore, sys.argv[1], sys.argv[2], 'invert', segment_frames=4)"
    )
    killed = subprocess.run([sys.executable, "-c", code, source, target], capture_output=True, text=True)
    assert killed.returncode == -signal.SIGKILL, killed.stderr
    parts = tmp_path / "out.mp4.parts"
    done = sorted(f.name for f in parts.glob("0*.nut"))
    assert done  # the queues hold less than a segment and 12 frames
    assert not target.exists()
    calls, advanced = [], []

    def restore(image: Any) -> Any:
        calls.append(1)
        return inverted(image)

    restore_video(restore, source, target, "invert", segment_frames=4, advance=advanced.append)
    assert len(calls) == FRAMES - 4 * len(done)
    assert sum(advanced) == FRAMES
    assert all(np.array_equal(a, b) for a, b in zip(frames(target), frames(whole), strict=True))
    assert times(target) == times(source)
    assert audio_packets(target) == audio_packets(source)
    assert not parts.exists()


def test_another_job_begins_anew(tmp_path: Path) -> None:
    source, target = film(tmp_path / "in.mp4", audio=None), tmp_path / "out.mp4"

    def broken_after(count: int) -> Callable[[Any], Any]:
        calls: list[int] = []

        def restore(image: Any) -> Any:
            calls.append(1)
            if len(calls) > count:
                raise ImageError("no more")
            return image

        return restore

    with pytest.raises(ImageError, match="no more"):
        restore_video(broken_after(8), source, target, "noise", segment_frames=2)
    assert list((tmp_path / "out.mp4.parts").glob("0*.nut"))
    assert not target.exists()
    with pytest.raises(ImageError, match="no more"):
        restore_video(broken_after(0), source, target, "rain", segment_frames=2)
    assert not list((tmp_path / "out.mp4.parts").glob("0*.nut"))


@pytest.mark.skipif(os.name == "nt", reason="no resource limits")
def test_a_full_disk_leaves_the_old_file_and_a_way_on(tmp_path: Path) -> None:
    """A limit on file sizes is what a test can have of a full disk: the same calls fail."""
    source, target = film(tmp_path / "in.mp4"), tmp_path / "out.mp4"
    target.write_bytes(b"old")
    code = (
        "import resource, sys\nfrom colora.devices.errors import VideoError\n"
        "from colora.runtime.video import restore_video\n"
        "resource.setrlimit(resource.RLIMIT_FSIZE, (int(sys.argv[3]),) * 2)\n"
        "try: restore_video(lambda image: image, sys.argv[1], sys.argv[2], segment_frames=4)\n"
        "except VideoError as e: print(e)"
    )
    total = None
    for limit, kept in (("700", 0), ("3000", 4)):
        run = subprocess.run(
            [sys.executable, "-c", code, source, target, limit], capture_output=True, text=True
        )
        total = run.stdout
        assert f"{target} was not written: " in total, (limit, run.stdout, run.stderr)
        assert f"what is done stays in {target}.parts: repeat the command to go on" in total
        assert target.read_bytes() == b"old"
        assert len(list((tmp_path / "out.mp4.parts").glob("0*.nut"))) == kept
    restore_video(lambda image: image, source, target, segment_frames=4)
    assert times(target) == times(source)
    assert sorted(f.name for f in tmp_path.iterdir()) == ["in.mp4", "out.mp4"]


def test_what_is_no_video_is_refused(tmp_path: Path) -> None:
    (tmp_path / "text.mp4").write_text("no video")
    source = film(tmp_path / "in.mp4", audio=None)
    with av.open(str(tmp_path / "sound.mp4"), "w") as out:
        sound = out.add_stream("aac", rate=8000)
        second = av.AudioFrame.from_ndarray(np.zeros((1, 8000), np.int16), format="s16", layout="mono")
        second.sample_rate, second.pts = 8000, 0
        out.mux(sound.encode(second))
        out.mux(sound.encode(None))
    for name, target, message in (
        ("none.mp4", "o.mp4", r"none\.mp4: no such file"),
        ("text.mp4", "o.mp4", r"text\.mp4 can't be read as a video"),
        ("sound.mp4", "o.mp4", r"sound\.mp4 holds no video stream"),
        ("in.mp4", "o.avi", r"o\.avi: can't write '\.avi'; expected one of \.mp4"),
    ):
        with pytest.raises(VideoError, match=message):
            restore_video(lambda image: image, tmp_path / name, tmp_path / target)
    sizes = iter([(32, 48), (32, 50)])
    with pytest.raises(VideoError, match="a frame is 50×32 and those before it 48×32"):
        restore_video(lambda image: np.zeros((*next(sizes), 3), np.uint8), source, tmp_path / "o.mp4")


def test_audio_that_the_container_does_not_take_is_named_before_any_work(tmp_path: Path) -> None:
    source = film(tmp_path / "in.mkv", audio="wavpack")

    def never(image: Any) -> Any:
        raise AssertionError("restored a frame")

    with pytest.raises(
        VideoError,
        match=r"in\.mkv has wavpack audio, which mp4 does not take: convert it, or name the result \.mkv",
    ):
        restore_video(never, source, tmp_path / "out.mp4")
    restore_video(lambda image: image, source, tmp_path / "out.mkv")
    assert audio_packets(tmp_path / "out.mkv") == audio_packets(source)


def test_without_pyav_the_extra_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from colora.devices.errors import MissingExtra

    monkeypatch.setitem(sys.modules, "av", None)
    with pytest.raises(
        MissingExtra, match=r"restoring videos needs the package 'av'.*pip install 'colora\[video\]'"
    ):
        restore_video(lambda image: image, tmp_path / "in.mp4", tmp_path / "out.mp4")


def test_an_encoder_that_is_missing_gives_way_to_the_next(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """mpeg4 takes no clock of 90,000 ticks: its times are rounded to its finest."""
    source = film(tmp_path / "in.mp4", audio=None)
    monkeypatch.setattr("colora.runtime.video_io.ENCODERS", {"no_such": {}, "mpeg4": {"qscale": "2"}})
    facts = probe(source)
    encode(decode(source, facts), tmp_path / "a.nut", "nut", facts)
    assert len(frames(tmp_path / "a.nut")) == FRAMES
    worst = max(abs(a - b) for a, b in zip(times(tmp_path / "a.nut"), times(source), strict=True))
    assert worst <= Fraction(1, 65535)


def test_the_command_restores_videos_beside_pictures(null_bundle: Path, picture: Any, tmp_path: Path) -> None:
    from click.testing import CliRunner
    from colora.runtime.cli import main
    from colora.runtime.image import write_image

    pytest.importorskip("PIL")
    pytest.importorskip("rich")
    source, out = film(tmp_path / "in.mp4"), tmp_path / "out"
    write_image(tmp_path / "a.png", picture(20, 24))
    (tmp_path / "bad.mkv").write_text("no video")
    options = ["--task", "rain", "--bundle", str(null_bundle), "--backend", "null"]
    given = [str(tmp_path / name) for name in ("in.mp4", "bad.mkv", "a.png")]
    result = CliRunner().invoke(main, ["restore", *given, "-o", str(out), *options])
    assert result.exit_code == 1
    assert "2 of 3 restored" in result.output
    assert "bad.mkv can't be read as a video" in result.output
    assert sorted(f.name for f in out.iterdir()) == ["a.png", "in.mp4"]
    assert times(out / "in.mp4") == times(source)
    one = [str(source), "-o", str(tmp_path / "sheet.mkv"), *options, "--compare"]
    result = CliRunner().invoke(main, ["restore", *one])
    assert result.exit_code == 0, result.output
    assert frames(tmp_path / "sheet.mkv")[0].shape == (HEIGHT, WIDTH + 8 + WIDTH, 3)
