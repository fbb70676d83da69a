"""Which release of JetPack a Linux for Tegra belongs to."""

import pytest
from colora.devices.jetpack import JETPACKS, find_jetpack, numbers


@pytest.mark.parametrize(
    ("l4t", "version", "tensorrt", "python"),
    [
        ("32.6.1", "4.6", "8.0.1", "3.6"),
        ("32.7.1", "4.6.1-4.6.6", "8.2.1", "3.6"),
        ("35.1.0", "5.0", "8.4", "3.8"),
        ("35.4.1", "5.1", "8.5.2", "3.8"),
        ("36.3.0", "6.0", "8.6.2", "3.10"),
        ("36.4.3", "6.1-6.2", "10.3.0", "3.10"),
        ("36.5.0", "6.1-6.2", "10.3.0", "3.10"),
        ("38.2.2", "7.0-7.1", "10.13", "3.12"),
        ("39.2.1", "7.2", "10.16", "3.12"),
    ],
)
def test_a_release_is_found_by_its_l4t(l4t: str, version: str, tensorrt: str, python: str) -> None:
    found = find_jetpack(l4t)
    assert found is JETPACKS[version]
    assert (found.tensorrt, found.python) == (tensorrt, python)


@pytest.mark.parametrize("l4t", ["28.4.0", "33.1", "35.7.0", "40.0", ""])
def test_an_unknown_l4t_is_not_guessed(l4t: str) -> None:
    assert find_jetpack(l4t) is None


def test_versions_compare_by_number() -> None:
    assert numbers("10.3.0.30-1+cuda12.6") == (10, 3, 0, 30) > numbers("8.6.2")
    assert numbers("10.16") > numbers("10.3")
    assert numbers("weekly") == ()
