"""Pictures of 16 bits a channel in files: grey by Pillow, colour by OpenCV where that is installed.

Pillow decodes 16-bit colour to 8 bits without a word, so what a file stores is read from its raw mode.
"""

import os
import re
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from colora.devices.errors import ImageError
from colora.runtime.atomic import atomic_file, write_bytes
from colora.runtime.weights import Array

if TYPE_CHECKING:
    from PIL import Image

SUFFIXES_16 = (".png", ".tif", ".tiff")
"""Formats that hold 16 bits a channel."""
ORIENTATION, PHOTOMETRIC = 0x0112, 262
"""EXIF and TIFF tags."""
BITS, SAMPLES, PLANAR = 258, 277, 284
"""TIFF tags: bits of each sample, samples a pixel, 2 where each channel is stored apart."""


def deep_mode(picture: "Image.Image") -> str:
    """Raw mode of a picture with more than 8 bits a channel, `""` for 8 bits and fewer."""
    stored = " ".join(str(tile[3]) for tile in getattr(picture, "tile", ()))
    deep = re.search(r"\b(RGB[AXa]?|LA?|I|CMYK);1[26][A-Z]*", stored)
    if deep:
        return deep[0]
    return picture.mode if picture.mode in ("I", "F") or picture.mode.startswith("I;") else ""


def misread(picture: "Image.Image") -> bool:
    """Is it TIFF whose channels are stored apart, of a kind that Pillow and OpenCV take for another without a word?

    Pillow reads 8 bits of RGB, RGBA and CMYK right; of 16 bits, and of grey with alpha, neither does.
    """
    tags = getattr(picture, "tag_v2", {})
    apart = tags.get(PLANAR) == 2 and tags.get(SAMPLES, 1) > 1
    return apart and (set(tags.get(BITS, ())) != {8} or tags.get(PHOTOMETRIC) not in (2, 5))


def decode16(picture: "Image.Image", path: str | os.PathLike[str] | None) -> Array:
    """H×W or H×W×C uint16, RGB first, of a picture that `deep_mode` names.

    path: its file, for OpenCV; None if there is none. Raises: ImageError saying what to do.
    """
    mode, name = deep_mode(picture), str(path or "image")
    refused = ImageError(f"{name} has 16 or 32 bits a channel (mode {mode}): convert it to 8 bits")
    if "transparency" in picture.info:
        raise refused
    if re.fullmatch("I;16[BLNR]?", mode):
        from PIL import ImageOps

        if getattr(picture, "tag_v2", {}).get(PHOTOMETRIC) == 0:
            raise ImageError(f"{name} has 16 bits and stores white as 0: convert it to 8 bits")
        return np.asarray(ImageOps.exif_transpose(picture)).astype(np.uint16)
    if path is None or not re.fullmatch("(RGB[AX]?|LA);16[BLN]?", mode):
        raise refused
    try:
        import cv2
    except ImportError as e:
        raise ImageError(f"{refused}, or pip install opencv-python-headless") from e
    if picture.getexif().get(ORIENTATION, 1) != 1:
        raise ImageError(f"{name} has 16 bits a channel and is turned by EXIF: store it upright")
    picture.load()  # Pillow refuses truncated files, OpenCV not always
    levels = cv2.imdecode(np.frombuffer(Path(path).read_bytes(), np.uint8), cv2.IMREAD_UNCHANGED)
    if levels is None or levels.dtype != np.uint16 or levels.shape[:2] != (picture.height, picture.width):
        raise refused
    return np.asarray(levels[:, :, [2, 1, 0, 3] if "A" in mode else [2, 1, 0]])


def write16(path: Path, image: Array) -> None:
    """Write H×W×3 RGB or H×W×4 uint16, whole or not at all: grey if three channels are equal.

    Raises: ImageError if it is coloured and OpenCV is not installed; OSError.
    """
    if image.shape[2] == 3 and (image == image[:, :, :1]).all():
        from PIL import Image

        with atomic_file(path) as partial:
            Image.fromarray(image[:, :, 0]).save(
                partial, format="PNG" if path.suffix.lower() == ".png" else "TIFF"
            )
        return
    try:
        import cv2
    except ImportError as e:
        raise ImageError(
            f"{path}: writing 16 bits a channel in colour needs OpenCV: pip install opencv-python-headless, "
            "or convert it to 8 bits"
        ) from e
    written, data = cv2.imencode(path.suffix.lower(), image[:, :, [2, 1, 0, 3][: image.shape[2]]])
    if not written:
        raise OSError(f"OpenCV can't encode it as {path.suffix}")
    write_bytes(path, data.tobytes())
