"""The quality table, on pairs made here."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from click.testing import CliRunner
from colora.benchmarks.classical import non_local_means
from colora.benchmarks.quality import Method, Score, command, page, score
from colora.benchmarks.quality_compute import page as page_by_compute
from colora.benchmarks.quality_compute import plot, rows, tera_macs
from colora.benchmarks.scenarios import picture
from colora.benchmarks.tiny import Tiny
from colora.devices.errors import ColoraError
from colora.runtime.image import write_image
from colora.runtime.quality import psnr
from colora.train.backbones import find_backbone
from colora.train.photos import Pair


@pytest.fixture
def pairs(tmp_path: Path) -> Path:
    folder = tmp_path / "denoise_awgn25"
    for part in ("input", "target"):
        (folder / part).mkdir(parents=True)
    for i in range(3):
        clean = picture(48)
        noisy = clean + np.random.default_rng(i).normal(0, 10, clean.shape)
        write_image(folder / "input" / f"{i}.png", np.clip(noisy, 0, 255).astype(np.uint8))
        write_image(folder / "target" / f"{i}.png", clean)
    return folder


def test_score_is_the_mean_over_pairs() -> None:
    clean = np.zeros((16, 16, 3), np.uint8)
    pairs = [Pair("a", clean + np.uint8(1), clean), Pair("b", clean + np.uint8(10), clean)]
    found = score("s", pairs, Method("input", "as given", np.asarray))
    # errors of 1 and 10 levels: 20 dB apart
    assert found.n == 2
    assert found.psnr_db == pytest.approx(20 * np.log10(255) - 10)
    assert found.ssim < 1


def test_non_local_means_removes_noise_and_keeps_colours_in_order() -> None:
    clean = np.zeros((64, 64, 3), np.uint8)
    clean[..., 0], clean[..., 2] = 200, 40
    noisy = np.clip(clean + np.random.default_rng(0).normal(0, 25, clean.shape), 0, 255).astype(np.uint8)
    assert psnr(non_local_means(noisy, 17, 17), clean) > psnr(noisy, clean) + 3  # dB; swapped colours lose 10


def test_markdown_has_a_gap_where_nothing_was_scored() -> None:
    scores = [Score("a", "input", 2, 20.123, 0.5, ""), Score("a", "bm3d", 2, 29.0, 0.75, "σ 25")]
    scores.append(Score("b", "input", 3, 10.0, 0.25, ""))
    lines = page(scores).splitlines()
    assert lines[0] == "| set | n | input | bm3d |"
    assert lines[2] == "| a | 2 | 20.12 / 0.500 | 29.00 / 0.750 |"
    assert lines[3] == "| b | 3 | 10.00 / 0.250 | – |"
    assert "- a, bm3d: σ 25" in lines


def test_table_of_a_bundle(bundle: Path, tiny: Tiny, pairs: Path, tmp_path: Path) -> None:
    out = tmp_path / "q.json"
    args = ["--pairs", str(pairs), "--bundle", str(bundle), "--full-tuned", f"noise={tiny.backbone}"]
    args += ["--skip", "bm3d", "--limit", "2", "--threads", "1", "-o", str(out)]
    result = CliRunner().invoke(command, args, catch_exceptions=False)
    assert result.exit_code == 0, result.output
    record = json.loads(out.read_text("utf-8"))
    found = {s["column"]: s for s in record["scores"]}
    assert found.keys() == {"input", "opencv", "backbone", "adapter", "full tuning"}
    assert all(s["n"] == 2 for s in found.values())
    assert found["adapter"]["psnr_db"] != found["backbone"]["psnr_db"]
    # the "tuned" model is the backbone: 8-bit results of PyTorch and ONNX Runtime differ in a few last bits
    assert found["full tuning"]["psnr_db"] == pytest.approx(found["backbone"]["psnr_db"], abs=0.01)
    assert out.with_suffix(".md").read_text("utf-8").startswith("| set | n |")


def test_a_set_without_a_task_is_refused(bundle: Path, pairs: Path) -> None:
    strange = pairs.rename(pairs.parent / "fog")
    result = CliRunner().invoke(command, ["--pairs", str(strange), "--bundle", str(bundle)])
    assert "no task is known for the set 'fog': give it with --task fog=TASK" in str(result.exception)


def test_compute_is_told_over_the_pictures_that_the_peers_saw(tmp_path: Path) -> None:
    scores = [
        {"set": "jpeg", "column": column, "each": [20.0 + i + shift for i in range(22)]}
        for column, shift in (("input", 0.0), ("opencv", 1.0), ("adapter", 5.0))
    ]
    table = rows(scores, 0.1)
    found = {row.name: (row.n, row.psnr_db, row.tmac) for row in table}
    assert found["colora, adapter"] == (20, 34.5, 0.1)  # the mean of 25 to 44, not of all 22
    assert found["input"] == (20, 29.5, None)
    assert found["waifu2x cunet"] == (20, 30.38, None)
    assert page_by_compute(table).splitlines()[2] == "| jpeg | colora, adapter | 20 | 34.50 | 0.1 |"
    plot(table, tmp_path / "plot.png")
    assert (tmp_path / "plot.png").read_bytes()[:4] == b"\x89PNG"


def test_compute_needs_the_score_of_each_picture() -> None:
    with pytest.raises(ColoraError, match=r"record of jpeg has means alone.*run benchmarks\.quality again"):
        rows([{"set": "jpeg", "column": "input", "psnr_db": 20.0}], 0.1)


def test_multiply_adds_of_a_backbone_are_those_of_its_convolutions() -> None:
    model, side = find_backbone("nafnet-tiny").build(), 256
    counted = []
    for module in model.modules():
        if isinstance(module, torch.nn.Conv2d):
            module.register_forward_hook(
                lambda conv, _, out: counted.append(out.numel() * conv.weight[0].numel())
            )
    model(torch.zeros(1, 3, side, side))
    assert tera_macs("nafnet-tiny") * 1e6 == pytest.approx(sum(counted) / side**2)
