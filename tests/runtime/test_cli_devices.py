"""`colora devices`."""

from click.testing import CliRunner
from colora.devices.catalogue import DEVICES
from colora.runtime.cli_devices import command, table


def test_every_device_and_release_is_listed_and_the_alias_explained() -> None:
    result = CliRunner().invoke(command)
    assert result.exit_code == 0
    lines = result.output.splitlines()
    header = lines[0]
    assert [line.split()[0] for line in lines[1 : len(DEVICES) + 1]] == list(DEVICES)
    nano = next(line for line in lines if line.startswith("jetson-orin-nano-8gb"))
    column = header.index("GB/s")
    assert nano[column : column + 5] == "102.4"
    assert nano[header.index("power modes") :] == "MAXN_SUPER, 25W, 15W, 7W"
    assert "6.1-6.2  R36.4-R36.5  12.6  10.3.0    3.10" in lines
    assert lines[-1] == "jetson means jetson-orin-nano-8gb"


def test_columns_are_as_wide_as_their_widest_cell() -> None:
    assert table([("a", "b"), ("long", "")]) == ["a     b", "long"]
