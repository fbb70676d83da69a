"""Whether a machine was slowed down by heat or current while something was measured.

Two kinds of signs, both files: counters that only grow, compared before and after (Intel: cpu*/thermal_throttle/
{core,package}_throttle_count; Jetson Orin: hwmon*/oc*_event_cnt of the driver soctherm_oc, NVIDIA's developer guide,
"Platform Power and Performance"), and states at a moment (cooling devices of CPU and GPU that are on; a thermal
zone at or above its `passive` trip point, where the kernel begins to slow down).
A machine without any of them can't tell.
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

COUNTERS = (
    "sys/devices/system/cpu/cpu*/thermal_throttle/*_throttle_count",
    "sys/class/hwmon/hwmon*/oc*_event_cnt",
)
SLOWING = re.compile(r"cpu|gpu|devfreq|processor|throttle", re.IGNORECASE)
"""Types of cooling devices that cost speed; fans don't."""


@dataclass(frozen=True)
class Signs:
    """Of one moment."""

    counters: Mapping[str, int]
    """File → events so far."""
    states: Mapping[str, bool]
    """What can slow the machine down → whether it does now."""

    @property
    def told(self) -> bool:
        """Whether the machine can tell at all."""
        return bool(self.counters or self.states)


def signs(root: Path = Path("/")) -> Signs:
    """As they are now; what can't be read is left out."""
    counters = {
        str(path.relative_to(root)): value
        for pattern in COUNTERS
        for path in sorted(root.glob(pattern))
        if (value := _number(path)) is not None
    }
    states = {}
    for device in sorted(root.glob("sys/class/thermal/cooling_device*")):
        kind, state = _text(device / "type"), _number(device / "cur_state")
        if state is not None and SLOWING.search(kind):
            states[f"cooling device {kind}"] = state > 0
    for zone in sorted(root.glob("sys/class/thermal/thermal_zone*")):
        now = _number(zone / "temp")
        for trip in sorted(zone.glob("trip_point_*_type")):
            limit = _number(trip.with_name(trip.name.replace("_type", "_temp")))
            if _text(trip) == "passive" and now is not None and limit is not None and limit > 0:
                states[f"{_text(zone / 'type')} at its limit of {limit / 1000:g} °C"] = now >= limit
    return Signs(counters, states)


def grown(before: Signs, after: Signs) -> tuple[str, ...]:
    """Counters that grew from one moment to the next, in words."""
    return tuple(
        f"{after.counters[name] - count} events in /{name}"
        for name, count in before.counters.items()
        if after.counters.get(name, count) > count
    )


def _text(path: Path) -> str:
    try:
        return path.read_text("utf-8", errors="replace").strip()
    except OSError:
        return ""


def _number(path: Path) -> int | None:
    text = _text(path)
    return int(text) if re.fullmatch(r"-?\d+", text) else None
