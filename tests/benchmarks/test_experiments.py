"""Experiments: what they say of the paper, how other degradations look, and one real run, small, that is cached."""

import json
from dataclasses import asdict
from pathlib import Path

import cv2
import numpy as np
import pytest
from click.testing import CliRunner
from colora.benchmarks.experiment_data import split_photos
from colora.benchmarks.experiment_rivals import degae, real_esrgan
from colora.benchmarks.experiment_runs import METHODS, RECIPES, Run
from colora.benchmarks.experiment_view import Claim, judge, points
from colora.benchmarks.experiments import EXPERIMENTS, command


def result(psnr_db: float, **run: object) -> dict[str, object]:
    return {"run": asdict(Run("rain")) | run, "psnr_db": psnr_db, "input_db": 20.0}


def test_gaps_are_taken_between_runs_that_differ_in_nothing_else() -> None:
    told = [
        result(25.0 + gap * (method == "colora") + 3 * seed, method=method, seed=seed)
        for method in ("colora", "full")
        for seed, gap in ((0, 0.4), (1, 0.6))
    ]
    alone = result(0.0, method="colora", seed=7)  # has no partner
    for paper, verdict in (
        (0.55, "agrees"),
        (-0.2, "CONTRADICTS the paper's sign"),
        (0.9, "differs from the paper, smaller"),
    ):
        (line,) = judge([*told, alone], Claim("colora", "full", {32: paper}), "method", "pairs")
        assert line.startswith(
            f"pairs 32: colora - full +0.50 dB ± 0.10 (2 runs); paper {paper:+.2f}: {verdict}"
        )
    (line,) = judge(told[::2], Claim("colora", "full", {32: 0.3}), "method", "pairs")
    assert line.endswith("+0.40 dB (one run); paper +0.30: one run can't tell")


def test_means_over_tasks_need_all_of_them() -> None:
    results = [
        result(21.0, method="full"),
        result(23.0, method="full", seed=1),
        result(26.0, method="full", task="haze"),
    ]
    results.append(result(30.0, method="colora"))
    told = {(p.task, p.line): (p.psnr_db, p.runs) for p in points(results, "recipe+method", "pairs")}
    assert told == {
        ("rain", "prod, full"): (22.0, 2),
        ("haze", "prod, full"): (26.0, 1),
        ("mean", "prod, full"): (pytest.approx(70 / 3), 3),
        ("rain", "prod, colora"): (30.0, 1),
    }


@pytest.mark.parametrize("spoil", [degae, real_esrgan])
def test_rivals_degrade(spoil: object) -> None:
    assert callable(spoil)
    image = np.random.default_rng(0).random((32, 48, 3), dtype=np.float32)
    spoilt = [spoil(image, np.random.default_rng(seed))[0] for seed in range(12)]
    assert all(
        s.shape == image.shape and s.dtype == np.float32 and 0 <= s.min() <= s.max() <= 1 for s in spoilt
    )
    assert sum(np.array_equal(s, image) for s in spoilt) < 8
    assert np.array_equal(spoilt[3], spoil(image, np.random.default_rng(3))[0])


def test_every_run_can_be_made() -> None:
    for experiment in EXPERIMENTS.values():
        assert len(set(experiment.runs)) == len(experiment.runs)
        assert all(run.recipe in RECIPES and run.method in METHODS for run in experiment.runs)


@pytest.fixture
def photos(tmp_path: Path) -> Path:
    folder = tmp_path / "photos"
    folder.mkdir()
    rng = np.random.default_rng(0)
    for i in range(36):
        tile = np.kron(rng.integers(0, 255, (6, 6, 3)), np.ones((8, 8, 1))).astype(np.uint8)
        cv2.imwrite(str(folder / f"{i}.png"), tile)
    return folder


def test_no_photograph_serves_two_ends(photos: Path) -> None:
    for i in range(36):  # a second tile of each
        (photos / f"{i}.png").rename(photos / f"{i}_0_0.png")
        cv2.imwrite(str(photos / f"{i}_0_8.png"), np.zeros((48, 48, 3), np.uint8))
    found = split_photos([photos], 3, None, None)
    parts = [
        {f.name.split("_")[0] for f in part}
        for part in (found.pretrain, found.adapt, found.validate, found.test)
    ]
    assert [len(part) for part in parts] == [18, 2, 4, 12]
    assert len(set.union(*parts)) == 36


def test_runs_are_made_once(photos: Path, tmp_path: Path) -> None:
    sizes = "--pretrain-steps 1 --steps 1 --patch 16 --batch 1 --faig-steps 1 --faig-images 1 --threads 1"
    paths = ["--photos", str(photos), "--work", str(tmp_path / "work"), "-o", str(tmp_path)]
    arguments = ["a", *paths, *sizes.split(), "--task", "rain", "--seeds", "1"]
    arguments += ["--only", "uniform"]  # attribution is tested with adapt
    done = CliRunner().invoke(command, [*arguments, "--adapt-photos", "2", "--pairs", "16"])
    assert done.exit_code == 1 and "2 pairs of rain to adapt to; expected 16" in str(done.exception)

    arguments += ["--adapt-photos", "16", "--pairs", "16"]
    done = CliRunner().invoke(command, arguments)
    assert done.exit_code == 0, done.output
    assert "a: FAIG-sized adapters" in done.output and "1 of 1: " in done.output
    record = json.loads((tmp_path / "experiment-a.json").read_text())
    assert [point["line"] for point in record["points"]] == ["uniform"]
    assert 0.06 < record["runs"][0]["stored"] <= 0.07
    text = (tmp_path / "experiment-a.md").read_text()
    assert "| task | method | pairs 16 |" in text and (tmp_path / "experiment-a.png").exists()

    made = {path: path.stat().st_mtime_ns for path in (tmp_path / "work").rglob("*") if path.is_file()}
    assert CliRunner().invoke(command, arguments).exit_code == 0
    assert made == {
        path: path.stat().st_mtime_ns for path in (tmp_path / "work").rglob("*") if path.is_file()
    }
