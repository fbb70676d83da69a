"""A video file restored to a video file: decoding, restoring and encoding overlap, and a killed run goes on.

Frames are written in segments of a fixed number, each whole or not there, in `<target>.parts/`; at the end
their packets and the untouched audio become the target in one step. A run that finds segments of the
same job decodes past their frames and goes on behind them.
"""

import json
import os
import shutil
from collections.abc import Callable, Generator, Iterable, Iterator
from contextlib import closing
from itertools import chain, islice
from pathlib import Path

from colora.devices.errors import VideoError
from colora.runtime.atomic import atomic_file, write_text
from colora.runtime.prefetch import prefetch
from colora.runtime.video_io import (
    FORMATS,
    Frame,
    VideoFacts,
    av_error,
    check_audio,
    decode,
    encode,
    join,
    probe,
)
from colora.runtime.weights import Array

SEGMENT_FRAMES = 120
"""Frames that a kill can cost, at most, besides those in the queues."""
SEGMENT_KIND = "nut"
"""FFmpeg's own container: it keeps any time base (Matroska rounds to milliseconds)."""
JOB = "job.json"

Restore = Callable[[Array], Array]
"""H×W×3 RGB → a picture of the same dtype; all results of one video have one size."""


def restore_video(
    restore: Restore,
    source: str | os.PathLike[str],
    target: str | os.PathLike[str],
    recipe: str = "",
    *,
    segment_frames: int = SEGMENT_FRAMES,
    advance: Callable[[int], None] = lambda frames: None,
) -> None:
    """Restore every frame of a video; times, pixel format, colours and audio are kept, subtitles are not.

    restore: called in one thread, in the order of frames: uint8, or uint16 for videos of more than 8 bits.
    target: .mp4, .m4v, .mov or .mkv; replaced only when all is done.
    recipe: what `restore` does, in any words: segments made by another recipe, or of a source changed
    since, are thrown away.
    advance: called with the number of frames that were done.
    Raises: VideoError, after which what is done stays in `<target>.parts` and a repeated call goes on;
    MissingExtra; what `restore` raises.
    """
    source, target = Path(source), Path(target)
    kind = container_of(target)
    facts = probe(source)
    check_audio(source, kind)
    parts = target.with_name(f"{target.name}.parts")
    try:
        segments = _resume(parts, _job(source, recipe, segment_frames))
        advance(len(segments) * segment_frames)
        frames = decode(source, facts, skip=len(segments) * segment_frames)
        for segment in _restored_segments(
            restore, frames, parts, len(segments), segment_frames, facts, advance
        ):
            segments.append(segment)
        with atomic_file(target) as partial:
            join(segments, partial, kind, facts, source)
        shutil.rmtree(parts)
    except (OSError, av_error()) as e:
        raise VideoError(
            f"{target} was not written: {e}; what is done stays in {parts}: repeat the command to go on"
        ) from e


def container_of(target: Path) -> str:
    """FFmpeg's name of the container that a file's suffix means. Raises: VideoError."""
    kind = FORMATS.get(target.suffix.lower())
    if kind is None:
        raise VideoError(f"{target}: can't write {target.suffix!r}; expected one of {', '.join(FORMATS)}")
    return kind


def _restored_segments(
    restore: Restore,
    frames: Generator[Frame, None, None],
    parts: Path,
    begin: int,
    segment_frames: int,
    facts: VideoFacts,
    advance: Callable[[int], None],
) -> Iterator[Path]:
    """Segments from number `begin` on, each when it is on the disk. Encoding runs in the caller's thread."""

    def counted(frames: Iterable[Frame]) -> Iterator[Frame]:
        for frame in frames:
            yield frame
            advance(1)

    with closing(prefetch(frames)) as decoded:
        results = prefetch(Frame(restore(frame.image), frame.time) for frame in decoded)
        with closing(results) as restored:
            while (first := next(restored, None)) is not None:
                segment = _segment(parts, begin)
                with atomic_file(segment) as partial:
                    rest = islice(restored, segment_frames - 1)
                    encode(counted(chain([first], rest)), partial, SEGMENT_KIND, facts)
                yield segment
                begin += 1


def _resume(parts: Path, job: str) -> list[Path]:
    """The finished segments of this job, from the first without a gap; an empty folder if there are none."""
    note = parts / JOB
    if not note.is_file() or note.read_text(encoding="utf-8") != job:
        shutil.rmtree(parts, ignore_errors=True)
        parts.mkdir(parents=True)
        write_text(note, job)
    segments: list[Path] = []
    while (segment := _segment(parts, len(segments))).is_file():
        segments.append(segment)
    return segments


def _segment(parts: Path, number: int) -> Path:
    return parts / f"{number:06}.{SEGMENT_KIND}"


def _job(source: Path, recipe: str, segment_frames: int) -> str:
    """What the segments depend on, as text to compare."""
    state = source.stat()
    facts = {
        "source": str(source.resolve()),
        "bytes": state.st_size,
        "modified_ns": state.st_mtime_ns,
        "segment_frames": segment_frames,
        "recipe": recipe,
    }
    return json.dumps(facts, indent=1)
