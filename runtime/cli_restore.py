"""`colora restore`: pictures and videos in, restored ones out."""

import hashlib
import json
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from functools import partial
from itertools import chain, islice
from pathlib import Path

import click
import numpy as np
from colora.devices.errors import ImageError, VideoError, missing_extra
from colora.runtime.bands import restore_bands, why_whole
from colora.runtime.bundle import MANIFEST
from colora.runtime.camera import camera_frames, record, stopped_by_signals
from colora.runtime.choice import AUTO, NOTHING
from colora.runtime.choice_file import FRAMES, choose_file, leave_alone
from colora.runtime.default import find_bundle
from colora.runtime.image import SUFFIXES, WHITE, read_image, write_image
from colora.runtime.session import Session, load
from colora.runtime.video import restore_video
from colora.runtime.video_io import FORMATS, VIDEO_SUFFIXES, probe
from colora.runtime.weights import Array

GAP = 8
"""White columns between the two pictures of a sheet."""


@click.command("restore")
@click.argument("sources", nargs=-1, type=click.Path(path_type=Path))
@click.option(
    "--task", required=True, help="What to remove, or auto; `colora inspect BUNDLE` lists the tasks."
)
@click.option(
    "-o", "--output", required=True, type=click.Path(path_type=Path), help="File, or folder for several."
)
@click.option("--camera", help="Number of a camera, or its address (rtsp://…), instead of SOURCES.")
@click.option("--frames", type=click.IntRange(1), help="Of the camera, to write; default: until Ctrl-C.")
@click.option(
    "--bundle", type=click.Path(path_type=Path), help="Default: $COLORA_BUNDLE, else ./colora-bundle."
)
@click.option("--strength", default=1.0, show_default=True, help="0: backbone alone, 1: as trained.")
@click.option("--compare", is_flag=True, help="Write before and after side by side.")
@click.option("--backend", default="auto", show_default=True)
@click.option("--policy", default="auto", show_default=True, help="refit, merged or auto.")
@click.option(
    "--trusted-key",
    type=click.Path(path_type=Path),
    help="Public key (PEM) that must have signed the bundle.",
)
@click.option("--threads", default=0, show_default=True, help="Of one run; 0: the backend's choice.")
def command(
    sources: tuple[Path, ...],
    task: str,
    output: Path,
    camera: str | None,
    frames: int | None,
    bundle: Path | None,
    strength: float,
    compare: bool,
    backend: str,
    policy: str,
    trusted_key: Path | None,
    threads: int,
) -> None:
    """Restore SOURCES: pictures, videos, or folders of pictures.

    What can't be restored is reported and the others are still done; the exit code is then 1. A video that
    was cut short goes on where it was when the same command is repeated. A camera is recorded to a video.
    With --task auto each picture's task is chosen from the picture, a video's from its first frames, and told
    with the confidence in it; what needs nothing is copied.
    """
    if (camera is None) == (not sources):
        raise click.UsageError("name pictures or videos, or a --camera, not both")
    if frames is not None and camera is None:
        raise click.UsageError("--frames goes with --camera")
    with load(find_bundle(bundle), backend, policy, threads=threads, trusted_key=trusted_key) as session:
        if camera is not None:
            record_camera(session, camera, output, frames, task, strength, compare)
            return
        pairs = targets(sources, output)
        failed = restore_files(session, pairs, task, strength, compare)
        click.echo(f"{len(pairs) - len(failed)} of {len(pairs)} restored, in {output}")
        if session.timings is not None:
            click.echo(
                f"the last one: network {session.timings.run_ms:.0f} ms on {session.describe().backend.device}"
            )
    if failed:
        click.echo(f"colora: {len(failed)} not restored:", err=True)
        for source, reason in failed:
            click.echo(f"  {source}: {reason}", err=True)
        raise SystemExit(1)


def targets(sources: Iterable[Path], output: Path) -> list[tuple[Path, Path]]:
    """(picture, where its result goes) for files and folders.

    One file goes to `output`, or into it if that is a folder; folders and several files go into the
    folder `output`, each under its own name. Raises: ImageError for an empty folder and for two results
    of one name.
    """
    sources = list(sources)
    files: list[Path] = []
    for source in sources:
        found = (
            sorted(f for f in source.iterdir() if f.suffix.lower() in SUFFIXES)
            if source.is_dir()
            else [source]
        )
        if not found:
            raise ImageError(f"{source} holds no pictures; expected {', '.join(SUFFIXES)}")
        files += found
    into_folder = len(sources) > 1 or sources[0].is_dir() or output.is_dir()
    if into_folder and output.suffix.lower() in (*SUFFIXES, *FORMATS) and not output.is_dir():
        raise ImageError(f"{len(files)} pictures can't go into the one file {output}: name a folder")
    pairs = [(file, output / file.name if into_folder else output) for file in files]
    seen: set[Path] = set()
    for _, target in pairs:
        if target in seen:
            raise ImageError(f"two pictures would both become {target}: restore them into two folders")
        if target.exists() and any(file.exists() and target.samefile(file) for file in files):
            raise ImageError(f"{target} would overwrite a picture to be restored: name another place")
        seen.add(target)
    return pairs


def restore_files(
    session: Session, pairs: Iterable[tuple[Path, Path]], task: str, strength: float, compare: bool
) -> list[tuple[Path, str]]:
    """Restore each picture or video to its place; returns those that failed, with the reason.

    Only what is wrong with one of them (ImageError, VideoError) is passed over; a task or backend that
    fails raises.
    """
    failed: list[tuple[Path, str]] = []
    pairs = list(pairs)
    sizes = [_frames(source) for source, _ in pairs]
    with _progress(sum(sizes)) as advance:
        for (source, target), size in zip(pairs, sizes, strict=True):
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
                elif _is_video(source):
                    restored = partial(_restored, session, chosen, strength, compare)
                    recipe = _recipe(session, chosen, strength, compare)
                    restore_video(restored, source, target, recipe, advance=count)
                else:
                    restore_picture(session, source, target, chosen, strength, compare)
            except (ImageError, VideoError) as e:
                failed.append((source, str(e)))
            except OSError as e:
                failed.append((source, f"{target} was not written: {e}"))
            count(size - done)  # estimates were estimates, and failures are over too
    return failed


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
    write_image(target, _restored(session, task, strength, compare, picture))


def record_camera(
    session: Session,
    camera: str,
    output: Path,
    frames: int | None,
    task: str,
    strength: float,
    compare: bool,
) -> None:
    """Restore a camera's frames into a video until `frames` are written, SIGINT or SIGTERM."""
    with stopped_by_signals() as stop, _progress(frames) as advance:
        images: Iterator[Array] = camera_frames(camera, wait=stop.wait)
        if task == AUTO:
            first = list(islice(images, FRAMES))
            choice = session.choose(*first)
            click.echo(f"camera: {choice}")
            images, task = chain(first, images), choice.task
        restored = partial(_restored, session, task, strength, compare)
        recording = record(
            restored,
            images,
            output,
            frames,
            stop=stop,
            advance=partial(advance, f"camera {output.name}"),
        )
    click.echo(f"{recording.written} frames restored, {recording.dropped} dropped, in {output}")


def sheet(before: Array, after: Array) -> Array:
    """Two H×W×3 pictures of one dtype side by side, with a white gap between."""
    gap = np.full((len(before), GAP, 3), WHITE[before.dtype.name], before.dtype)
    return np.concatenate([before, gap, after], axis=1)


def _restored(session: Session, task: str, strength: float, compare: bool, picture: Array) -> Array:
    result = session.restore(picture, task, strength)
    return sheet(picture, result) if compare else result


def _is_video(source: Path) -> bool:
    return source.suffix.lower() in VIDEO_SUFFIXES


def _frames(source: Path) -> int:
    """Units of progress: about the frames of a video, 1 for a picture and for what will be reported."""
    try:
        return max(probe(source).frames, 1) if _is_video(source) else 1
    except VideoError:
        return 1


def _recipe(session: Session, task: str, strength: float, compare: bool) -> str:
    """What a video's frames depend on besides the video: a run is not gone on with where this changed."""
    bundle = session.bundle
    files = (bundle.path / MANIFEST, bundle.task_file(task))
    hashes = [hashlib.sha256(file.read_bytes()).hexdigest() for file in files if file.is_file()]
    return json.dumps({"task": task, "strength": strength, "compare": compare, "sha256": hashes})


@contextmanager
def _progress(total: int | None) -> Iterator[Callable[[str, int], None]]:
    """A progress bar on stderr; yields what to call with a name and the pictures or frames done of it."""
    try:
        from rich.console import Console
        from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn
    except ImportError as e:
        raise missing_extra("rich", "image", "colora restore") from e
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    with Progress(*columns, console=Console(stderr=True)) as bar:
        line = bar.add_task("restoring", total=total)
        yield lambda name, done: bar.update(line, advance=done, description=name)
