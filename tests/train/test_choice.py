"""What `task="auto"` learns from: drawn by seed alone, and a network that the device reads as it was trained."""

from pathlib import Path

import cv2
import numpy as np
import pytest
import torch
from click.testing import CliRunner
from colora.runtime.choice import CLEAN, read_network
from colora.runtime.features import MIN_SIDE, measure
from colora.train.choice import LABELS, SIDES, command, example, fit, folded, standardised, temperature
from colora.train.photos import Pixels


@pytest.fixture(scope="module")
def photos() -> list[Pixels]:
    rng = np.random.default_rng(0)
    small = rng.integers(0, 256, (6, 12, 12, 3), dtype=np.uint8)
    return [np.asarray(cv2.resize(picture, (90, 110), interpolation=cv2.INTER_CUBIC)) for picture in small]


def test_an_example_is_a_function_of_its_seed(photos: list[Pixels]) -> None:
    drawn = [example(photos, np.random.default_rng([3, i])) for i in range(60)]
    again, label = example(photos, np.random.default_rng([3, 7]))
    assert label == drawn[7][1]
    assert np.array_equal(again, drawn[7][0])
    assert {LABELS[label] for _, label in drawn} >= {CLEAN, "rain", "noise", "jpeg"}
    for picture, _ in drawn:
        assert picture.dtype == np.uint8
        assert MIN_SIDE <= SIDES[0] <= picture.shape[0] == picture.shape[1] <= 90


def test_fits_what_can_be_told_apart() -> None:
    rng = torch.Generator().manual_seed(0)
    labels = torch.randint(len(LABELS), (600,), generator=rng)
    x = torch.nn.functional.one_hot(labels, len(LABELS)) * 3.0 + torch.randn(600, len(LABELS), generator=rng)
    network = fit(x[:400], labels[:400], LABELS, seed=0, epochs=20)
    with torch.no_grad():
        right = (network(x[400:]).argmax(1) == labels[400:]).float().mean()
    assert right > 0.75  # the best rule, the largest of ten, is right for 0.86 of such draws; chance is 0.1


def test_temperature_undoes_overconfidence() -> None:
    rng = torch.Generator().manual_seed(1)
    honest = torch.randn(20_000, len(LABELS), generator=rng) * 2
    labels = torch.multinomial(honest.softmax(1), 1, generator=rng)[:, 0]
    # 20,000 draws tell the divisor within about 1 %
    assert temperature(honest * 2.5, labels) == pytest.approx(2.5, rel=0.03)


def test_the_device_computes_what_was_trained(photos: list[Pixels], tmp_path: Path) -> None:
    folder = tmp_path / "photos"
    folder.mkdir()
    for n in range(40):
        cv2.imwrite(str(folder / f"{n:02}.png"), photos[n % len(photos)])
    output = tmp_path / "choice.safetensors"
    options = ["--photos", str(folder), "--count", "60", "--workers", "0", "-o", str(output)]
    done = CliRunner().invoke(command, options, catch_exceptions=False)
    assert done.exit_code == 0, done.output
    assert "held out: " in done.output
    found = measure(photos[0])
    device = read_network(output)
    assert device.labels == LABELS
    assert device.features == tuple(found)
    assert device(found).sum() == pytest.approx(1)

    x = torch.tensor([[*found.values()]], dtype=torch.float32)
    mean, scale = x.mean(0) - 0.5, torch.full((len(found),), 2.0)
    network = fit(x.repeat(8, 1), torch.arange(8), device.features, seed=0, epochs=1)
    wanted = (network(standardised(x, mean, scale)) / 1.7).softmax(1)[0].detach().numpy()
    device = type(device)(device.features, LABELS, folded(network, mean, scale, 1.7))
    np.testing.assert_allclose(device(found), wanted, rtol=1e-4)  # float32, 123 terms in another order
