"""What sensors say while something runs."""

from __future__ import annotations

import time

import pytest
from colora.devices.sensors import NoSensors, Reading
from colora.devices.throttle import Signs
from colora.runtime.telemetry import Recorder, Spread, Telemetry


class Script(NoSensors):
    """Readings of a script, the last one again and again; an exception in it is raised."""

    name = "script"

    def __init__(self, *readings: Reading | Exception) -> None:
        super().__init__()
        self.left, self.closed = list(readings), False

    def read(self) -> Reading:
        found = self.left.pop(0) if len(self.left) > 1 else self.left[0]
        if isinstance(found, Exception):
            raise found
        return found

    def close(self) -> None:
        self.closed = True


CALM = Signs({"sys/oc3_event_cnt": 4}, {"cooling device gpu": False})


def record(sensors: Script, *looks: Signs) -> Telemetry:
    """Of a run that lasts until the script is at its end."""
    left = list(looks)
    recorder = Recorder(sensors, 0.001, lambda: left.pop(0) if len(left) > 1 else left[0])
    with recorder:
        while len(sensors.left) > 1:
            time.sleep(0.001)
    assert recorder.telemetry is not None and sensors.closed
    return recorder.telemetry


def test_readings_become_least_mean_and_most() -> None:
    first = Reading({"VDD_IN": 4000}, {"cpu": 40}, {"gpu": 600}, {"gpu": 10}, 100)
    told = record(Script(first, Reading({"VDD_IN": 6000}, {"cpu": 44}, {}, {}, 300)), CALM)
    assert (told.source, told.throttled, told.throttle_reasons) == ("script", False, ())
    power = told.power_mw["VDD_IN"]
    assert (power.least, power.most) == (4000, 6000) and 4000 < power.mean < 6000
    assert told.clock_mhz == {"gpu": Spread(600, 600, 600)}  # what one reading lacks is taken from the others
    assert told.memory_used_bytes is not None and told.memory_used_bytes.most == 300


def test_a_throttle_is_told_by_a_counter_that_grew_or_a_state_that_was_on() -> None:
    hot = Signs({"sys/oc3_event_cnt": 6}, {"cooling device gpu": True})
    told = record(Script(Reading(), Reading()), CALM, hot)
    assert told.throttled is True
    assert told.throttle_reasons == ("cooling device gpu", "2 events in /sys/oc3_event_cnt")


def test_a_machine_that_can_not_tell_is_not_called_calm() -> None:
    told = record(Script(Reading()), Signs({}, {}))
    assert told.throttled is None
    assert "no counter, cooling device or trip point" in told.missing["throttle"]


def test_a_sensor_that_tells_of_slowing_is_enough() -> None:
    nothing = Signs({}, {})
    told = record(Script(Reading(slowed={"gpu slowed by heat": False})), nothing)
    assert told.throttled is False and "throttle" not in told.missing
    told = record(Script(Reading(slowed={"gpu slowed by heat": True}), Reading()), nothing)
    assert (told.throttled, told.throttle_reasons) == (True, ("gpu slowed by heat",))


def test_sensors_that_fail_end_the_readings_and_not_the_run() -> None:
    told = record(Script(Reading({"VDD_IN": 4000}), RuntimeError("Lost connection with jtop server")), CALM)
    assert told.power_mw == {"VDD_IN": Spread(4000, 4000, 4000)}
    assert told.missing["script"] == "ended while it was read: RuntimeError: Lost connection with jtop server"


def test_what_fails_inside_is_raised_and_sensors_closed() -> None:
    sensors = Script(Reading())
    with pytest.raises(ValueError, match="inside"), Recorder(sensors, 0.001, lambda: CALM):
        raise ValueError("inside")
    assert sensors.closed
