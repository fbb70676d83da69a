"""Pairs come alike from a folder and from a list, and what can't be paired is refused by name."""

from pathlib import Path

import cv2
import numpy as np
import pytest
from colora.devices.errors import ImageError
from colora.train.pairs import centres, read_pairs
from colora.train.photos import Pair, keep_out


def picture(path: Path, shape: tuple[int, ...] = (12, 10, 3), dtype: type = np.uint8) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    seed = sum(path.name.encode())
    cv2.imwrite(str(path), np.random.default_rng(seed).integers(0, 255, shape).astype(dtype))
    return path


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    for name in ("a.png", "b.png", "night/c.png"):
        picture(tmp_path / "fog" / "input" / name)
        picture(tmp_path / "fog" / "target" / name)
    return tmp_path / "fog"


def test_a_list_gives_what_the_folder_gives(folder: Path) -> None:
    lines = [f'input/{name}.png, "target/{name}.png"' for name in ("a", "b", "night/c")]
    (folder / "pairs.csv").write_text(
        "\n".join(["degraded,clean", *lines[:2], "", "# by night", lines[2]]), "utf-8-sig"
    )
    one, other = read_pairs(folder), read_pairs(folder / "pairs.csv")
    assert [pair.name for pair in one] == ["a", "b", "night/c"]
    assert [pair.name for pair in other] == [f"input/{pair.name}" for pair in one]
    for p, q in zip(one, other, strict=True):
        assert (p.degraded == q.degraded).all() and (p.clean == q.clean).all()


@pytest.mark.parametrize(
    ("change", "text"),
    [
        (
            lambda f: picture(f / "input" / "d.png"),
            r"4 pictures in input/ and 3 in target/, 1 without a .* 'd'",
        ),
        (lambda f: picture(f / "input" / "a.bmp"), r"a\.png and a\.bmp|a\.bmp: two pictures of one name"),
        (
            lambda f: picture(f / "input" / "b.png", (12, 11, 3)),
            r"fog: b: .* has 11×12 pixels and .* 10×12; expec",
        ),
        (
            lambda f: picture(f / "target" / "b.png", (12, 10)),
            r"target/b\.png: grey; expected three channels, RGB: c",
        ),
        (
            lambda f: picture(f / "input" / "b.png", dtype=np.uint16),
            r"input/b\.png: uint16; expected 8 bits a chan",
        ),
        (
            lambda f: (f / "input" / "b.png").write_bytes(b"no picture"),
            r"input/b\.png: not a picture that OpenCV can",
        ),
        (
            lambda f: ((f / "input" / "b.png").unlink(), (f / "input" / "b.png").mkdir()),
            r"input/b\.png: can't be read \(Is a directory\): replace it, or leave it out",
        ),
        (lambda f: (f / "input" / "b.png").write_bytes(b""), r"input/b\.png: not a picture that OpenCV can"),
        (
            lambda f: (f / "target").rename(f / "clean"),
            r"fog: no folder target/ in it; expected input/ with the deg",
        ),
    ],
)
def test_bad_folders(folder: Path, change: object, text: str) -> None:
    assert callable(change)
    change(folder)
    with pytest.raises(ImageError, match=text):
        read_pairs(folder)


@pytest.mark.parametrize(
    ("content", "text"),
    [
        (b"input/a.png", r"pairs\.csv: line 1 has 1 columns; expected 2: degraded,clean"),
        (
            b"degraded,clean\ninput/a.png,target/z.png",
            r"line 2: .*target/z\.png: no such file; paths are relative",
        ),
        (b"degraded,clean\n", r"pairs\.csv: no pairs in it"),
        (b"\xff\xd8\xff", r"pairs\.csv: not a list of pairs"),
        (
            b"x" * 140_000,
            r"line 1 is not a pair \(field larger than field limit .*; expected 2 columns: degraded,",
        ),
        (b"x" * 300 + b",y", r"line 1: .*x: no such file"),
    ],
)
def test_bad_lists(folder: Path, content: bytes, text: str) -> None:
    (folder / "pairs.csv").write_bytes(content)
    with pytest.raises(ImageError, match=text):
        read_pairs(folder / "pairs.csv")


def test_centres_are_as_large_as_allowed() -> None:
    clean = np.arange(13 * 23 * 3, dtype=np.uint8).reshape(13, 23, 3)
    ((degraded, target),) = centres([Pair("a", 255 - clean, clean)], 16, 4)
    assert target.shape == (1, 3, 12, 16)
    assert (target[0].permute(1, 2, 0) * 255).round().byte().numpy().tolist() == clean[0:12, 3:19].tolist()
    assert (degraded + target - 1).abs().max() < 1e-6  # two roundings of numbers below 1


def test_few_are_held_out_of_few() -> None:
    assert [keep_out(n, None) for n in (2, 16, 40, 500)] == [1, 2, 5, 12]
    assert (keep_out(16, 0), keep_out(16, 15), keep_out(16, 17)) == (0, 15, 16)
