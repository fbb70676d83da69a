"""Experiments: what they say of the paper, how other degradations look, and one real run, small, that is cached."""

import json
import shutil
import time
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict
from pathlib import Path

import cv2
import numpy as np
import pytest
from click.testing import CliRunner
from colora.benchmarks import experiment_jobs
from colora.benchmarks.experiment_data import Sources, split_photos
from colora.benchmarks.experiment_jobs import Outcome, Shop, groups, perform_all
from colora.benchmarks.experiment_rivals import degae, real_esrgan
from colora.benchmarks.experiment_runs import METHODS, RECIPES, Run, Scale, Where, cell_of
from colora.benchmarks.experiment_table import EXPERIMENTS
from colora.benchmarks.experiment_view import Claim, judge, points
from colora.benchmarks.experiments import command


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


def test_each_run_once_and_those_of_a_fully_tuned_copy_together() -> None:
    found = groups([EXPERIMENTS[name].runs for name in ("a", "b", "c")])
    runs = [run for group in found for run in group]
    assert set(runs) == {run for name in ("a", "b", "c") for run in EXPERIMENTS[name].runs}
    assert len(set(runs)) == len(runs)
    assert [len(group) for group in found[:24]] == [4] * 24  # a's methods
    assert all(len({cell_of(run) for run in group}) == 1 for group in found)


def test_jobs_wait_for_their_backbone_and_share_no_folder(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    shop = Shop(Scale(), Sources((Path("a.png"),), (), (), ()), tmp_path, Where())
    begun: list[str] = []
    busy: set[object] = set()

    def pretrain(run: Run, shop: Shop) -> list[Outcome]:
        assert run.recipe not in begun
        begun.append(run.recipe)
        if run.recipe == "single":
            raise RuntimeError("out of memory")
        shop.backbone(run).parent.mkdir(exist_ok=True)
        shop.backbone(run).touch()
        return []

    def perform_each(runs: Sequence[Run], shop: Shop) -> list[Outcome]:
        assert shop.backbone(runs[0]).exists()
        assert cell_of(runs[0]) not in busy
        busy.add(cell_of(runs[0]))
        time.sleep(0.001)  # for others to begin
        busy.remove(cell_of(runs[0]))
        return [(run, {"psnr_db": 0.0}) for run in runs]

    monkeypatch.setattr(experiment_jobs, "_pretrain", pretrain)
    monkeypatch.setattr(experiment_jobs, "perform_each", perform_each)
    monkeypatch.setattr(
        experiment_jobs, "ProcessPoolExecutor", lambda jobs, *_, **__: ThreadPoolExecutor(jobs)
    )
    wanted = [EXPERIMENTS[name].runs for name in ("b", "a", "c")]
    outcomes = [one for told in perform_all(wanted, shop, 4) for one in told]
    assert sorted(map(str, (run for run, _ in outcomes))) == sorted(map(str, set().union(*wanted)))
    lost = {run.recipe for run, told in outcomes if isinstance(told, str)}
    assert lost == {"single"} and (
        "failed: RuntimeError: out of memory" in {str(told) for _, told in outcomes}
    )
    assert sorted(begun) == ["fixed", "none", "prod", "single"]


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

    for folder in ("adapters", "backbones", "cells"):
        shutil.rmtree(tmp_path / "work" / folder)
    arguments = ["a", *paths[2:], *sizes.split()[:-2], "--cached"]
    done = CliRunner().invoke(command, arguments)
    assert done.exit_code == 0, done.output
    assert "1 of 96 runs are made" in done.output
    again = json.loads((tmp_path / "experiment-a.json").read_text())
    assert again["points"] == record["points"] and again["notes"] == ["1 of 96 runs are made"]
    done = CliRunner().invoke(command, [*arguments, "--only", "full"])
    assert done.exit_code == 1 and "has none of its 24 runs of this scale" in str(done.exception)
