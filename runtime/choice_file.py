"""`task="auto"` for files: one choice for a picture, and one for a whole video, from its first frames."""

import shutil
from itertools import islice
from pathlib import Path

from colora.runtime.atomic import atomic_file
from colora.runtime.bands import spread_rows, why_whole
from colora.runtime.choice import Choice
from colora.runtime.image import read_image
from colora.runtime.session import Session
from colora.runtime.video_io import VIDEO_SUFFIXES, decode, probe

FRAMES = 8
"""Of a video or camera, from the first one on. What comes later is not looked at: a task that changed with the
scenes would flicker, and a resumed run could not tell what it had chosen."""


def choose_file(session: Session, source: Path) -> Choice:
    """What a picture or video needs. Large TIFF is read in row bands, as it would be restored.

    Raises: ImageError, VideoError naming the file and the reason; MissingExtra.
    """
    if source.suffix.lower() in VIDEO_SUFFIXES:
        frames = islice(decode(source, probe(source)), FRAMES)
        return session.choose(*(frame.image for frame in frames))
    if not why_whole(source, source, session.bundle.manifest.tile):
        return session.choose(spread_rows(source))
    return session.choose(read_image(source))


def leave_alone(source: Path, target: Path) -> bool:
    """Copy a file that needs nothing, whole or not at all; False where another format is asked for.

    Nothing is lost by writing JPEG or video anew. Raises: OSError.
    """
    if source.suffix.lower() != target.suffix.lower():
        return False
    with atomic_file(target) as partial:
        shutil.copyfile(source, partial)
    return True
