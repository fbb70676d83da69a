"""The table of devices, and that its figures multiply up to those NVIDIA publishes."""

import pytest
from colora.devices import ALIASES, DEVICES, Device, find_device
from colora.devices.errors import UnknownName


def test_names_are_keys_and_aliases_lead_to_one() -> None:
    assert all(name == device.name for name, device in DEVICES.items())
    assert not DEVICES.keys() & ALIASES.keys()
    for alias, name in ALIASES.items():
        assert find_device(alias) is DEVICES[name]


def test_boards_and_their_memory() -> None:
    assert find_device("cpu").compute_capability == ""
    assert find_device("jetson").compute_capability == "8.7"
    memory = {d.name: d.memory_gb for d in DEVICES.values() if d.jetpacks}
    assert memory == {
        "jetson-nano": 4,
        "jetson-tx2-nx": 4,
        "jetson-xavier-nx": 8,
        "jetson-agx-xavier": 32,
        "jetson-orin-nano-4gb": 4,
        "jetson-orin-nano-8gb": 8,
        "jetson-orin-nx-8gb": 8,
        "jetson-orin-nx-16gb": 16,
        "jetson-agx-orin-32gb": 32,
        "jetson-agx-orin-64gb": 64,
        "jetson-agx-thor": 128,
    }


def test_no_two_boards_have_one_module() -> None:
    modules = [module for device in DEVICES.values() for module in device.modules]
    assert len(modules) == len(set(modules))


@pytest.mark.parametrize(
    ("name", "precision", "mode", "published"),
    [
        # Published figures, in 10¹² operations a second. Jetson Orin: sparse int8 figures of the data sheets are
        # twice these; AGX Orin's GPU alone is in NVIDIA's DLA repository.
        ("jetson-nano", "fp16", None, 0.472),
        ("jetson-tx2-nx", "fp16", None, 1.33),
        ("jetson-agx-xavier", "fp16", None, 11),
        ("jetson-agx-xavier", "int8", None, 22),
        ("jetson-orin-nano-4gb", "int8", "25W", 34 / 2),
        ("jetson-orin-nano-8gb", "int8", "MAXN_SUPER", 67 / 2),
        ("jetson-agx-orin-64gb", "int8", "MAXN", 171 / 2),
        ("jetson-agx-orin-64gb", "int8", "MODE_50W", 109 / 2),
        ("jetson-agx-orin-64gb", "int8", "MODE_30W", 41 / 2),
        ("jetson-agx-thor", "fp16", None, 2070 / 8),
        ("rtx-20", "fp16", None, 107.6),
        ("rtx-20", "int8", None, 215.2),
        ("rtx-20", "fp32", None, 13.4),
        ("rtx-30", "fp16", None, 142),
        ("rtx-40", "fp16", None, 330.3),
        ("rtx-40", "int8", None, 660.6),
        ("rtx-40", "fp32", None, 82.6),
        ("rtx-50", "fp16", None, 838.4 / 2),
    ],
)
def test_rates_are_the_published_ones(name: str, precision: str, mode: str | None, published: float) -> None:
    rate = DEVICES[name].rate(precision, mode)
    assert rate is not None
    # the papers round to two or three digits, and nvpmodel's clocks lie up to 2 % under theirs
    assert rate / 1e12 == pytest.approx(published, rel=0.03)


def test_bandwidth_of_a_capped_mode_is_below_the_best() -> None:
    board = find_device("jetson-orin-nano-8gb")
    assert board.mode().bandwidth_gb_s == 102.4
    assert board.mode("15W").bandwidth_gb_s == pytest.approx(
        2133e6 * 2 * 128 / 8 / 1e9, abs=0.05
    )  # 128-bit bus


def test_what_is_not_published_is_none() -> None:
    assert find_device("jetson-nano").rate("int8") is None  # Maxwell has no int8 unit
    assert find_device("jetson-agx-thor").rate("fp16", "120W") is None
    assert find_device("cpu").rate("fp32") is None


def test_each_orin_begins_with_the_jetpack_that_brought_it() -> None:
    first = {d.name: d.jetpacks[0].version for d in DEVICES.values() if d.compute_capability == "8.7"}
    assert first.pop("jetson-agx-orin-32gb") == "5.0"
    assert set(first.values()) == {"5.1"}  # NX 16 GB with 5.1, the others with 5.1.1


def test_a_wrong_name_gets_the_nearest() -> None:
    with pytest.raises(UnknownName, match=r"unknown target 'jetsn': did you mean jetson"):
        find_device("jetsn")
    with pytest.raises(
        UnknownName, match=r"unknown power mode of jetson-nano 'MAXM': did you mean MAXN\? known: 5W, MAXN"
    ):
        find_device("jetson-nano").mode("MAXM")


def test_facts_that_contradict_are_refused() -> None:
    with pytest.raises(ValueError, match="a board that JetPack runs on has a GPU"):
        Device("x", "X", "", 8, find_device("jetson").jetpacks)
    with pytest.raises(ValueError, match=r"compute capability 8\.8; expected one of 5\.3"):
        Device("x", "X", "8.8", 8)
    with pytest.raises(ValueError, match="memory_gb 0; expected more than 0"):
        Device("x", "X", "", 0)
