"""`restore(image, task)`: the whole runtime in one call, over one default session."""

import os
from collections.abc import Mapping
from pathlib import Path
from threading import RLock
from typing import Any

from colora.devices.errors import BundleError
from colora.runtime.bundle import MANIFEST
from colora.runtime.session import Session, load
from colora.runtime.weights import Array

VARIABLE = "COLORA_BUNDLE"
FOLDER = "colora-bundle"

_lock = RLock()
_session: tuple[object, Session] | None = None


def restore(
    image: Any,
    task: str | Mapping[str, float] = "",
    bundle: str | os.PathLike[str] | None = None,
    strength: float = 1.0,
) -> Array:
    """Restore one picture; arguments, result and errors as for `Session.restore`.

    bundle: folder; None searches as `find_bundle` says. It stays loaded until another one is asked for,
    or it was
        exported anew; callers with demands of their own use `load`.
    """
    with _lock:  # or a thread that asks for another bundle closes this one meanwhile
        return default_session(bundle).restore(image, task, strength)


def default_session(bundle: str | os.PathLike[str] | None = None) -> Session:
    """The session behind `restore`, loaded on first use. Raises: see `load`."""
    global _session
    path = find_bundle(bundle).resolve()
    with _lock:
        manifest = path / MANIFEST
        stamp = (path, manifest.stat().st_mtime_ns if manifest.exists() else 0)
        if _session is None or _session[0] != stamp:
            if _session is not None:
                _session[1].close()
                _session = None
            _session = (stamp, load(path))
        return _session[1]


def find_bundle(bundle: str | os.PathLike[str] | None = None) -> Path:
    """`bundle` if given, else $COLORA_BUNDLE, else ./colora-bundle. Raises: BundleError naming all three."""
    if bundle is not None:
        return Path(bundle)
    if os.environ.get(VARIABLE):
        return Path(os.environ[VARIABLE])
    if Path(FOLDER).is_dir():
        return Path(FOLDER)
    raise BundleError(
        f"no bundle: none was named (bundle=… or --bundle), ${VARIABLE} is not set, ./{FOLDER} is not there; "
        "make one with colora-export"
    )
