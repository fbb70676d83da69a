"""What runs on the device: bundles in, restored pictures out. Backends import their package when opened."""

from colora.devices.errors import (
    BackendError,
    BackendFailed,
    BundleError,
    CheckpointError,
    ColoraError,
    FrameDropped,
    ImageError,
    MissingExtra,
    ParityError,
    UnknownName,
)
from colora.runtime.bundle import add_task, open_bundle
from colora.runtime.choice import Choice
from colora.runtime.default import restore
from colora.runtime.metrics import Metrics, Timings, prometheus_text
from colora.runtime.service import Service
from colora.runtime.session import Session, SessionFacts, load

__all__ = [
    "BackendError",
    "BackendFailed",
    "BundleError",
    "CheckpointError",
    "Choice",
    "ColoraError",
    "FrameDropped",
    "ImageError",
    "Metrics",
    "MissingExtra",
    "ParityError",
    "Service",
    "Session",
    "SessionFacts",
    "Timings",
    "UnknownName",
    "add_task",
    "load",
    "open_bundle",
    "prometheus_text",
    "restore",
]
