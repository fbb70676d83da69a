"""Records of an earlier version, read as this one writes them.

Every record has a `format`, the version of what all records have in common; a report has a `schema` besides, that of
its entries. Each older version has a function that makes the next one of it; a version that is newer, or that no
function is left for, is refused.
"""

import json
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from colora.benchmarks.record import FORMAT
from colora.devices.errors import ReportError

Told = dict[str, Any]
"""A record as JSON has it."""
Steps = Mapping[int, Callable[[Told], Told]]
"""Version → what makes a record of the next version of one."""

SCHEMA = 2
"""Of reports; raised whenever an entry changes its name or its meaning."""


def _board(told: Told) -> Told:
    """Format 1 was written with and without what tells boards and GPUs apart, which came later."""
    later = {"device": "", "board": "", "l4t": "", "power_mode": "", "tensorrt": "", "gpus": []}
    return told | {"environment": later | told["environment"]}


def _took(told: Told) -> Told:
    """Schema 1 was written with and without the seconds of each scenario, which came later."""
    return {"took": {}} | told


FORMATS: Steps = {1: _board}
SCHEMAS: Steps = {1: _took}


def read_record(path: Path) -> Told:
    """A record in this version's format. Raises: ReportError for what is no record, or can't be migrated."""
    try:
        told = json.loads(path.read_text("utf-8"))
    except (OSError, ValueError) as e:
        raise ReportError(f"{path}: no record ({e}); expected JSON that a benchmark of colora wrote") from e
    return as_record(told, str(path))


def as_record(told: Any, name: str) -> Told:
    """The same, from JSON; `name` is for the message."""
    if (
        not isinstance(told, dict)
        or not isinstance(told.get("kind"), str)
        or not isinstance(told.get("environment"), dict)
    ):
        raise ReportError(f"{name}: no record; expected JSON that a benchmark of colora wrote")
    return migrated(told, "format", FORMAT, FORMATS, name)


def migrated(told: Told, entry: str, current: int, steps: Steps, name: str) -> Told:
    """With the version under `entry` raised to `current`. Raises: ReportError where no step leads there."""
    while told.get(entry) != current:
        version = told.get(entry)
        if not isinstance(version, int) or version not in steps:
            newer = isinstance(version, int) and version > current
            advice = "update colora" if newer else "measure it again"
            known = f"{min(steps, default=current)} to {current}"
            raise ReportError(f"{name} has {entry} {version}; this version of colora reads {known}: {advice}")
        told = steps[version](told) | {entry: version + 1}
    return told
