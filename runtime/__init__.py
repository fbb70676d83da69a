"""What runs on the device: bundles in, restored pictures out. Backends import their package when opened.

Names are imported when they are used: a command that only lists devices does not wait for numpy.
"""

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
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
    from colora.runtime.session import Session, load
    from colora.runtime.session_facts import SessionFacts

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

_MODULES = {
    "Choice": "choice",
    "Metrics": "metrics",
    "Service": "service",
    "Session": "session",
    "SessionFacts": "session_facts",
    "Timings": "metrics",
    "add_task": "bundle",
    "load": "session",
    "open_bundle": "bundle",
    "prometheus_text": "metrics",
    "restore": "default",
}
"""Name → module here; the others are errors."""


def __getattr__(name: str) -> Any:
    if name not in __all__:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    module = f"colora.runtime.{_MODULES[name]}" if name in _MODULES else "colora.devices.errors"
    value = globals()[name] = getattr(importlib.import_module(module), name)
    return value


def __dir__() -> list[str]:
    return __all__
