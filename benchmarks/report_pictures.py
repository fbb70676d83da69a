"""Before and after: one picture of each task, restored by the bundle, small enough to live in a report."""

from base64 import b64encode
from dataclasses import replace
from io import BytesIO
from pathlib import Path

from colora.benchmarks.report import Picture
from colora.benchmarks.report_pairs import cases
from colora.benchmarks.settings import Settings
from colora.devices.errors import missing_extra
from colora.runtime.quality import psnr
from colora.runtime.session import load
from colora.runtime.weights import Array

SIDE = 400
"""In px, at most: of the middle of a picture."""
QUALITY = 90
"""Of the JPEG shown; PSNR is of the picture itself."""


def pictures(bundle: Path, settings: Settings) -> tuple[Picture, ...]:
    """The first picture of each case. Raises: what sessions and `cases` raise; MissingExtra without Pillow."""
    found = []
    with load(bundle, "ort", threads=settings.threads) as session:
        tasks = settings.tasks or session.tasks
        for case in cases(tasks, replace(settings, size=SIDE, pictures=1)):
            pair = case.pairs[0]
            restored = session.restore(pair.degraded, case.task)
            height, width = pair.clean.shape[:2]
            before, after = (psnr(picture, pair.clean) for picture in (pair.degraded, restored))
            coded = (jpeg(picture) for picture in (pair.degraded, restored))
            found.append(Picture(case.task, pair.told, width, height, before, after, *coded))
    return tuple(found)


def jpeg(picture: Array) -> str:
    """Base64 of a file. picture: H×W×3 RGB uint8."""
    try:
        from PIL import Image
    except ImportError as e:
        raise missing_extra("PIL", "image", "a picture in a report") from e
    file = BytesIO()
    Image.fromarray(picture).save(file, "JPEG", quality=QUALITY, subsampling=0)
    return b64encode(file.getvalue()).decode()
