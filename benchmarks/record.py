"""The record of a measurement, as `colora bench` writes it on a device too."""

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
    "record_path",
    "slug",
    "warn_if_dirty",
    "write_record",
]
