"""PSNR and SSIM against values worked out another way."""

import numpy as np
import pytest
from colora.devices.errors import ImageError
from colora.runtime.quality import psnr, ssim


def test_psnr_by_hand() -> None:
    a = np.zeros((2, 2, 3), np.uint8)
    b = a.copy()
    b[0, 0, 0] = 255
    assert psnr(a, b) == pytest.approx(10 * np.log10(12))  # mean squared error 1/12 of the peak
    assert psnr(a, a) == float("inf")
    unit = np.float32(1) / 255
    assert psnr(a.astype(np.float32) * unit, b.astype(np.float32) * unit) == pytest.approx(
        psnr(a, b), abs=1e-5
    )


def test_ssim_equals_the_formula_at_one_window() -> None:
    rng = np.random.default_rng(0)
    a, b = rng.random((11, 11, 3)), rng.random((11, 11, 3))
    offsets = np.arange(11) - 5
    window = np.exp(-(offsets[:, None] ** 2 + offsets[None] ** 2) / (2 * 1.5**2))
    window /= window.sum()
    expected = []
    for c in range(3):
        x, y = a[:, :, c], b[:, :, c]
        mx, my = (window * x).sum(), (window * y).sum()
        vx, vy = (window * (x - mx) ** 2).sum(), (window * (y - my) ** 2).sum()
        cov = (window * (x - mx) * (y - my)).sum()
        c1, c2 = 0.01**2, 0.03**2
        expected.append((2 * mx * my + c1) * (2 * cov + c2) / ((mx**2 + my**2 + c1) * (vx + vy + c2)))
    assert ssim(a, b) == pytest.approx(np.mean(expected), abs=1e-12)  # float64 sums of 121 terms


def test_ssim_is_one_only_for_equal_images() -> None:
    image = np.random.default_rng(1).integers(0, 256, (20, 30, 3), dtype=np.uint8)
    assert ssim(image, image) == pytest.approx(1, abs=1e-9)
    assert ssim(image, 255 - image) < 0


def test_images_that_cannot_be_compared_are_refused() -> None:
    a = np.zeros((12, 12, 3), np.uint8)
    with pytest.raises(ImageError, match=r"uint8 \(12, 12, 3\) and uint8 \(12, 11, 3\); expected one dtype"):
        psnr(a, a[:, 1:])
    with pytest.raises(ImageError, match="expected one dtype"):
        psnr(a, a.astype(np.float32))
    with pytest.raises(ImageError, match="images are uint16"):
        psnr(a.astype(np.uint16), a.astype(np.uint16))
    with pytest.raises(ImageError, match="SSIM of 12×10 pixels; expected at least 11"):
        ssim(a[:, :10], a[:, :10])
