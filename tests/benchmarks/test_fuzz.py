"""The fuzz: a few dozen cases as a check of the runtime, and that what must not be is found. All: benchmarks.fuzz."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from click.testing import CliRunner
from colora.benchmarks import fuzz
from colora.benchmarks.fuzz_bundles import BundleCases
from colora.benchmarks.fuzz_bytes import BYTES, damage, damage_json
from colora.benchmarks.fuzz_images import ImageCases, sound_png
from colora.benchmarks.fuzz_verdict import Finding, Verdict, judged
from colora.benchmarks.fuzz_ways import WAYS, rehash
from colora.runtime.session import Session

CASES = 48


@pytest.fixture(scope="session")
def images(tmp_path_factory: pytest.TempPathFactory) -> ImageCases:
    for package in ("PIL", "cv2", "tifffile", "imagecodecs"):
        pytest.importorskip(package)
    return ImageCases(Path(), tmp_path_factory.mktemp("images"), 0)


@pytest.mark.filterwarnings("ignore")  # of decoders and of numbers that overflow: errors are what counts
def test_damaged_bundles_are_refused_or_right(bundle: Path, tmp_path: Path) -> None:
    cases = BundleCases(bundle, tmp_path / "case", seed=1)
    found = [cases.run(n) for n in range(CASES)]
    assert [v for v in found if v.finding] == []
    assert len({v.way for v in found}) > len(set(WAYS)) / 2
    assert {bool(v.refused) for v in found} == {True, False}  # of both kinds


@pytest.mark.filterwarnings("ignore")
def test_damaged_images_are_refused_or_right(images: ImageCases) -> None:
    found = [images.run(n) for n in range(4 * CASES)]
    assert [v for v in found if v.finding] == []
    assert {v.refused for v in found} == {"", "ImageError"}


def test_wrong_pixels_and_other_errors_are_found(
    images: ImageCases, bundle: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    plain = images.files["plain.jpg"]
    images.judge("plain.jpg", plain, False)
    with pytest.raises(Finding, match="cut short, and accepted with other pixels"):
        images.judge("plain.jpg", images.files["grey.jpg"], True)
    monkeypatch.setattr(
        "colora.benchmarks.fuzz_images.read_image", lambda file: np.zeros((37, 53, 3), np.uint8)
    )
    with pytest.raises(Finding, match="trusted decoders give"):
        images.judge("plain.jpg", plain, False)

    def nameless(self: Session) -> None:
        raise KeyError("deliberate")

    cases = BundleCases(bundle, tmp_path / "case", seed=1)
    monkeypatch.setattr(Session, "verify", nameless)
    found = [cases.run(n).finding for n in range(12)]
    assert any(f.startswith("KeyError: 'deliberate' at test_fuzz.py:") for f in found)


def test_a_verdict_tells_findings_from_refusals() -> None:
    def found() -> str:
        raise Finding("it must not be")

    assert judged("way", lambda: "x", lambda: "BundleError") == Verdict("way", "x", refused="BundleError")
    assert judged("way", lambda: "x", found) == Verdict("way", "x", finding="it must not be")


def test_a_process_that_dies_or_hangs_is_a_finding_and_the_rest_is_done(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    child = tmp_path / "child"
    child.write_text(
        '#!/bin/sh\nn=$7; while [ $n -lt $8 ]; do echo "{\\"case\\": $n}"\n[ $n = 1 ] && kill -SEGV $$\n'
        "[ $n = 2 ] && exec sleep 60\n[ $n = 4 ] && exit 3\n"
        'echo \'{"way": "w", "done": "d"}\'; n=$((n+1)); done\n'
    )
    child.chmod(0o755)
    monkeypatch.setattr("colora.benchmarks.fuzz.HANG_S", 1.0)
    monkeypatch.setattr("colora.benchmarks.fuzz.sys.executable", str(child))
    found = dict(fuzz.verdicts("images", tmp_path, tmp_path, 0, 0, 6))
    assert [v.finding.split(";")[0] for v in found.values()] == [
        "", "ends the process: signal SIGSEGV", "hangs for 1 s", "", "ends the process: exit code 3", "",
    ]  # fmt: skip
    assert list(found) == list(range(6))


def test_the_command_fills_the_record(tmp_path: Path, images: ImageCases) -> None:
    args = ["--bundles", "0", "--images", "6", "--jobs", "1", "-o", str(tmp_path)]
    result = CliRunner().invoke(fuzz.command, args, catch_exceptions=False)
    assert result.exit_code == 0, result.output
    (file,) = tmp_path.glob("fuzz-*.json")
    record = json.loads(file.read_text())["images"]
    assert sum(record["cases"].values()) == 6 and record["findings"] == {}
    assert sum(record["refused"].values()) + sum(record["accepted"].values()) == 6
    assert "findings" in file.with_suffix(".md").read_text()


@pytest.mark.parametrize("mutate", sorted(set(BYTES), key=lambda f: f.__name__))
def test_bytes_are_damaged_as_the_seed_says(mutate: Any) -> None:
    data = bytes(range(256)) * 4
    results = [mutate(data, np.random.default_rng(n)) for n in range(8)]
    assert results == [mutate(data, np.random.default_rng(n)) for n in range(8)]
    assert sum(r != data for r in results) >= 6
    for short in (b"", b"x"):
        mutate(short, np.random.default_rng(0))


def test_json_is_damaged_in_one_place() -> None:
    whole = {"a": {"b": [1, 2, {"c": "text"}]}, "d": 0.5}
    results = [damage_json(whole, np.random.default_rng(n))[0] for n in range(40)]
    assert whole == {"a": {"b": [1, 2, {"c": "text"}]}, "d": 0.5}
    assert len({repr(r) for r in results}) > 20 and sum(r == whole for r in results) <= 4


def test_right_hashes_let_damage_through_to_the_checks_behind(bundle: Path, tmp_path: Path) -> None:
    import shutil

    from colora.devices.errors import BundleError
    from colora.runtime.bundle import open_bundle

    damaged = Path(shutil.copytree(bundle, tmp_path / "b"))
    (damaged / "parity.json").write_bytes(
        damage((damaged / "parity.json").read_bytes(), np.random.default_rng(0))[0]
    )
    with pytest.raises(BundleError, match=r"parity\.json is damaged"):
        open_bundle(damaged)
    rehash(damaged)
    open_bundle(damaged)


def test_png_checksums(images: ImageCases) -> None:
    data = images.files["plain.png"]
    assert sound_png(data) and sound_png(data + b"after the end")
    assert not sound_png(data[:-9]) and not sound_png(data[:60] + b"\xff\0" + data[62:])
