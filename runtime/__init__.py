"""What runs on the device: bundles in, restored pictures out. Backends import their package when opened."""

from colora.devices.errors import (
    BackendError,
    BundleError,
    CheckpointError,
    ColoraError,
    ImageError,
    MissingExtra,
    ParityError,
    UnknownName,
)
from colora.runtime.bundle import add_task, open_bundle
from colora.runtime.default import restore
from colora.runtime.session import Session, SessionFacts, Timings, load

__all__ = [
    "BackendError",
    "BundleError",
    "CheckpointError",
    "ColoraError",
    "ImageError",
    "MissingExtra",
    "ParityError",
    "Session",
    "SessionFacts",
    "Timings",
    "UnknownName",
    "add_task",
    "load",
    "open_bundle",
    "restore",
]
