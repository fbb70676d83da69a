"""The table of devices."""

import pytest
from colora.devices import ALIASES, DEVICES, Device, find_device
from colora.devices.errors import UnknownName


def test_names_are_keys_and_aliases_lead_to_one() -> None:
    assert all(name == device.name for name, device in DEVICES.items())
    assert not DEVICES.keys() & ALIASES.keys()
    for alias, name in ALIASES.items():
        assert find_device(alias) is DEVICES[name]


def test_what_the_issue_asks_for_is_there() -> None:
    assert find_device("cpu").compute_capability == ""
    assert find_device("jetson").compute_capability == "8.7"
    memory = {name: d.memory_gb for name, d in DEVICES.items() if "orin" in name}
    assert sorted(m for m in memory.values() if m) == [4, 8, 8, 16, 32, 64]
    assert find_device("jetson-xavier-nx").jetpacks[-1].tensorrt == "8.4-8.5"


def test_a_wrong_name_gets_the_nearest() -> None:
    with pytest.raises(UnknownName, match=r"unknown target 'jetsn': did you mean jetson"):
        find_device("jetsn")


def test_facts_that_contradict_are_refused() -> None:
    with pytest.raises(ValueError, match="a GPU and the JetPacks that run on it come together"):
        Device("x", "X", "8.7", 8)
    with pytest.raises(ValueError, match="memory_gb 0; expected more than 0"):
        Device("x", "X", "", 0)
