"""Pictures in and out: H×W×3 RGB or H×W×4 with alpha, uint8, uint16, or float16 or float32 in [0, 1].

Whatever can't be turned into that without guessing is refused with a reason. Pillow is needed for files
only.
"""

import os
from io import BufferedReader, FileIO, UnsupportedOperation
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from colora.devices.errors import ImageError, missing_extra
from colora.runtime.atomic import atomic_file
from colora.runtime.image16 import SUFFIXES_16, decode16, deep_mode, misread, write16
from colora.runtime.weights import Array

if TYPE_CHECKING:
    from PIL import Image

MAX_PIXELS = 80_000_000
"""Larger files are refused before they are decoded; Pillow itself warns from 89 million."""
BANDS = "`colora restore` goes from TIFF to TIFF in row bands"
SUFFIXES = (".png", ".jpg", ".jpeg", ".webp", ".bmp", ".tif", ".tiff")
"""What the commands take from a folder and can write."""
SUFFIXES_ALPHA = (".png", ".webp", ".tif", ".tiff")
"""Formats that hold an alpha channel."""
LONGEST = {".webp": 16383, ".jpg": 65500, ".jpeg": 65500}
"""Pixels a side that a format holds, as libwebp and libjpeg have it; the others hold more than memory does."""
WHITE = {"uint8": 255, "uint16": 65535, "float16": 1, "float32": 1}
"""dtype → its white; black is 0."""


def as_image(image: Any) -> Array:
    """H×W×3 RGB, or H×W×4 where there is an alpha channel, of an array, a path or a `PIL.Image`.

    Arrays: uint8, uint16, or float16 or float32 in [0, 1], and come as such; H×W and H×W×1 are grey, H×W×2 grey
    and alpha: grey is repeated. The result may share memory with an array given. Files and Pillow images: see
    `read_image`.
    Raises: ImageError saying what was got and what to do; MissingExtra for a path where Pillow is not
    installed.
    """
    if isinstance(image, str | os.PathLike):
        return read_image(image)
    if isinstance(image, np.ndarray):
        return _check(image, "image")
    if type(image).__module__.startswith("PIL."):
        return _from_pillow(image, None)
    raise ImageError(f"image is {type(image).__name__}; expected an array, a path or a PIL.Image")


def read_image(path: str | os.PathLike[str], max_pixels: int = MAX_PIXELS, why_whole: str = BANDS) -> Array:
    """H×W×3 RGB or H×W×4 of a file, uint8, or uint16 where it has 16 bits a channel; of an animation the first frame.

    Alpha is not multiplied into the colours. EXIF orientation is applied. 16-bit colour needs OpenCV.
    max_pixels: larger pictures are refused before they are decoded; why_whole: what to say then of row bands.
    Raises: ImageError naming the file and the reason; MissingExtra.
    """
    try:
        from PIL import Image, UnidentifiedImageError
    except ImportError as e:
        raise missing_extra("PIL", "image", "reading pictures from files") from e
    if not Path(path).is_file():
        raise ImageError(f"{path}: no such file")
    try:
        with BufferedReader(_Unmapped(path)) as file, Image.open(file) as opened:
            if opened.width * opened.height > max_pixels:
                raise ImageError(
                    f"{path} has {opened.width}×{opened.height} pixels, more than {max_pixels}, and would be "
                    f"decoded whole ({why_whole}): cut it first"
                )
            if opened.format == "PNG":  # has checksums, which Pillow looks at when it is asked to
                with Image.open(path) as checked:
                    checked.verify()
            return _from_pillow(opened, path)
    except (ImageError, MemoryError):
        raise
    except Image.DecompressionBombError as e:
        raise ImageError(f"{path} would be decoded whole ({why_whole}): {e}") from e
    except UnidentifiedImageError as e:
        raise ImageError(f"{path} can't be read as a picture: of a kind unknown to Pillow, or damaged") from e
    except Exception as e:  # decoders raise whatever a broken file leads them to
        raise ImageError(f"{path} can't be read as a picture: {e}") from e


class _Unmapped(FileIO):
    """A file without a number, which Pillow and libtiff read instead of mapping it.

    Pillow scrambles turned pictures that it maps, and a mapped file that is truncated meanwhile ends the process.
    """

    def fileno(self) -> int:
        raise UnsupportedOperation


def icc_profile(path: str | os.PathLike[str]) -> bytes:
    """ICC profile of a file that `read_image` reads; see `rgb_profile`. Raises: OSError."""
    from PIL import Image

    with Image.open(path) as opened:
        return rgb_profile(opened.info.get("icc_profile"))


def rgb_profile(profile: Any) -> bytes:
    """An ICC profile if it is one of RGB, as results are, else `b""`: of CMYK or grey it would be wrong."""
    return profile if isinstance(profile, bytes) and profile[16:20] == b"RGB " else b""


def write_image(path: str | os.PathLike[str], image: Array, icc: bytes = b"") -> None:
    """Write an array as of `as_image`, whole or not at all; the suffix says the format.

    icc: profile of its colours, written where there are 8 bits a channel, and not in BMP.

    uint16 is kept in PNG and TIFF (colour needs OpenCV); all else is written in 8 bits, rounded. JPEG and
    WebP are written at quality 95. Alpha is kept in PNG, TIFF and WebP; elsewhere it is dropped if it is opaque.
    Raises: ImageError naming the file and the reason; MissingExtra.
    """
    try:
        from PIL import Image
    except ImportError as e:
        raise missing_extra("PIL", "image", "writing pictures to files") from e
    path = Path(path)
    kind = Image.registered_extensions().get(path.suffix.lower())
    if path.suffix.lower() not in SUFFIXES or kind is None:
        raise ImageError(f"{path}: can't write {path.suffix!r}; expected one of {', '.join(SUFFIXES)}")
    image = _check(image, "image")
    if image.shape[2] == 4 and path.suffix.lower() not in SUFFIXES_ALPHA:
        if (image[:, :, 3] < WHITE[image.dtype.name]).any():
            expected = ", ".join(SUFFIXES_ALPHA)
            raise ImageError(f"{path}: {path.suffix} holds no transparency; expected one of {expected}")
        image = image[:, :, :3]
    longest = LONGEST.get(path.suffix.lower())
    if longest and max(image.shape) > longest:
        raise ImageError(
            f"{path}: {path.suffix} holds {longest} pixels a side, and this has {image.shape[1]}×{image.shape[0]}; "
            f"expected one of {', '.join(s for s in SUFFIXES if s not in LONGEST)}"
        )
    try:
        if image.dtype == np.uint16 and path.suffix.lower() in SUFFIXES_16:
            write16(path, image)
            return
        levels = to_dtype(image, np.uint8)
        with atomic_file(path) as partial:
            Image.fromarray(levels).save(partial, format=kind, quality=95, icc_profile=icc)
    except OSError as e:
        raise ImageError(f"{path} was not written: {e}") from e


def to_dtype(image: Array, dtype: Any) -> Array:
    """Image in another dtype of WHITE: clipped, and rounded half to even where that has levels."""
    wanted = np.dtype(dtype)
    if image.dtype == wanted and wanted.kind == "u":
        return image
    unit = image.astype(np.float32)
    unit = unit / np.float32(WHITE[image.dtype.name]) if image.dtype.kind == "u" else np.clip(unit, 0, 1)
    return (np.rint(unit * WHITE[wanted.name]) if wanted.kind == "u" else unit).astype(wanted)


def _check(image: Array, name: str) -> Array:
    if image.ndim == 2:
        image = image[:, :, None]
    if image.ndim != 3 or image.shape[2] not in (1, 2, 3, 4):
        raise ImageError(
            f"{name} has shape {image.shape}; expected H×W×3 (RGB) or H×W (grey), or a channel more with alpha"
        )
    if image.size == 0:
        raise ImageError(f"{name} of shape {image.shape} has no pixels")
    white = WHITE.get(image.dtype.name)
    if white is None or not image.dtype.isnative:
        raise ImageError(
            f"{name} is {image.dtype}; expected uint8, uint16, or float16 or float32 in [0, 1]: use astype"
        )
    if white == 1:
        low, high = float(image.min()), float(image.max())
        if not np.isfinite([low, high]).all():
            raise ImageError(f"{name} holds NaN or infinite values; expected {image.dtype} in [0, 1]")
        if low < 0 or high > 1:
            raise ImageError(
                f"{name} spans [{low:g}, {high:g}]; expected {image.dtype} in [0, 1]: divide or clip it"
            )
    return np.repeat(image, (3, 1)[: image.shape[2]], axis=2) if image.shape[2] < 3 else image


def _from_pillow(picture: "Image.Image", path: str | os.PathLike[str] | None) -> Array:
    from PIL import ImageOps

    name = str(path or "image")
    if misread(picture):
        raise ImageError(
            f"{name} stores each channel apart (PlanarConfiguration 2): store them together (tiffcp -p contig)"
        )
    if deep_mode(picture):
        return _check(decode16(picture, path), name)
    upright = ImageOps.exif_transpose(picture)
    if upright.mode in ("RGBA", "LA", "PA", "RGBa", "La") or "transparency" in upright.info:
        return _check(np.asarray(upright.convert("RGBA")), name)
    return _check(np.asarray(upright.convert("RGB")), name)
