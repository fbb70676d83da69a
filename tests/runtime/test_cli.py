"""The command: names, messages, exit codes, and pictures that end up where they should."""

import importlib
import importlib.util
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from click.testing import CliRunner
from colora.devices.errors import ImageError
from colora.runtime.adapter import write_adapter
from colora.runtime.cli import COMMANDS, main
from colora.runtime.cli_restore import targets
from colora.runtime.image import read_image, write_image


def colora(*args: object) -> Any:
    return CliRunner().invoke(main, [str(a) for a in args])


@pytest.fixture
def photos(tmp_path: Path, picture: Any) -> Path:
    pytest.importorskip("PIL")
    pytest.importorskip("rich")
    folder = tmp_path / "photos"
    folder.mkdir()
    for name, size in (("a.png", (20, 24)), ("b.png", (33, 17))):
        write_image(folder / name, picture(*size))
    (folder / "notes.txt").write_text("no picture")
    return folder


def test_help_lists_every_command_and_imports_none() -> None:
    code = (
        "import sys\nfrom click.testing import CliRunner\nfrom colora.runtime.cli import main\n"
        "result = CliRunner().invoke(main, ['--help'])\nprint(result.output)\n"
        "print('HEAVY', [m for m in ('torch', 'onnx', 'onnxruntime', 'PIL', 'rich') if m in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert all(f"  {name} " in done.stdout for name in COMMANDS)
    assert "HEAVY []" in done.stdout


def test_every_listed_command_exists() -> None:
    """Those of train and export need torch."""
    for target, _ in COMMANDS.values():
        module, _, attribute = target.partition(":")
        if module.startswith(("colora.train", "colora.export")) and importlib.util.find_spec("torch") is None:
            continue
        assert getattr(importlib.import_module(module), attribute).callback is not None


def test_an_unknown_command_gets_the_nearest_names() -> None:
    result = colora("restor", "x")
    assert result.exit_code == 2
    assert "colora: unknown command 'restor': did you mean restore" in result.output


def test_a_missing_extra_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    def absent(name: str) -> Any:
        raise ModuleNotFoundError("No module named 'torch'", name="torch")

    monkeypatch.setattr(importlib, "import_module", absent)
    result = colora("adapt")
    assert result.exit_code == 2
    assert (
        "colora adapt needs the package 'torch', which is not installed: pip install 'colora[train]'"
        in result.output
    )


def test_one_picture(mini: Any, ort_bundle: Path, photos: Path, tmp_path: Path) -> None:
    result = colora(
        "restore", photos / "a.png", "--task", "rain", "-o", tmp_path / "out.png", "--bundle", ort_bundle
    )
    assert result.exit_code == 0, result.output
    before, after = read_image(photos / "a.png"), read_image(tmp_path / "out.png")
    expected = mini.forward((before / 255).transpose(2, 0, 1)[None], {"rain": 1.0})[0].transpose(1, 2, 0)
    assert np.abs(np.clip(expected * 255, 0, 255) - after).max() < 0.51  # half a level of rounding


def test_a_bad_picture_is_reported_and_the_others_are_done(
    null_bundle: Path, photos: Path, tmp_path: Path
) -> None:
    (photos / "bad.jpg").write_bytes(b"no picture")
    result = colora(
        "restore", photos, photos / "none.png", "--task", "rain", "-o", tmp_path / "out", "--bundle", null_bundle,
        "--backend", "null",
    )  # fmt: skip
    assert result.exit_code == 1
    assert "2 not restored:" in result.output
    assert "2 of 4 restored, in " in result.output
    assert "bad.jpg can't be read as a picture" in result.output
    assert "none.png: no such file" in result.output
    assert sorted(f.name for f in (tmp_path / "out").iterdir()) == ["a.png", "b.png"]
    assert np.array_equal(read_image(tmp_path / "out" / "b.png"), read_image(photos / "b.png"))


def test_compare_writes_before_and_after(null_bundle: Path, photos: Path, tmp_path: Path) -> None:
    out = tmp_path / "sheet.png"
    options = ("--task", "rain", "-o", out, "--bundle", null_bundle, "--backend", "null", "--compare")
    result = colora("restore", photos / "a.png", *options)
    assert result.exit_code == 0, result.output
    sheet, picture = read_image(out), read_image(photos / "a.png")
    assert sheet.shape == (20, 24 + 8 + 24, 3)
    assert np.array_equal(sheet[:, :24], picture)
    assert np.array_equal(sheet[:, -24:], picture)  # the null backend returns its input


@pytest.mark.parametrize(
    ("args", "message"),
    [
        (["--task", "rian"], "unknown task 'rian': did you mean rain?"),
        (["--task", "rain", "--backend", "tort"], "unknown backend 'tort': did you mean ort"),
        (["--task", "rain", "--policy", "refitt"], "unknown policy 'refitt': did you mean refit?"),
        (["--task", "rain", "--bundle", "nowhere"], "nowhere is no bundle"),
        (["--task", "rain", "--strength", "nan"], "strength of rain is nan"),
    ],
)
def test_wrong_names_exit_with_2(
    args: list[str], message: str, null_bundle: Path, photos: Path, tmp_path: Path
) -> None:
    defaults = ["--bundle", str(null_bundle), "--backend", "null", "-o", str(tmp_path / "o.png")]
    result = colora("restore", photos / "a.png", *defaults, *args)
    assert result.exit_code == 2
    assert message in result.output
    assert not (tmp_path / "o.png").exists()


def test_where_results_go(photos: Path, tmp_path: Path) -> None:
    a, b, out = photos / "a.png", photos / "b.png", tmp_path / "out"
    assert targets([a], tmp_path / "x.png") == [(a, tmp_path / "x.png")]
    assert targets([photos], out) == [(a, out / "a.png"), (b, out / "b.png")]
    assert targets([a, b], out) == [(a, out / "a.png"), (b, out / "b.png")]
    assert targets([a], tmp_path) == [(a, tmp_path / "a.png")]
    (tmp_path / "empty").mkdir()
    for sources, output, message in (
        ([tmp_path / "empty"], out, "empty holds no pictures; expected"),
        ([a, b], tmp_path / "x.png", "2 pictures can't go into the one file"),
        ([photos], photos, r"a\.png would overwrite a picture to be restored"),
        ([a], a, "would overwrite a picture"),
        ([a, photos], out, "two pictures would both become"),
    ):
        with pytest.raises(ImageError, match=message):
            targets(sources, output)


def test_inspect_a_bundle_names_the_bad_task(null_bundle: Path) -> None:
    (null_bundle / "tasks" / "rain.safetensors").write_bytes(b"torn off")
    result = colora("inspect", null_bundle)
    assert result.exit_code == 0, result.output
    lines = dict(line.split("  ", 1) for line in result.output.splitlines())
    assert {name: value.strip() for name, value in lines.items()}["kind"] == "shared"
    assert "8 tensors" in lines["switchable"]
    assert "colora, 12,368 numbers in 2 parameters" in result.output
    assert "REFUSED: " in result.output
    columns = {len(line) - len(line.split("  ", 1)[1].lstrip()) for line in result.output.splitlines()}
    assert len(columns) == 1  # aligned


def test_inspect_an_adapter(mini: Any, tmp_path: Path) -> None:
    write_adapter(tmp_path / "rain.safetensors", mini.adapters["rain"])
    result = colora("inspect", tmp_path / "rain.safetensors")
    assert result.exit_code == 0, result.output
    assert "low-rank rank 2 8×3×3×3, scale 0.5, contribution 0.25" in result.output
    assert "quality made_up_psnr_db  24.5" in result.output
    (tmp_path / "rain.safetensors").write_bytes(b"x" * 7)
    result = colora("inspect", tmp_path / "rain.safetensors")
    assert result.exit_code == 2
    assert "colora: " in result.output
    assert "rain.safetensors is truncated" in result.output


def test_devices_says_what_jetson_means() -> None:
    result = colora("devices")
    assert result.exit_code == 0
    assert "jetson means jetson-orin-nano-8gb" in result.output
    assert "10.3.0" in result.output
