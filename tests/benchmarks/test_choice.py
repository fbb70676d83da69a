"""The confusion matrix counts what was chosen, and the command writes it for pairs on disk."""

import json
from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner
from colora.benchmarks.choice import FEW, Seen, calibration_error, command, confusion, reliability
from colora.benchmarks.choice_view import sums
from colora.runtime.choice import CLEAN, NOTHING, network

LABELS = network().labels


def seen(set_name: str, truth: str, **shares: float) -> Seen:
    rest = 1 - sum(shares.values())
    told = (shares.get(label, 0.0) + (rest if label == CLEAN else 0) for label in LABELS)
    return Seen(set_name, truth, "x", tuple(told))


SEEN = [
    seen("a", "rain", rain=0.9),
    seen("a", CLEAN, rain=0.1),
    seen("a", "rain", noise=0.6, rain=0.4),
    seen("b", "haze", haze=0.8),
    seen("b", CLEAN, haze=0.8),
]


def test_counts_by_set_inputs_first() -> None:
    shipped = confusion(SEEN, FEW)
    assert [(row.set, row.truth, row.n, row.right) for row in shipped] == [
        ("a", "rain", 2, 1), ("b", "haze", 1, 1), ("a", CLEAN, 1, 1), ("b", CLEAN, 1, 1),
    ]  # fmt: skip
    assert shipped[0].chosen == {"noise": 1, "rain": 1, NOTHING: 0}
    assert sums(shipped) == [
        ("inputs with a task of the bundle", 1, 2), ("other inputs", 1, 1), ("clean pictures", 2, 2),
    ]  # fmt: skip
    everything = confusion(SEEN, [label for label in LABELS if label != CLEAN])
    assert [row.right for row in everything] == [1, 1, 1, 0]


def test_confidence_against_what_was_right() -> None:
    bins = reliability(SEEN, FEW)
    assert [(b.above, b.n) for b in bins] == [(0.5, 1), (0.9, 4)]
    assert bins[0].right == 0
    assert calibration_error(bins) == pytest.approx((0.6 + 4 * (1 - (0.9 + 0.9 + 1 + 1) / 4)) / 5)


def test_the_command_writes_what_it_found(bundle: Path, tmp_path: Path) -> None:
    cv2 = pytest.importorskip("cv2")
    pytest.importorskip("matplotlib", reason="pip install 'colora[bench]'")
    rng = np.random.default_rng(0)
    for n in range(2):
        clean = cv2.resize(rng.integers(0, 256, (8, 8, 3), dtype=np.uint8), (96, 96))
        noisy = np.clip(clean + rng.normal(0, 30, clean.shape), 0, 255).astype(np.uint8)
        for side, picture in (("input", noisy), ("target", clean)):
            (tmp_path / "pairs/denoise_awgn25" / side).mkdir(parents=True, exist_ok=True)
            cv2.imwrite(str(tmp_path / "pairs/denoise_awgn25" / side / f"{n}.png"), picture)
    output = tmp_path / "choice.json"
    options = [
        "--pairs",
        str(tmp_path / "pairs"),
        "--bundle",
        str(bundle),
        "--rounds",
        "2",
        "-o",
        str(output),
    ]
    done = CliRunner().invoke(command, options, catch_exceptions=False)
    assert done.exit_code == 0, done.output
    record = json.loads(output.read_text())
    assert record["kind"] == "choice"
    assert [(row["truth"], row["n"]) for row in record["confusion"]["rain and noise alone"]] == [
        ("noise", 2),
        (CLEAN, 2),
    ]
    assert set(record["cost"]) == {"restore 512²", "choose 512²", "choose 3840×2160"}
    page = output.with_suffix(".md").read_text()
    assert page.startswith("# choice: ")
    assert "| denoise_awgn25, inputs: noise | 2 |" in page
    assert output.with_suffix(".png").read_bytes().startswith(b"\x89PNG")
