"""Videos by PyAV: frames out of files, frames into files, and packets joined to one file.

Frames are H×W×3 RGB, upright: uint8, or uint16 where the video has more than 8 bits a channel.
"""

import os
from collections.abc import Generator, Iterable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from fractions import Fraction
from heapq import merge
from io import BytesIO
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from colora.devices.errors import VideoError, missing_extra
from colora.runtime.weights import Array

if TYPE_CHECKING:
    import av.container
    from av.video.codeccontext import VideoCodecContext
    from av.video.stream import VideoStream

FORMATS = {".mp4": "mp4", ".m4v": "mp4", ".mov": "mov", ".mkv": "matroska"}
"""Suffix → container that can be written: those that keep every frame's time."""
VIDEO_SUFFIXES = (*FORMATS, ".avi", ".webm", ".ts", ".mpg", ".mpeg")
"""What `colora restore` takes for a video."""
ENCODERS = {
    "libx264": {"crf": "18", "preset": "veryfast", "bf": "0"},
    "mpeg4": {"qscale": "2", "flags": "+qscale"},
}
"""Encoder → options; the first that PyAV has is used. Without B-frames packets are in the order of time,
so that segments join whatever the distances of their frames."""
MPEG4_TICKS = 65535
"""MPEG-4 Part 2 stores the ticks of a second in 16 bits."""


@dataclass(frozen=True)
class VideoFacts:
    """What a video's restoration has to keep."""

    frames: int
    """As the file says, or estimated from its duration; 0: unknown."""
    begin: int
    """Time of the first frame, in units of time_base."""
    time_base: Fraction
    """Seconds."""
    rate: Fraction
    """Mean frames a second."""
    pixel_format: str
    aspect: Fraction
    """Width of a pixel over its height, upright."""
    colours: tuple[int, int, int, int]
    """Matrix, range, primaries and transfer, as FFmpeg numbers them."""


@dataclass(frozen=True)
class Frame:
    image: Array
    time: int
    """Since the first frame, in units of VideoFacts.time_base."""


def probe(path: str | os.PathLike[str]) -> VideoFacts:
    """Facts of the first video stream of a file. Raises: VideoError naming file and reason; MissingExtra."""
    with _opened(path) as (container, stream):
        first = next(container.decode(stream), None)
        if first is None:
            raise VideoError(f"{path} holds no frames")
        rate = stream.average_rate or stream.guessed_rate or Fraction(25)
        frames = stream.frames
        if not frames and container.duration:
            frames = round(container.duration * rate / 1_000_000)
        context = stream.codec_context
        aspect = Fraction(stream.sample_aspect_ratio or 1)
        return VideoFacts(
            frames=frames,
            begin=first.pts or 0,
            time_base=Fraction(stream.time_base or 1 / rate),
            rate=Fraction(rate),
            pixel_format=first.format.name,
            aspect=1 / aspect if first.rotation % 180 else aspect,
            colours=(context.colorspace, context.color_range, context.color_primaries, context.color_trc),
        )


def decode(path: str | os.PathLike[str], facts: VideoFacts, skip: int = 0) -> Generator[Frame, None, None]:
    """The frames of a video in the order they are shown, without the first `skip`.

    Times are the video's own; where it has none, or goes back, the mean rate fills in.
    Raises: VideoError naming the file and the number of the frame.
    """
    step = max(round(1 / (facts.rate * facts.time_base)), 1)
    time = -step
    with _opened(path) as (container, stream):
        for number, frame in enumerate(container.decode(stream)):
            own = time + step if frame.pts is None else frame.pts - facts.begin
            time = own if own > time else time + 1
            if number >= skip:
                depth = max(component.bits for component in frame.format.components)
                image = frame.to_ndarray(format="rgb24" if depth <= 8 else "rgb48le")
                yield Frame(np.rot90(image, frame.rotation // 90), time)


def encode(frames: Iterable[Frame], path: Path, kind: str, facts: VideoFacts) -> None:
    """Write frames of one size as the video stream of a new file of container `kind`.

    The pixel format is the video's where the encoder and the size allow it, else yuv420p or yuv444p.
    Raises: OSError of the disk; VideoError if the encoder refuses; what `frames` raises.
    """
    av = _av()
    with path.open("wb") as file, av.open(file, "w", format=kind) as container:
        stream: VideoStream | None = None
        for frame in frames:
            height, width = frame.image.shape[:2]
            if stream is None:
                stream = _video_stream(container, facts, width, height)
            if (width, height) != (stream.width, stream.height):
                raise VideoError(
                    f"a frame is {width}×{height} and those before it {stream.width}×{stream.height}: "
                    "cut the video where its size changes"
                )
            deep = frame.image.dtype == np.uint16
            rgb = av.VideoFrame.from_ndarray(
                np.ascontiguousarray(frame.image), format="rgb48le" if deep else "rgb24"
            )
            picture = rgb.reformat(
                format=stream.pix_fmt, dst_colorspace=facts.colours[0], dst_color_range=facts.colours[1]
            )
            picture.pts, picture.time_base = frame.time, facts.time_base
            container.mux(stream.encode(picture))
        if stream is not None:
            container.mux(stream.encode(None))


def join(
    segments: Iterable[Path], path: Path, kind: str, facts: VideoFacts, sound: str | os.PathLike[str]
) -> None:
    """One file of the segments' packets, in their order, and the audio packets of `sound` as they are.

    segments: of `encode`, at least one; their times count from facts.begin.
    Raises: OSError of the disk; VideoError if the container does not take the audio.
    """
    av = _av()
    files = list(segments)
    with ExitStack() as stack:
        given = stack.enter_context(av.open(str(sound)))
        first = stack.enter_context(av.open(str(files[0])))
        out = stack.enter_context(av.open(stack.enter_context(path.open("wb")), "w", format=kind))
        video = out.add_stream_from_template(first.streams.video[0])
        tracks = {s.index: out.add_stream_from_template(s) for s in given.streams.audio}

        def pictures() -> Iterator[Any]:
            for file in files:
                with av.open(str(file)) as segment:
                    for packet in segment.demux(video=0):
                        if packet.size:  # the last has none: the end
                            offset = round(facts.begin * facts.time_base / packet.time_base)
                            # no B-frames, so dts is pts; FFmpeg finds no dts in a NUT file of 7 frames
                            packet.pts = packet.dts = packet.pts + offset
                            packet.stream = video
                            yield packet

        def audio() -> Iterator[Any]:
            for packet in given.demux(list(given.streams.audio)) if tracks else ():
                if packet.dts is not None:
                    packet.stream = tracks[packet.stream.index]
                    yield packet

        for packet in merge(pictures(), audio(), key=lambda p: p.dts * p.time_base):
            out.mux(packet)


def check_audio(path: str | os.PathLike[str], kind: str) -> None:
    """Try a video's audio streams in a container. Raises: VideoError if it does not take one."""
    av = _av()
    with av.open(str(path)) as given:
        for stream in given.streams.audio:
            try:
                with av.open(BytesIO(), "w", format=kind) as out:
                    out.add_stream_from_template(stream)
                    out.start_encoding()
            except (av.FFmpegError, ValueError) as e:
                raise VideoError(
                    f"{path} has {stream.codec_context.name} audio, which {kind} does not take: "
                    "convert it, or name the result .mkv"
                ) from e


@contextmanager
def _opened(path: str | os.PathLike[str]) -> Iterator[tuple["av.container.InputContainer", "VideoStream"]]:
    """A file and its first video stream, FFmpeg's errors turned into ours."""
    av = _av()
    if not Path(path).is_file():
        raise VideoError(f"{path}: no such file")
    try:
        with av.open(str(path)) as container:
            if not container.streams.video:
                raise VideoError(f"{path} holds no video stream")
            yield container, container.streams.video[0]
    except av.FFmpegError as e:
        raise VideoError(f"{path} can't be read as a video: {e}") from e


def _video_stream(container: Any, facts: VideoFacts, width: int, height: int) -> "VideoStream":
    av = _av()
    name = next(name for name in ENCODERS if name in av.codecs_available)
    stream: VideoStream = container.add_stream(name, rate=facts.rate, options=ENCODERS[name])
    formats = [f.name for f in av.Codec(name, "w").video_formats or ()]
    pixel_format = facts.pixel_format if facts.pixel_format in formats else "yuv420p"
    sampled = av.VideoFormat(pixel_format, width, height)
    if (width % 2 and sampled.chroma_width(2) == 1) or (height % 2 and sampled.chroma_height(2) == 1):
        pixel_format = "yuv444p"
    context: VideoCodecContext = stream.codec_context
    context.width, context.height, context.pix_fmt = width, height, pixel_format
    coarse = name == "mpeg4" and facts.time_base.denominator > MPEG4_TICKS
    context.time_base = Fraction(1, MPEG4_TICKS) if coarse else facts.time_base
    context.sample_aspect_ratio = facts.aspect
    context.colorspace, context.color_range, context.color_primaries, context.color_trc = facts.colours
    return stream


def av_error() -> type[Exception]:
    """FFmpeg's errors, to be caught."""
    error: type[Exception] = _av().FFmpegError
    return error


def _av() -> Any:
    try:
        import av
    except ImportError as e:
        raise missing_extra("av", "video", "restoring videos") from e
    return av
