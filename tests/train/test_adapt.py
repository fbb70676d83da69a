"""`colora adapt` end to end on a tiny backbone, and what it refuses before it trains."""

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from click.testing import CliRunner, Result
from colora.devices.errors import ColoraError
from colora.runtime.adapter import read_adapter
from colora.runtime.cli import main
from colora.runtime.image import read_image, write_image
from colora.train.adapt_config import AdaptConfig, check
from colora.train.backbones import find_backbone
from colora.train.card import _adapter_facts
from colora.train.checkpoint import load_backbone, save_backbone
from colora.train.examples import Examples
from colora.train.fit import FitConfig
from colora.train.patches import Stage
from colora.train.photos import Pair

SIZES = {
    "patches": "16x2",
    "steps": 3,
    "target-steps": 2,
    "faig-steps": 2,
    "faig-images": 1,
}
SHORT = ["--threads", "1", *(word for name, value in SIZES.items() for word in (f"--{name}", str(value)))]
QUICK = [*SHORT, "--budget", "1"]
"""a budget of 1, since the golden output alone takes 0.62 of so small a backbone"""


@pytest.fixture(scope="module")
def backbone(tmp_path_factory: pytest.TempPathFactory) -> Path:
    torch.manual_seed(0)
    path = tmp_path_factory.mktemp("backbone") / "tiny.safetensors"
    spec = find_backbone("nafnet-tiny")
    save_backbone(path, spec.build(), spec, {})
    return path


@pytest.fixture
def pairs(tmp_path: Path) -> Path:
    """Sixteen grey-brown fields under fog: the clean picture halfway to white."""
    rng = np.random.default_rng(0)
    folder = tmp_path / "foggy"
    for i in range(16):
        clean = np.kron(rng.integers(0, 200, (5, 4, 3)), np.ones((8, 8, 1))).astype(np.uint8)
        for side, picture in (("input", 128 + clean // 2), ("target", clean)):
            (folder / side).mkdir(parents=True, exist_ok=True)
            write_image(folder / side / f"{i:02}.png", picture)
    return folder


def adapt(*arguments: object) -> Result:
    return CliRunner().invoke(main, ["adapt", *map(str, arguments)])


def test_pairs_of_a_task_of_the_users_own(pairs: Path, backbone: Path, tmp_path: Path) -> None:
    output = tmp_path / "out" / "fog.safetensors"
    arguments = (
        "--task",
        "fog",
        "--pairs",
        pairs,
        "--backbone",
        backbone,
        *QUICK,
        "-o",
        output,
        "--eval",
        pairs,
    )
    done = adapt(*arguments)
    assert done.exit_code == 0, done.output
    assert "fog: 14 pairs of foggy; 2 more held out" in done.output
    assert "fog: FAIG along 2 points over 1 pictures\n     1/2\n     2/2\n" in done.output
    adapter = read_adapter(output, load_backbone(str(backbone)).sha256)
    assert adapter.task == "fog"
    columns = ("input", "backbone", "adapted", "full_tuning")
    assert adapter.quality.keys() == {f"{s}_{c}_psnr_db" for s in ("held_out", "foggy") for c in columns}
    for figure in adapter.quality.values():
        assert f"{figure:.2f}" in done.output
    told = " ".join(done.output.split())
    lost = adapter.quality["foggy_input_psnr_db"] - adapter.quality["foggy_backbone_psnr_db"]
    assert ("pre-training hurts" in told) == (lost > 0.1) == (f"{lost:.2f} dB on foggy" in told)
    sheet = read_image(tmp_path / "out" / "fog-sheet.png")
    assert sheet.shape == (3 * (20 + 256 + 8) - 8, 4 * (256 + 8) - 8, 3)  # two held out, one of the set
    middle = read_image(pairs / "target" / "00.png")  # the first pair of each set, and the first one held out
    assert (sheet[20:60, 3 * 264 : 3 * 264 + 32] == middle).all()

    shown = CliRunner().invoke(main, ["attribution", str(tmp_path / "out" / "fog" / "faig.json")])
    assert shown.exit_code == 0 and "N = 2 on 1 images" in shown.output

    again = adapt(*arguments)  # nothing is trained anew
    assert again.exit_code == 0, again.output
    assert read_adapter(output).content_sha256 == adapter.content_sha256
    write_image(pairs / "input" / "07.png", np.full((40, 32, 3), 255, np.uint8))
    assert adapt(*arguments).exit_code == 0  # other pictures under the same names: all is
    assert read_adapter(output).content_sha256 != adapter.content_sha256


def test_photographs_degraded_as_the_user_says(pairs: Path, backbone: Path, tmp_path: Path) -> None:
    output = tmp_path / "smog.safetensors"
    arguments = ("--task", "smog", "--photos", pairs / "target", "--backbone", backbone, *QUICK, "-o", output)
    done = adapt(*arguments, "--degrade", "haze+noise", "--loss", "charbonnier", "--held-out", 1)
    assert done.exit_code == 0, done.output
    assert (
        "smog: 15 photographs of target, augmented and degraded by haze → noise; 1 more held out"
        in done.output
    )
    assert read_adapter(output).task == "smog"
    rows = (tmp_path / "smog").glob("fit-*/curve.jsonl")
    last = json.loads(next(rows).read_text().splitlines()[-1])
    assert last["validation_db"] is not None and last["loss"] > 0  # PSNR as a loss would be negative here

    growing = ("--patches", "8x3,16x2")
    given = adapt(*arguments, *growing, "--degrade", "haze+noise", "--ranks", "uniform-rank", "--held-out", 0)
    assert given.exit_code == 0, given.output
    assert "full tuning" not in given.output
    assert len({p.rank for p in read_adapter(output).params.values() if p.kind == "low-rank"}) == 1

    done = adapt(*arguments, "--degrade", "haze+noise", "--ranks", "unifrm")
    assert done.exit_code == 2 and "unknown allocation 'unifrm': did you mean uniform" in done.output
    done = adapt(*arguments, "--degrade", "haze+nois")
    assert done.exit_code == 2 and "unknown degradation 'nois': did you mean noise?" in done.output
    done = adapt(*arguments)
    assert done.exit_code == 2 and "unknown task 'smog'" in done.output and "--degrade" in done.output


def test_ranks_by_hand_with_a_budget_of_their_own_and_names_that_a_shell_would_split(
    pairs: Path, backbone: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(pairs / "target")
    ranks, output = tmp_path / "ranks.json", tmp_path / "my fog.safetensors"
    ranks.write_text('{"ranks": {"ending.bias": 0}}')
    files = ("--photos", ".", "--backbone", backbone, "--ranks", ranks, "-o", output)
    done = adapt("--task", "rain", *files, *SHORT, "--steps", 1, "--budget", 0.62)
    assert done.exit_code == 0, done.output  # the golden output takes 0.6176
    assert "rain: adapter of 61.8% of the backbone, in 1 of its " in done.output
    assert "14 photographs of target, augmented" in done.output
    assert f"--adapter '{output}' --backbone {backbone}\n" in done.output


def test_goes_on_from_an_adapter(pairs: Path, backbone: Path, tmp_path: Path) -> None:
    first, second = tmp_path / "first.safetensors", tmp_path / "second.safetensors"
    arguments = ("--task", "fog", "--pairs", pairs, "--backbone", backbone, *SHORT)
    done = adapt(*arguments, "--budget", 1, "--ranks", "uniform", "-o", first)
    assert done.exit_code == 0, done.output

    still = adapt(*arguments, "--start", first, "--lr", 0, "-o", second)
    assert still.exit_code == 0, still.output
    assert "full tuning" not in still.output
    a, b = (read_adapter(path) for path in (first, second))
    assert a.params.keys() == b.params.keys()
    for name, p in a.params.items():  # at a rate of 0 nothing moves: what is written is what was taken
        assert (p.kind, p.rank, p.contribution) == (
            b.params[name].kind,
            b.params[name].rank,
            b.params[name].contribution,
        )
        assert all((tensor == b.params[name].tensors[key]).all() for key, tensor in p.tensors.items())
    assert (a.started_from, b.started_from) == ("", a.content_sha256)
    score = {"set": "rainy_pictures", "n": 2, "ssim": 0.5, "told": f"task {b.task}, in ONNX Runtime"}
    scores = [{**score, "column": "input", "psnr_db": 9.0}, {**score, "column": "adapter", "psnr_db": 30.0}]
    card = _adapter_facts(b, str(backbone), scores)
    assert "| rainy_pictures | 2 | 9.00 / 0.500 | 30.00 / 0.500 |\n" in card
    assert f"went on from the adapter content sha256 `{a.content_sha256}`" in card
    assert "| set | input | backbone | start | adapted |\n" in card
    assert "went on from the adapter" not in _adapter_facts(a, str(backbone), [])
    assert b.quality["held_out_start_psnr_db"] == a.quality["held_out_adapted_psnr_db"]

    done = adapt(*arguments, "--start", first, "-o", tmp_path / "third.safetensors")
    assert done.exit_code == 0, done.output
    third = read_adapter(tmp_path / "third.safetensors")
    assert third.content_sha256 not in (a.content_sha256, b.content_sha256)
    assert third.params.keys() == a.params.keys()
    # another adapter to start from is another run, though ranks and pictures are the same
    done = adapt(*arguments, "--start", tmp_path / "third.safetensors", "--lr", 0, "-o", second)
    assert done.exit_code == 0, done.output
    assert len(list((tmp_path / "second").glob("fit-*"))) == 2
    for name, p in read_adapter(second).params.items():
        assert all((tensor == third.params[name].tensors[key]).all() for key, tensor in p.tensors.items())


@pytest.mark.parametrize(
    ("arguments", "text"),
    [
        (
            ["--start", "rain", "--budget", "0.1", "--ranks", "faig"],
            "--ranks, --budget with --start: the adapter to",
        ),
        (
            ["--start", "runs/fog.safetensors"],
            "fog.safetensors is the adapter to go on from: give another file as -o",
        ),
        (["--start", "rian"], "unknown shipped adapter 'rian': did you mean rain"),
        (["--start", "rain"], "rain.safetensors was trained on backbone"),
    ],
)
def test_refuses_to_go_on(
    pairs: Path, backbone: Path, monkeypatch: pytest.MonkeyPatch, arguments: list[str], text: str
) -> None:
    monkeypatch.chdir(pairs)
    done = adapt("--task", "fog", "--pairs", pairs, "--backbone", backbone, *arguments)
    assert done.exit_code == 2
    assert text in " ".join(done.output.split())


@pytest.mark.parametrize(
    ("arguments", "text"),
    [
        (["--task", "Fog 1", "--pairs", "."], "task name 'Fog 1': expected a-z"),
        (["--task", "fog", "--pairs", ".", "--steps", "0"], "0 is not in the range x>=1"),
        (["--pairs", ".", "--degrade", "haze"], "--degrade goes with --photos"),
        (["--pairs", ".", "--beta", "-1"], "β = -1: expected a share from 0 to 1"),
        (["--pairs", ".", "--alpha", "nan"], "α = nan: expected a finite number, at least 0"),
        (["--pairs", ".", "--lr", "nan"], "learning rate nan: expected a finite number"),
        (["--pairs", ".", "-o", "fog"], "fog: expected a file that ends in .safetensors"),
        (
            ["--pairs", ".", "-o", "input/00.png/fog.safetensors"],
            "no folder can be made here (Not a directory)",
        ),
        (["--pairs", ".", "--photos", "."], "give either --photos"),
        (
            ["--pairs", ".", "--backbone", "runs/fog.safetensors"],  # where the adapter would go
            "fog.safetensors is the backbone: give another file as -o",
        ),
        (["--pairs", ".", "--eval", "input", "--eval", "../foggy/input"], "the same name: rename"),
        (
            ["--pairs", ".", "--eval", "Held-Out"],
            "are called held_out and the held-out pictures held_out, two",
        ),
        (["--pairs", ".", "--seed", "-1"], "-1 is not in the range x>=0"),
        (["--pairs", ".", "--device", "cuda:99"], "'cuda:99' can't be used here"),
        (["--pairs", ".", "--device", "abacus"], "'abacus' can't be used here"),
        (
            ["--pairs", ".", "--held-out", "16"],
            "0 pairs of foggy; 16 more held out; expected at least 2 to train on",
        ),
        (
            ["--pairs", ".", "--held-out", "15"],
            "1 pairs of foggy; 15 more held out; expected at least 2 to train on",
        ),
    ],
)
def test_refuses(
    pairs: Path, backbone: Path, monkeypatch: pytest.MonkeyPatch, arguments: list[str], text: str
) -> None:
    monkeypatch.chdir(pairs)
    (pairs / "Held-Out").mkdir()
    arguments = [a if a != "." else str(pairs) for a in arguments]
    done = adapt("--task", "fog", "--backbone", backbone, *QUICK, *arguments)
    assert done.exit_code == 2
    assert text in " ".join(done.output.split())
    assert not Path("runs").exists() or not list(Path("runs").iterdir())


def small(pixels: int) -> Examples:
    picture = np.zeros((pixels, pixels, 3), np.uint8)
    return Examples(
        lambda rng, patch: pytest.fail("drawn"), [Pair("a", picture, picture)], "one", [(picture,)]
    )


@pytest.mark.parametrize(
    ("change", "examples", "text"),
    [
        (lambda c: c, small(16), None),
        (
            lambda c: replace(c, budget=0.3),
            small(16),
            r"budget 0\.3 of the [\d,]+ numbers of nafnet-tiny; expected at least 0\.6177, which the golden output and",
        ),
        (
            lambda c: replace(c, budget=1.2),
            small(16),
            r"budget 1\.2 .* at most 1, which is as much as a tuned copy",
        ),
        (lambda c: replace(c, budget=0.0), small(16), r"budget 0 of"),
        (
            lambda c: replace(c, patch=18),
            small(20),
            r"a patch of 18 pixels; expected a multiple of 4 .* for example 16",
        ),
        (
            lambda c: replace(c, patches=(Stage(16, 1), Stage(20, 1))),
            small(16),
            r"one: the smallest side is 16 pixels; expected at least the patch of 20: take smaller patches",
        ),
        (
            lambda c: replace(c, patches=(Stage(16, 1), Stage(18, 1))),
            small(20),
            r"a patch of 18 pixels; expected a multiple of 4",
        ),
        (
            lambda c: replace(c, patches=(Stage(8, 2), Stage(16, 1))),
            small(16),
            r"one; expected at least 2 to train on",
        ),
        (lambda c: c, small(15), r"one: the smallest side is 15 pixels; expected at least the patch of 16"),
        (
            lambda c: replace(c, batch=2),
            small(16),
            r"one; expected at least 2 to train on, one for each patch",
        ),
        (
            lambda c: c,
            replace(small(16), held_out=[]),
            r"one; expected one for attribution: hold some out, or give -",
        ),
        (
            lambda c: c,
            replace(small(16), held_out=small(3).held_out),
            r"a: a side below 4 pixels: leave it out",
        ),
    ],
)
def test_refuses_before_it_trains(
    backbone: Path, change: Callable[[AdaptConfig], AdaptConfig], examples: Examples, text: str | None
) -> None:
    config = change(AdaptConfig(FitConfig(1), FitConfig(1), budget=1.0, batch=1, patch=16))
    checkpoint = load_backbone(str(backbone))
    if text is None:
        check("fog", checkpoint, examples, config, ranks_given=False)
        return
    with pytest.raises(ColoraError, match=text):
        check("fog", checkpoint, examples, config, ranks_given=False)
