"""The record of a measurement, as `colora bench` writes it on a device too."""

from pathlib import Path

from colora.runtime.record import (
    FORMAT,
    RESULTS,
    Environment,
    environment,
    record_path,
    slug,
    warn_if_dirty,
    write_record,
)

__all__ = [
    "FORMAT",
    "RESULTS",
    "Environment",
    "environment",
    "path_of",
    "slug",
    "warn_if_dirty",
    "write_record",
]


def path_of(folder: Path, where: Environment, name: str, software: str = "onnxruntime") -> Path:
    """<name>-<device>-<software>.json; software: a distribution in `where.packages`."""
    return folder / f"{name}-{record_path(folder, where, software).name}"
