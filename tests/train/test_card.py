"""A card's curves: what was kept is read from the run, drawn, and told by the backbone's file."""

import json
from pathlib import Path

import pytest
from colora.train.card import draw, read_curves
from colora.train.fit import FitConfig
from colora.train.pretrain import pretrain


def test_curves_tell_the_step_that_was_kept(tmp_path: Path) -> None:
    pytest.importorskip("matplotlib")
    rows = [(50, None, 0), (100, 23.0, 100), (150, 21.0, 100)]
    told = [{"step": s, "psnr_db": 20.0, "validation_db": db, "kept_step": kept} for s, db, kept in rows]
    older = [{name: value for name, value in row.items() if name != "kept_step"} for row in told[:1]]
    for folder, lines in (("fit-1", told), ("target-2", older)):
        (tmp_path / folder).mkdir()
        (tmp_path / folder / "curve.jsonl").write_text("\n".join(map(json.dumps, lines)))
    curves = read_curves(tmp_path)
    assert [(c.name, c.kept_step, c.held_out) for c in curves] == [
        ("fit", 100, [(100, 23.0), (150, 21.0)]),
        ("target", 50, []),
    ]
    draw(curves, tmp_path / "curve.png")
    assert (tmp_path / "curve.png").read_bytes().startswith(b"\x89PNG")


def test_a_backbone_tells_the_step_that_was_kept(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import cv2
    import numpy as np
    from colora.runtime.weights import read_tensors

    for i in range(3):
        picture = np.random.default_rng(i).integers(0, 256, (32, 32, 3)).astype(np.uint8)
        cv2.imwrite(str(tmp_path / f"{i}.png"), picture)
    found = iter([9.0, 8.0])
    monkeypatch.setattr("colora.train.pretrain.held_out_psnr", lambda centres: lambda model: next(found))
    config = FitConfig(2, threads=1, validate_every=1)
    output = tmp_path / "b.safetensors"
    pretrain([tmp_path], output, config, backbone="nafnet-tiny", batch=1, patch=8, held_out=1)
    training = json.loads(read_tensors(output)[1]["colora"])["training"]
    assert (training["kept_step"], training["augment"], training["fit"]["keep"]) == (1, True, "best")
