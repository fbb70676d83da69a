"""Augmented crops are pictures, they depend on the generator alone, and half of them are left as they were taken."""

import cv2
import numpy as np
from colora.train import augment
from colora.train.augment import augmented_crop, tilted, toned
from colora.train.examples import from_photos, task_of
from colora.train.photos import turned
from hypothesis import given
from hypothesis import strategies as st

SEEDS = st.integers(0, 2**32)


def photo(seed: int, height: int = 80, width: int = 100) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, 256, (height, width, 3)).astype(np.uint8)


@given(SEEDS, st.sampled_from([1, 8, 33, 80]))
def test_crops_are_pictures_that_depend_on_the_generator_alone(seed: int, size: int) -> None:
    photos = [photo(0), photo(1, 90, 81)]
    first, again = (augmented_crop(photos, size, np.random.default_rng(seed)) for _ in range(2))
    assert first.shape == (size, size, 3) and first.dtype == np.float32
    assert first.min() >= 0 and first.max() <= 1
    np.testing.assert_array_equal(first, again)


@given(SEEDS)
def test_light_and_colours_keep_the_order_of_greys_and_stay_near(seed: int) -> None:
    greys = np.repeat(np.arange(256, dtype=np.uint8)[None, :, None], 3, axis=2)
    image = toned(greys, np.random.default_rng(seed))
    assert (np.diff(image[0], axis=0) >= -1e-6).all()  # float32 of a sum of three products
    assert image[0, 0].max() == 0
    # 18 % of the light, which is 117 of 255: darkest by one stop, 12 % and an exponent of 1.25, brightest by a half
    grey = image[0, 117].astype(float)
    low, high = (
        (117 / 255 * (2**ev * b) ** (1 / 2.2)) ** e for ev, b, e in ((-1, 0.88, 1.25), (0.5, 1.12, 0.8))
    )
    assert (
        low - 0.03 < grey.min() and grey.max() < high + 0.03
    )  # saturation moves colours by a few hundredths


def test_half_of_the_crops_keep_their_light_and_half_their_scale() -> None:
    picture = photo(2, 24, 24)  # as large as the crop, so that scale can't show
    whole = [turned(picture.astype(np.float32) / 255, turn) for turn in range(8)]
    crops = [augmented_crop([picture], 24, np.random.default_rng(seed)) for seed in range(200)]
    same = [any(np.allclose(crop, w, atol=1e-6) for w in whole) for crop in crops]
    assert 75 <= sum(same) <= 125  # 100 ± 3.5 standard deviations of 7.1
    flat = [
        np.diff(augmented_crop([photo(3, 96, 96)], 24, np.random.default_rng(s)).astype(float), axis=0).std()
        for s in range(200)
    ]
    assert np.median(flat) < max(flat) and min(flat) < 0.6 * max(
        flat
    )  # noise that shrinks by 3 loses most of itself


@given(st.floats(-10, 10), st.integers(4, 20), st.floats(1.5, 4))
def test_a_tilted_square_shows_nothing_from_outside(degrees: float, size: int, factor: float) -> None:
    side = int(np.ceil(size * factor))
    cut = tilted(np.full((side, side, 3), 255, np.uint8), size, degrees)  # outside is black
    assert cut.shape == (size, size, 3)
    assert (
        cut.min() > 230
    )  # OpenCV's interpolation knows 1/32 of a pixel, which may reach out each way: 255·(31/32)²


def test_a_tilt_turns_and_shrinks_by_as_much_as_it_says() -> None:
    stripes = np.zeros((201, 201, 3), np.uint8)
    stripes[98:103] = 255  # a level line through the centre
    seen = tilted(stripes, 80, 5.0)[..., 0].astype(float)
    rows = np.arange(len(seen))[:, None]
    heights = (seen * rows).sum(0) / seen.sum(0)
    slope, _ = np.polyfit(np.arange(len(heights)), heights, 1)
    assert abs(np.degrees(np.arctan(-slope)) - 5) < 0.2
    assert abs(heights.mean() - 39.5) < 0.5
    # 5 rows are as thick as light says: 201 px show 201 / (cos 5° + sin 5°) of themselves in 80
    factor = 201 / (np.cos(np.radians(5)) + np.sin(np.radians(5))) / 80
    assert abs(seen.sum(0).mean() / 255 - 5 / factor / np.cos(np.radians(5))) < 0.1


def test_what_is_held_out_is_not_augmented(tmp_path, monkeypatch) -> None:
    for i in range(4):
        cv2.imwrite(str(tmp_path / f"{i}.png"), photo(i, 64, 64))
    task = task_of("noise")
    on, off = (from_photos(task, [tmp_path], 2, 0, augment=wanted) for wanted in (True, False))
    for a, b in zip(on.held_out, off.held_out, strict=True):
        np.testing.assert_array_equal(a.clean, b.clean)
        np.testing.assert_array_equal(a.degraded, b.degraded)
    assert on.sha256 != off.sha256
    # the degradation sees the augmented picture: without one, what is drawn is the crop itself
    monkeypatch.setattr("colora.train.examples.degrade", lambda image, rng, steps: image)
    degraded, clean = on.draw(np.random.default_rng(5), 32)
    assert np.abs(degraded - clean).max() <= 0.5 / 255 + 1e-6
    np.testing.assert_array_equal(
        clean, augment.augmented_crop([p for (p,) in on.sources], 32, np.random.default_rng(5))
    )
