"""`colora restore`: pictures and videos in, restored ones out."""

from collections.abc import Iterable, Iterator
from functools import partial
from itertools import chain, islice
from pathlib import Path

import click
from colora.devices.errors import ImageError
from colora.runtime.byte_size import byte_size
from colora.runtime.camera import camera_frames, record, stopped_by_signals
from colora.runtime.choice import AUTO
from colora.runtime.choice_file import FRAMES
from colora.runtime.default import find_bundle
from colora.runtime.image import SUFFIXES
from colora.runtime.progress import progress
from colora.runtime.restore_files import restore_files, restored
from colora.runtime.session import Session, load
from colora.runtime.video_io import FORMATS
from colora.runtime.weights import Array

STOPPED = 3
"""Exit code after SIGINT or SIGTERM, with files left."""


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
@click.option(
    "--memory-budget",
    type=byte_size,
    metavar="SIZE",
    help="For graphs, activations and adapters, such as 2.4GB; estimated. Default: one graph.",
)
@click.option(
    "--skip-existing", is_flag=True, help="Leave out what is there already, after a run was stopped."
)
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
    memory_budget: int | None,
    skip_existing: bool,
) -> None:
    """Restore SOURCES: pictures, videos, or folders of pictures.

    What can't be restored is reported and the others are still done; the exit code is then 1. After Ctrl-C or
    SIGTERM the picture or frame in work is finished and the exit code is 3; results are whole or not there, so
    the same command with --skip-existing goes on. A video that was cut short goes on where it was when the same
    command is repeated. A camera is recorded to a video.
    With --task auto each picture's task is chosen from the picture, a video's from its first frames, and told
    with the confidence in it; what needs nothing is copied.
    """
    if (camera is None) == (not sources):
        raise click.UsageError("name pictures or videos, or a --camera, not both")
    if frames is not None and camera is None:
        raise click.UsageError("--frames goes with --camera")
    with load(
        find_bundle(bundle), backend, policy, memory_budget, threads=threads, trusted_key=trusted_key
    ) as session:
        if camera is not None:
            record_camera(session, camera, output, frames, task, strength, compare)
            return
        pairs = targets(sources, output)
        if skip_existing:
            pairs = [(source, target) for source, target in pairs if not target.exists()]
        with stopped_by_signals() as stop:
            out = restore_files(session, pairs, task, strength, compare, stop)
        click.echo(f"{len(out.done)} of {len(pairs)} restored, in {output}")
        if session.timings is not None:
            click.echo(
                f"the last one: network {session.timings.run_ms:.0f} ms on {session.describe().backend.device}"
            )
    if out.failed:
        click.echo(f"colora: {len(out.failed)} not restored:", err=True)
        for source, reason in out.failed:
            click.echo(f"  {source}: {reason}", err=True)
    if out.left:
        click.echo(
            f"colora: stopped; {len(out.left)} left, from {out.left[0]} on: "
            "the same command with --skip-existing goes on",
            err=True,
        )
    if out.failed or out.left:
        raise SystemExit(STOPPED if out.left else 1)


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
    taken = {_place(file) for file in files if file.exists()}
    seen: set[Path] = set()
    for _, target in pairs:
        if target in seen:
            raise ImageError(f"two pictures would both become {target}: restore them into two folders")
        if target.exists() and _place(target) in taken:
            raise ImageError(f"{target} would overwrite a picture to be restored: name another place")
        seen.add(target)
    return pairs


def _place(file: Path) -> tuple[int, int]:
    """What two names of one file share. Raises: OSError."""
    status = file.stat()
    return status.st_dev, status.st_ino


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
    with stopped_by_signals() as stop, progress(frames) as advance:
        images: Iterator[Array] = camera_frames(camera, wait=stop.wait)
        if task == AUTO:
            first = list(islice(images, FRAMES))
            choice = session.choose(*first)
            click.echo(f"camera: {choice}")
            images, task = chain(first, images), choice.task
        recording = record(
            partial(restored, session, task, strength, compare),
            images,
            output,
            frames,
            stop=stop,
            advance=partial(advance, f"camera {output.name}"),
        )
    click.echo(f"{recording.written} frames restored, {recording.dropped} dropped, in {output}")
