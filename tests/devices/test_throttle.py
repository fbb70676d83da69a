"""Signs of a machine that was slowed down."""

from __future__ import annotations

from pathlib import Path

from colora.devices.throttle import grown, signs


def write(root: Path, **texts: str) -> None:
    for name, text in texts.items():
        path = root / "sys" / name.replace("__", "/")
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text + "\n")


def test_counters_that_grow_are_told(tmp_path: Path) -> None:
    jetson, intel = "class__hwmon__hwmon3__oc3_event_cnt", "devices__system__cpu__cpu0__thermal_throttle__"
    write(tmp_path, **{jetson: "5", f"{intel}core_throttle_count": "0"})
    before = signs(tmp_path)
    assert before.told and grown(before, before) == ()
    write(tmp_path, **{jetson: "7"})
    assert grown(before, signs(tmp_path)) == ("2 events in /sys/class/hwmon/hwmon3/oc3_event_cnt",)


def test_cooling_devices_that_cost_speed_are_told_and_fans_are_not(tmp_path: Path) -> None:
    fan, gpu = "class__thermal__cooling_device0__", "class__thermal__cooling_device1__"
    write(tmp_path, **{f"{fan}type": "pwm-fan", f"{fan}cur_state": "3"})
    assert not signs(tmp_path).told
    write(tmp_path, **{f"{gpu}type": "devfreq-17000000.gpu", f"{gpu}cur_state": "0"})
    assert signs(tmp_path).states == {"cooling device devfreq-17000000.gpu": False}
    write(tmp_path, **{f"{gpu}cur_state": "2"})
    assert signs(tmp_path).states == {"cooling device devfreq-17000000.gpu": True}


def test_a_zone_at_its_limit_is_told(tmp_path: Path) -> None:
    zone = "class__thermal__thermal_zone0__"
    trips = {"trip_point_0_type": "critical", "trip_point_0_temp": "50000", "trip_point_1_type": "passive"}
    write(tmp_path, **{f"{zone}{n}": t for n, t in {"type": "tj-thermal", "temp": "98999", **trips}.items()})
    write(tmp_path, **{f"{zone}trip_point_1_temp": "99000"})
    assert signs(tmp_path).states == {"tj-thermal at its limit of 99 °C": False}
    write(tmp_path, **{f"{zone}temp": "99000"})
    assert signs(tmp_path).states == {"tj-thermal at its limit of 99 °C": True}


def test_a_machine_without_signs_can_not_tell(tmp_path: Path) -> None:
    assert not signs(tmp_path).told
