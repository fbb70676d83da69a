"""Every error colora raises on purpose: what was got, what was expected, what to do next."""

import difflib
from collections.abc import Iterable


class ColoraError(Exception):
    """Base of all of colora's own errors. Commands print its text and leave with exit code 2."""


class UnknownName(ColoraError):
    """A name that is not in the table it was looked up in."""


class MissingExtra(ColoraError):
    """An optional package is not installed."""


class ImageError(ColoraError):
    """A picture that can't be used: unreadable, empty, not finite, of an unsupported kind."""


class VideoError(ColoraError):
    """A video or a camera that can't be read, or a video that can't be written."""


class CheckpointError(ColoraError):
    """A checkpoint or adapter file that is damaged, foreign or made for another backbone."""


class BundleError(ColoraError):
    """A bundle that is damaged, incomplete or not safe to open."""


class ParityError(ColoraError):
    """The compiled graph does not compute what the PyTorch model computes."""


class GraphError(ColoraError):
    """An exported graph whose tensors are not those of its weight program, or do not follow edits."""


class PlanError(ColoraError):
    """What was asked for does not fit the device it is for."""


class BackendError(ColoraError):
    """A backend can't do what was asked of it on this machine."""


class BackendFailed(BackendError):
    """A backend that worked has failed; opened anew it may work again."""


class ReportError(ColoraError):
    """A report of `colora bench` that can't be read, or is of another version."""


class FrameDropped(ColoraError):
    """A frame of a live source that was not restored: newer ones came, or its deadline passed."""


def unknown(kind: str, name: str, known: Iterable[str]) -> UnknownName:
    """Error for `name`, listing the nearest of `known` first and then all of them."""
    names = sorted(set(known))
    near = difflib.get_close_matches(name, names, n=3, cutoff=0.5)
    hint = f"did you mean {' or '.join(near)}? " if near else ""
    return UnknownName(f"unknown {kind} {name!r}: {hint}known: {', '.join(names)}")


def missing_extra(package: str, extra: str, why: str) -> MissingExtra:
    """Error for an optional `package` that `why` needs and that `pip install colora[extra]` brings."""
    return MissingExtra(
        f"{why} needs the package {package!r}, which is not installed: pip install 'colora[{extra}]'"
    )
