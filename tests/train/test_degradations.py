"""PROD: every function keeps the contract, every draw comes back from its seed and tells what it did."""

from collections import Counter
from itertools import combinations, pairwise, permutations

import cv2
import numpy as np
import pytest
from colora.devices.errors import UnknownName
from colora.train.allocations import spearman
from colora.train.camera import GAMMA, SAMPLINGS, compress, convolve, power, shake_kernel
from colora.train.degradations import (
    DEGRADATIONS,
    MODES,
    PROD,
    Degradation,
    Image,
    Mode,
    count_sequences,
    count_shares,
    degrade,
    prod,
)
from colora.train.haze import haze, invent_depth
from colora.train.noise import low_light, normal, photons
from colora.train.tasks import TASKS, find_task
from colora.train.weather import DIRECTIONS, UNIT, _mirrored, kept_layer, streak_layer
from hypothesis import given, settings
from hypothesis import strategies as st


def scene(size: int = 48) -> Image:
    y, x = np.mgrid[:size, :size].astype(np.float32) / size
    return np.stack([x, y, 0.5 + 0.4 * np.sin(20 * x * y)], -1)


@pytest.mark.parametrize("name", DEGRADATIONS)
@settings(max_examples=10, deadline=None)
@given(seed=st.integers(0, 2**32))
def test_function_keeps_shape_dtype_range_and_seed(name: str, seed: int) -> None:
    clean = scene()
    kept = clean.copy()
    out, told = DEGRADATIONS[name](clean, np.random.default_rng(seed))
    again, told_again = DEGRADATIONS[name](clean, np.random.default_rng(seed))
    assert out.shape == clean.shape and out.dtype == np.float32
    assert np.isfinite(out).all() and out.min() >= 0 and out.max() <= 1
    np.testing.assert_array_equal(out, again)
    np.testing.assert_array_equal(clean, kept)
    assert told == told_again and told.endswith(")")


@pytest.mark.parametrize("name", DEGRADATIONS)
def test_function_changes_the_picture_and_differs_by_seed(name: str) -> None:
    outs = [DEGRADATIONS[name](scene(), np.random.default_rng(s))[0] for s in range(4)]
    assert all(np.abs(out - scene()).mean() > 1e-4 for out in outs)
    assert not np.array_equal(outs[0], outs[1])


def test_blurs_keep_a_flat_picture_flat() -> None:
    flat = np.full((48, 48, 3), 0.4, np.float32)
    for name in ("blur", "motion"):
        out, _ = DEGRADATIONS[name](flat, np.random.default_rng(3))
        # kernels sum to 1 in float32: a few rounding errors of 6e-8 each
        np.testing.assert_allclose(out, flat, atol=1e-6)


def test_blur_averages_light_and_not_its_numbers() -> None:
    edge = np.zeros((32, 32, 3), np.float32)
    edge[:, 16:] = 1
    for name in ("blur", "motion"):
        out, _ = DEGRADATIONS[name](edge, np.random.default_rng(1))
        # half of the light is 0.5^(1/2.2) = 0.73 of the numbers: the mean rises where a plain average keeps it
        assert out.mean() > edge.mean() + 0.005


@given(span=st.floats(3, 27), seed=st.integers(0, 999))
def test_shake_kernels_are_centred_curves_of_their_span(span: float, seed: int) -> None:
    kernel = shake_kernel(span, np.random.default_rng(seed))
    y, x = np.mgrid[: kernel.shape[0], : kernel.shape[1]] - (kernel.shape[0] // 2)
    assert kernel.shape[0] == kernel.shape[1] and kernel.shape[0] % 2 == 1
    assert kernel.min() >= 0 and kernel.sum() == pytest.approx(1)
    # faint ends are cut, at 1 % of the brightest
    assert abs((kernel * x).sum()) < 0.6 and abs((kernel * y).sum()) < 0.6
    extent = max(np.ptp(axis[kernel > 0]) for axis in (x, y))
    assert extent <= span + 2 * 4 + 2  # a pen's Gaussian reaches 4 σ, and points lie between pixels


def test_shakes_rest_and_hurry() -> None:
    kernels = [shake_kernel(20, np.random.default_rng(seed)) for seed in range(40)]
    inked = [kernel[kernel > 0.05 * kernel.max()] for kernel in kernels]
    # a pen of even speed leaves the middle of its line about twice as bright as the typical inked pixel
    assert sum(bright.max() > 4 * np.median(bright) for bright in inked) > 8
    assert len({kernel.tobytes() for kernel in kernels}) == 40


def test_a_step_with_alternatives_draws_each_of_them() -> None:
    grey = scene()
    drawn = [degrade(grey, np.random.default_rng(s), ["grain|lowlight"]).mean() for s in range(12)]
    assert min(drawn) < grey.mean() - 0.05  # under-exposed
    assert max(drawn) > grey.mean() - 0.01  # grain keeps the mean


def test_rain_only_adds_light_where_there_is_no_mist() -> None:
    black = np.zeros((48, 48, 3), np.float32)
    out, _ = DEGRADATIONS["rain"](black, np.random.default_rng(0))
    assert out.min() >= 0 and out.max() > 0.1
    np.testing.assert_array_equal(out[..., 0], out[..., 1])  # streaks are grey


@pytest.mark.parametrize("side", [48, 260])  # of the stock, and larger than it has
def test_rain_follows_its_seed_and_not_what_was_drawn_before(side: int) -> None:
    black, rng = np.zeros((side, side, 3), np.float32), np.random.default_rng
    first = [DEGRADATIONS["rain"](black, rng(seed))[0] for seed in range(3)]
    kept_layer.cache_clear()
    for seed in (2, 0, 1):
        np.testing.assert_array_equal(DEGRADATIONS["rain"](black, rng(seed))[0], first[seed])
    assert not np.array_equal(first[0], first[1])


@pytest.mark.parametrize("downpour", [False, True])
def test_streaks_fall_along_their_direction_and_cover_more_the_denser_they_are(downpour: bool) -> None:
    covered = {}
    for variant in range(6):
        lying, dense = streak_layer((128, 160), 0, downpour, variant)
        falling, _ = streak_layer((128, 160), DIRECTIONS // 2, downpour, variant)
        assert lying.shape == (128, 160) and lying.dtype == np.uint16
        for layer, along in ((lying, 1), (falling, 0)):
            change = [np.abs(np.diff(layer.astype(float), axis=axis)).mean() for axis in (0, 1)]
            # the shortest streaks are 6 px long and as wide, so that they change as much across
            assert change[along] < change[1 - along] * 1.1
        covered[dense] = float((lying * UNIT > 0.05).mean())
    assert min(covered) > 0 and max(covered) <= 1
    assert spearman(dict(enumerate(covered)), dict(enumerate(covered.values()))) > 0.8


def test_depth_jumps_where_the_picture_does_and_colour_does_not_tell_which_way() -> None:
    halves = np.zeros((64, 64, 3), np.float32) + np.array([0.2, 0.3, 0.6], np.float32)
    halves[:, 32:] = (0.7, 0.6, 0.3)
    jumps = []
    for seed in range(40):
        depth = invent_depth(halves, np.random.default_rng(seed))
        assert depth.shape == (64, 64) and depth.dtype == np.float32
        assert depth.min() >= 0 and depth.max() <= 1
        jumps.append(float((depth[:, 32] - depth[:, 31]).mean()))
    # a plane and a smooth field change by some 0.02 a pixel
    assert sum(jump > 0.05 for jump in jumps) > 5 and sum(jump < -0.05 for jump in jumps) > 5


def test_haze_is_thin_and_thick_and_comes_in_8_bits() -> None:
    black, thinnest, thickest = np.zeros((64, 64, 3), np.float32), 0.0, 1.0
    for seed in range(40):
        dark, told = haze(black, np.random.default_rng(seed))
        bright, told_again = haze(black + 1, np.random.default_rng(seed))
        assert told == told_again
        np.testing.assert_array_equal(dark, np.rint(dark * 255).astype(np.float32) / np.float32(255))
        # what is left of the contrast is t (in a quarter of the draws: of light, not of its numbers)
        left = float((bright - dark).mean())
        thinnest, thickest = max(thinnest, left), min(thickest, left)
    assert thinnest > 0.6 and thickest < 0.3


def test_raindrops_leave_a_flat_picture_grey_and_most_of_it_alone() -> None:
    grey = np.full((64, 64, 3), 0.5, np.float32)
    changed = []
    for seed in range(8):
        out, _ = DEGRADATIONS["raindrop"](grey, np.random.default_rng(seed))
        # refraction only moves light, so grey stays grey; float32 sums of the blur, 6e-8 each
        np.testing.assert_allclose(out.max(-1), out.min(-1), atol=1e-6)
        changed.append(np.mean(np.abs(out - grey) > 0.02))
    assert 0 < np.mean(changed) < 0.5


def test_raindrops_show_what_lies_far_from_them() -> None:
    dark = np.full((96, 96, 3), 0.2, np.float32)
    sky = dark.copy()
    sky[:40] = 0.7
    seen = []
    for seed in range(12):
        below = [DEGRADATIONS["raindrop"](x, np.random.default_rng(seed))[0][60:] for x in (dark, sky)]
        seen.append(float((below[1] - below[0]).max()))
    # 20 rows below the sky nothing but a drop can show it; views reach 29 px and more, and most draws have one there
    assert sum(brighter > 0.02 for brighter in seen) >= 9


def test_resampling_loses_the_finest_texture_and_keeps_the_mean() -> None:
    y, x = np.mgrid[:64, :64]
    checks = np.repeat(((x + y) % 2).astype(np.float32)[..., None], 3, -1)
    ramp = np.repeat((x / 63).astype(np.float32)[..., None], 3, -1)
    for seed in range(12):
        lost, told = DEGRADATIONS["resample"](checks, np.random.default_rng(seed))
        kept, _ = DEGRADATIONS["resample"](ramp, np.random.default_rng(seed))
        assert np.abs(lost - checks).mean() > 0.1, told
        # a ramp survives but for its ends; half a pixel of shift would add 1/126 everywhere
        np.testing.assert_allclose(kept[8:-8, 8:-8], ramp[8:-8, 8:-8], atol=0.004, err_msg=told)


def test_some_jpegs_were_one_before() -> None:
    image, twice = scene(40), 0
    for seed in range(60):
        out, told = DEGRADATIONS["jpeg"](image, np.random.default_rng(seed))
        quality = int(told.rstrip(")").replace("=", " ").split()[-1])
        once = any(np.array_equal(out, compress(image, quality, sampling)) for sampling in SAMPLINGS)
        assert once != ("then" in told)
        twice += not once
    assert 2 <= twice <= 20  # 9 expected of 60


@pytest.mark.parametrize("rate", [0.0, 0.3, 3.0, 4.0, 4.5, 7.0, 20.0, 300.0, 4000.0])
def test_photons_have_the_moments_of_poisson(rate: float) -> None:
    n = 400_000
    counts = photons(np.full(n, rate, np.float32), np.random.default_rng(1)).astype(np.float64)
    assert np.array_equal(counts, np.rint(counts)) and counts.min() >= 0
    # five standard errors (of the mean √(λ/n), of the variance √((2λ² + λ)/n)), and the approximation's own error
    assert counts.mean() == pytest.approx(rate, abs=5 * np.sqrt(rate / n) + 0.002)
    assert counts.var() == pytest.approx(rate, abs=5 * np.sqrt((2 * rate**2 + rate) / n) + 0.004 * rate)


@pytest.mark.parametrize(("rate", "at_most"), [(0.5, 0.002), (3.9, 0.004), (4.0, 0.01)])
def test_photons_differ_little_from_poisson_where_the_approximation_begins_and_below(
    rate: float, at_most: float
) -> None:
    n = 400_000
    rng = np.random.default_rng(2)
    drawn = np.bincount(photons(np.full(n, rate, np.float32), rng).astype(int), minlength=30)[:30]
    pmf = np.exp(-rate) * np.cumprod([1.0, *(rate / k for k in range(1, 30))])
    # total variation: 0.0065 by integration from 4 on, 0 below; about Σ√(p/n)·0.4 = 0.002 of sampling noise at 4
    assert np.abs(drawn / n - pmf).sum() / 2 < at_most


def test_low_light_comes_in_8_bits_now_and_then_with_a_cast_and_with_coarse_grain() -> None:
    grey = np.full((64, 64, 3), 0.6, np.float32)
    casts, coarse = [], []
    for seed in range(40):
        dark, told = low_light(grey, np.random.default_rng(seed))
        np.testing.assert_array_equal(dark, np.rint(dark * 255).astype(np.float32) / np.float32(255))
        assert dark.mean() < 0.6
        means = dark.mean((0, 1))
        casts.append(float((means.max() - means.min()) / means.max()))
        if "q=" not in told and (varies := dark[..., 1] - dark[..., 1].mean()).std() > 2 / 255:
            coarse.append(
                ("low-passed" in told, float((varies[:, 1:] * varies[:, :-1]).mean() / varies.var()))
            )
    # means over 4,096 pixels are good to about 1 %; a low-pass of σ 0.4 px gives neighbours a correlation of 0.1
    assert sum(cast > 0.02 for cast in casts) >= 5 and sum(cast < 0.02 for cast in casts) >= 5
    assert {low_passed for low_passed, _ in coarse} == {False, True}
    assert all((correlation > 0.06) == low_passed for low_passed, correlation in coarse)


def test_power_is_that_of_numpy_and_takes_black_for_almost_black() -> None:
    image = np.linspace(0, 1, 3 * 64, dtype=np.float32).reshape(8, 8, 3)
    for exponent in (GAMMA, 1 / GAMMA):
        # logarithm and exponential of OpenCV in float32; 1e-12 ** (1/2.2) is 3.5e-6
        np.testing.assert_allclose(power(image, exponent), image**exponent, rtol=1e-5, atol=4e-6)


def tag(name: str) -> Degradation:
    """A function that changes nothing and tells its name."""
    return lambda image, rng: (image, name)


def draws(
    monkeypatch: pytest.MonkeyPatch, names: str, max_count: int, mode: Mode, n: int, decay: float = 0.5
) -> Counter[tuple[str, ...]]:
    """How often each sequence came in n draws from functions of one-letter names."""
    for name in names:
        monkeypatch.setitem(DEGRADATIONS, name, tag(name))
    image = np.zeros((1, 1, 3), np.float32)
    told = [
        prod(image, np.random.default_rng(s), list(names), max_count, mode, decay)[1].split(" → ")
        for s in range(n)
    ]
    return Counter(map(tuple, told))


def enumerate_all(names: str, max_count: int, mode: Mode) -> set[tuple[str, ...]]:
    """By brute force: every sequence that the mode allows."""
    most = 1 if mode == "single" else min(max_count, len(names))
    ways = permutations if mode == "random" else combinations
    return {sequence for k in range(1, most + 1) for sequence in ways(names, k)}


@pytest.mark.parametrize("mode", MODES)
def test_modes_draw_all_their_sequences_and_no_other(monkeypatch: pytest.MonkeyPatch, mode: Mode) -> None:
    # of the 40 sequences of 4 names the rarest, a triple, has share 1/7/24: 3,000 draws miss it once in e^17
    seen = draws(monkeypatch, "dbca", 3, mode, 3000)
    assert set(seen) == enumerate_all("dbca", 3, mode)
    assert len(seen) == count_sequences(4, 3, mode)


@given(names=st.integers(1, 5), max_count=st.integers(1, 7), mode=st.sampled_from(MODES))
def test_sequences_are_as_many_as_enumeration_finds(names: int, max_count: int, mode: Mode) -> None:
    assert count_sequences(names, max_count, mode) == len(enumerate_all("abcde"[:names], max_count, mode))


def test_default_configuration_can_draw_more_than_137_000_sequences() -> None:
    n = len(PROD)
    assert count_sequences(n, n) == 986_409 > 137_000
    assert (count_sequences(n, n, "fixed"), count_sequences(n, n, "single")) == (511, 9)


@pytest.mark.parametrize("decay", [0.5, 1.0])
def test_counts_come_as_often_as_their_shares_say(monkeypatch: pytest.MonkeyPatch, decay: float) -> None:
    shares, n = count_shares(4, 4, "random", decay), 3000
    assert sum(shares) == pytest.approx(1)
    assert [b / a for a, b in pairwise(shares)] == pytest.approx([decay] * 3)
    seen: Counter[int] = Counter()
    for sequence, times in draws(monkeypatch, "abcd", 9, "random", n, decay).items():
        seen[len(sequence)] += times
    for count, share in enumerate(shares, 1):
        # five standard deviations of a binomial share
        assert seen[count] / n == pytest.approx(share, abs=5 * np.sqrt(share * (1 - share) / n))


def test_prod_comes_back_from_its_seed_in_every_mode() -> None:
    for mode in MODES:
        first, second = (prod(scene(32), np.random.default_rng(7), mode=mode) for _ in range(2))
        assert first[1] == second[1] and np.array_equal(first[0], second[0])


def test_prod_of_equal_shares_draws_what_older_seeds_drew() -> None:
    names = ["blur", "motion", "noise", "rain", "jpeg", "haze", "lowlight"]
    rng = np.random.default_rng(3)
    count = int(rng.integers(1, 4))  # the rule before there was a decay
    expected = rng.permutation(np.asarray(names))[:count]
    _, told = prod(scene(16), np.random.default_rng(3), names, 3, decay=1)
    assert len(told.split(" → ")) == count
    image = scene(16)
    for name in expected:
        image, _ = DEGRADATIONS[str(name)](image, rng)
    np.testing.assert_array_equal(image, prod(scene(16), np.random.default_rng(3), names, 3, decay=1)[0])


def test_wrong_configurations_are_refused() -> None:
    with pytest.raises(UnknownName, match=r"unknown mode 'fixd': did you mean fixed\?"):
        prod(scene(16), np.random.default_rng(0), mode="fixd")  # type: ignore[arg-type]
    for max_count, decay in ((0, 0.5), (3, 0.0), (3, 1.5)):
        with pytest.raises(ValueError, match=f"max_count is {max_count}, decay {decay}: expected"):
            count_shares(9, max_count, "random", decay)


def test_tasks_name_known_degradations_and_misspelt_ones_get_a_hint() -> None:
    steps = [step for task in TASKS.values() for step in task.degradations]
    assert all(name in DEGRADATIONS for step in steps for name in step.split("|"))
    assert TASKS["rain-raindrop"].degradations == ("rain", "raindrop")
    with pytest.raises(UnknownName, match=r"unknown task 'mtion': did you mean motion\?"):
        find_task("mtion")


@given(st.integers(1, 13), st.integers(1, 13), st.floats(0, 1), st.booleans(), st.integers(0, 99))
def test_pieces_of_a_kernel_sum_to_what_opencv_computes(
    half_height: int, half_width: int, density: float, colour: bool, seed: int
) -> None:
    rng = np.random.default_rng(seed)
    kernel = rng.random((2 * half_height + 1, 2 * half_width + 1))
    kernel *= rng.random(kernel.shape) <= density
    image = rng.random((30, 41, 3) if colour else (30, 41), dtype=np.float32)
    for border in (cv2.BORDER_CONSTANT, cv2.BORDER_REFLECT_101):
        expected = cv2.filter2D(image, -1, kernel.astype(np.float32), borderType=border)
        # sums of up to 729 products below 1, in another order and through a Fourier transform there
        np.testing.assert_allclose(convolve(image, kernel, border), expected, atol=2e-4)


def test_normal_numbers_are_normal() -> None:
    drawn = normal(np.random.default_rng(0), (400, 500))
    # the errors of mean and variance over 200,000 independent numbers are 0.0022 and 0.0032
    assert abs(drawn.mean()) < 0.009 and abs(drawn.var() - 1) < 0.013
    assert abs((drawn**4).mean() - 3) < 0.1  # its error is √(96/n) = 0.022
    assert drawn.dtype == np.float32 and abs(drawn).max() < 4.4


def test_mirrored_coordinates_are_those_of_opencv() -> None:
    image, at = np.random.default_rng(0).random((1, 7), dtype=np.float32), np.linspace(-40, 40, 321)[None]
    rows = np.zeros_like(at, dtype=np.float32)
    one, other = (
        cv2.remap(image, x, rows, cv2.INTER_LINEAR, borderMode=cv2.BORDER_REFLECT)
        for x in (at.astype(np.float32), _mirrored(at.astype(np.float32), 7))
    )
    np.testing.assert_allclose(one, other, atol=0.04)  # remap rounds coordinates to 1/32 pixel
