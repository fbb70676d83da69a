"""`colora attribution`: the table tells every group, the chart is a picture."""

from pathlib import Path

import pytest
from click.testing import CliRunner
from colora.devices.errors import CheckpointError
from colora.runtime.cli import main
from colora.train.attribution_plot import command, part_of
from colora.train.contribution import Attribution

NAMES = ("intro.weight", "encoders.0.0.beta", "middle_blks.0.conv1.weight", "ups.0.0.weight", "ending.bias")


@pytest.fixture
def file(tmp_path: Path) -> Path:
    contribution = dict(zip(NAMES, (8.0, 2.0, 0.0, 1.0, 10.0), strict=True))
    Attribution(contribution, dict.fromkeys(NAMES, 10), -1.5, -1.4, 100, 8).write(tmp_path / "faig.json")
    return tmp_path / "faig.json"


@pytest.mark.parametrize("log", [(), ("--log",)], ids=["linear", "log"])
def test_writes_table_and_chart(file: Path, log: tuple[str, ...]) -> None:
    pytest.importorskip("matplotlib", reason="pip install 'colora[bench]'")
    chart = file.with_suffix(".png")
    done = CliRunner().invoke(command, [str(file), "--by", "stage", "-o", str(chart), *log])
    assert done.exit_code == 0, done.output
    assert [line.split()[0] for line in done.output.splitlines()[1:6]] == [
        *("intro", "encoders.0", "middle_blks", "decoders.0", "ending")
    ]
    assert "N = 100 on 8 images; the signed sum explains -1.5 of a change of the loss of -1.4" in done.output
    assert "10     8.00e+00   38.1%" in done.output.splitlines()[1]  # 8 of 21
    assert chart.read_bytes().startswith(b"\x89PNG")


@pytest.mark.parametrize("name", ["faig.xyz", "nowhere/faig.png"])
def test_says_where_no_chart_can_be_drawn(file: Path, name: str) -> None:
    pytest.importorskip("matplotlib", reason="pip install 'colora[bench]'")
    done = CliRunner().invoke(main, ["attribution", str(file), "-o", str(file.parent / name)])
    assert done.exit_code == 2
    assert f"{name} was not drawn (" in done.output and "give a name such as faig.png" in done.output


def test_a_chart_without_suffix_is_where_it_is_said_to_be(file: Path) -> None:
    pytest.importorskip("matplotlib", reason="pip install 'colora[bench]'")
    done = CliRunner().invoke(main, ["attribution", str(file), "-o", str(file.with_name("chart"))])
    assert done.output.endswith("chart\n")
    assert file.with_name("chart").read_bytes().startswith(b"\x89PNG")


def test_a_picture_is_refused_without_its_bytes(tmp_path: Path) -> None:
    (tmp_path / "faig.json").write_bytes(b"\x89PNG" + bytes(range(256)))
    done = CliRunner().invoke(main, ["attribution", str(tmp_path / "faig.json")])
    assert (
        "faig.json: not an attribution (UnicodeDecodeError: 'utf-8' codec can't decode byte 0x89"
        in done.output
    )
    assert len(done.output) < 500


def test_says_what_the_file_should_have_been(tmp_path: Path) -> None:
    (tmp_path / "ranks.json").write_text('{"ranks": {}}')
    done = CliRunner().invoke(command, [str(tmp_path / "ranks.json")])
    with pytest.raises(CheckpointError, match=r"ranks\.json: not an attribution"):
        raise done.exception or AssertionError("taken for an attribution")


def test_parts_of_both_architectures() -> None:
    groups = ("intro", "downs.0", "encoder_level1", "latent.2", "up4_3", "reduce_chan_level3", "refinement.0")
    parts = ("ends", "encoder", "encoder", "middle", "decoder", "decoder", "decoder")
    assert tuple(map(part_of, groups)) == parts
