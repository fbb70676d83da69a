"""Pictures and videos restored from file to file, one after another, until all are done or a stop is asked for."""

import hashlib
import json
from collections.abc import Iterable
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from threading import Event

import click
import numpy as np
from colora.devices.errors import ImageError, VideoError
from colora.runtime.bands import restore_bands, why_whole
from colora.runtime.bundle import MANIFEST
from colora.runtime.choice import AUTO, NOTHING
from colora.runtime.choice_file import choose_file, leave_alone
from colora.runtime.image import WHITE, icc_profile, read_image, write_image
from colora.runtime.progress import progress
from colora.runtime.session import Session
from colora.runtime.video import restore_video
from colora.runtime.video_io import VIDEO_SUFFIXES, probe
from colora.runtime.weights import Array

GAP = 8
"""White columns between the two pictures of a sheet."""


@dataclass
class Outcome:
    """What became of a list of files."""

    done: list[Path] = field(default_factory=list)
    failed: list[tuple[Path, str]] = field(default_factory=list)
    """With the reason."""
    left: list[Path] = field(default_factory=list)
    """Not begun, or a video not finished, when a stop was asked for."""


class _Stopped(Exception):
    """Between two frames of a video."""


def restore_files(
    session: Session,
    pairs: Iterable[tuple[Path, Path]],
    task: str,
    strength: float,
    compare: bool,
    stop: Event | None = None,
) -> Outcome:
    """Restore each picture or video to its place.

    Only what is wrong with one of them (ImageError, VideoError) is passed over; a task or backend that fails raises.
    stop: once it is set the picture in work, or the frame of a video, is finished, and no other begun.
    """
    stop, out, pairs = stop or Event(), Outcome(), list(pairs)
    sizes = [_frames(source) for source, _ in pairs]
    with progress(sum(sizes)) as advance:
        for (source, target), size in zip(pairs, sizes, strict=True):
            if stop.is_set():
                out.left.append(source)
                continue
            done = 0

            def count(frames: int, name: str = source.name) -> None:
                nonlocal done
                done += frames
                advance(name, frames)

            try:
                target.parent.mkdir(parents=True, exist_ok=True)
                chosen = task
                if task == AUTO:
                    choice = choose_file(session, source)
                    click.echo(f"{source.name}: {choice}")
                    chosen = choice.task
                if chosen == NOTHING and not compare and leave_alone(source, target):
                    pass
                elif is_video(source):
                    restored = partial(_until, stop, session, chosen, strength, compare)
                    recipe = _recipe(session, chosen, strength, compare)
                    restore_video(restored, source, target, recipe, advance=count)
                else:
                    restore_picture(session, source, target, chosen, strength, compare)
                out.done.append(source)
            except _Stopped:
                out.left.append(source)
                continue
            except (ImageError, VideoError) as e:
                out.failed.append((source, str(e)))
            except OSError as e:
                out.failed.append((source, f"{target} was not written: {e}"))
            count(size - done)  # estimates were estimates, and failures are over too
    return out


def restore_picture(
    session: Session, source: Path, target: Path, task: str, strength: float, compare: bool
) -> None:
    """Restore one picture from file to file: large TIFF in row bands, all else decoded whole.

    Raises: ImageError; OSError; as `Session.restore`.
    """
    why = (
        "so that both fit side by side"
        if compare
        else why_whole(source, target, session.bundle.manifest.tile)
    )
    if not why:
        restore_bands(session, source, target, task, strength)
        return
    picture = read_image(source, why_whole=why)
    write_image(target, restored(session, task, strength, compare, picture), icc_profile(source))


def restored(session: Session, task: str, strength: float, compare: bool, picture: Array) -> Array:
    """A picture's restoration. compare: beside the picture."""
    result = session.restore(picture, task, strength)
    return sheet(picture, result) if compare else result


def sheet(before: Array, after: Array) -> Array:
    """Two H×W×3 or H×W×4 pictures of one dtype side by side, with a white gap between."""
    gap = np.full((len(before), GAP, before.shape[2]), WHITE[before.dtype.name], before.dtype)
    return np.concatenate([before, gap, after], axis=1)


def is_video(source: Path) -> bool:
    """By its suffix."""
    return source.suffix.lower() in VIDEO_SUFFIXES


def _until(stop: Event, session: Session, task: str, strength: float, compare: bool, picture: Array) -> Array:
    """The same as `restored`. Raises: _Stopped."""
    if stop.is_set():
        raise _Stopped
    return restored(session, task, strength, compare, picture)


def _frames(source: Path) -> int:
    """Units of progress: about the frames of a video, 1 for a picture and for what will be reported."""
    try:
        return max(probe(source).frames, 1) if is_video(source) else 1
    except VideoError:
        return 1


def _recipe(session: Session, task: str, strength: float, compare: bool) -> str:
    """What a video's frames depend on besides the video: a run is not gone on with where this changed."""
    bundle = session.bundle
    files = (bundle.path / MANIFEST, bundle.task_file(task))
    hashes = [hashlib.sha256(file.read_bytes()).hexdigest() for file in files if file.is_file()]
    return json.dumps({"task": task, "strength": strength, "compare": compare, "sha256": hashes})
