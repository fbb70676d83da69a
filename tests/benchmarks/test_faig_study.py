"""The FAIG study: coarser paths come out of the finest, and the command writes what it found."""

import json
from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner
from colora.benchmarks.faig_study import Row, cheapest, command, compare, scores_by_steps
from colora.benchmarks.tiny import Tiny

SHAPES = {"a.weight": (32, 32, 1, 1), "b.weight": (32, 32, 1, 1), "c.weight": (32, 32, 1, 1)}


def test_scores_of_each_n_are_faigs(tiny: Tiny) -> None:
    import torch
    from colora.runtime.adapter import read_adapter
    from colora.train.attribution import faig
    from colora.train.checkpoint import load_backbone
    from colora.train.methods import merged

    checkpoint = load_backbone(str(tiny.backbone))
    target = merged(checkpoint, read_adapter(tiny.rain, checkpoint.sha256).params).state_dict()
    model, baseline = checkpoint.module, checkpoint.module.state_dict()
    torch.manual_seed(0)
    pair = (torch.rand(1, 3, 8, 8), torch.rand(1, 3, 8, 8))
    found = scores_by_steps(model, baseline, target, pair, [1, 2, 4])
    for row, steps in zip(found, (1, 2, 4), strict=True):
        wanted = list(faig(model, baseline, target, [pair], steps).contribution.values())
        np.testing.assert_allclose(row, wanted, rtol=1e-5)  # fp32 products taken in another order


def test_compares_with_the_finest_on_all_images() -> None:
    scores = np.array([[[1.0, 2, 3], [1, 2, 3]], [[3.0, 2, 1], [1, 2, 4]]])  # (image, N, parameter)
    rows = compare(scores, [1, 5], SHAPES, 3 * 32 * 16, beta=0.01, draws=10, seed=0)
    assert [(row.images, row.steps) for row in rows] == [(1, 1), (1, 5), (2, 1), (2, 5)]
    one, fine, flat, reference = rows
    assert one.scores_worst == pytest.approx(-1)  # of ten draws of one image out of two, both came
    assert -1 < one.scores_mean < 1
    assert (fine.scores_worst, reference.scores_worst) == (pytest.approx(1), pytest.approx(1))
    assert flat.scores_worst == 0  # the two images cancel to 2, 2, 2
    assert cheapest(rows) == fine


def test_enough_asks_the_worst_of_scores_and_ranks() -> None:
    assert Row(5, 1, 1.0, 0.96, 1.0, 0.95).enough
    assert not Row(5, 1, 1.0, 0.94, 1.0, 1.0).enough
    assert not Row(5, 1, 1.0, 1.0, 1.0, 0.94).enough


def test_the_command_writes_record_and_plot(tmp_path: Path) -> None:
    pytest.importorskip("matplotlib", reason="pip install 'colora[bench]'")
    output = tmp_path / "study.json"
    options = [
        "--tiny",
        "--images",
        "2",
        "--steps",
        "4",
        "--patch",
        "32",
        "--budget",
        "0.6",
        "-o",
        str(output),
    ]
    done = CliRunner().invoke(command, options, catch_exceptions=False)
    assert done.exit_code == 0, done.output
    record = json.loads(output.read_text())
    assert record["kind"] == "faig-study"
    assert [(row["images"], row["steps"]) for row in record["rows"]] == [
        *((1, 1), (1, 2), (1, 4), (2, 1), (2, 2), (2, 4))
    ]
    assert record["rows"][-1]["scores_worst"] == pytest.approx(1)
    assert output.with_suffix(".png").read_bytes().startswith(b"\x89PNG")
