"""The loop: it learns, it goes on after a stop as if nothing had happened, and it says what is wrong."""

import json
import math
import multiprocessing
import signal
import subprocess
import sys
from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path

import numpy as np
import pytest
import torch
from colora.devices.errors import CheckpointError, ColoraError, UnknownName
from colora.runtime.weights import read_tensors, write_tensors
from colora.train.echo import echoed, first_needed
from colora.train.fit import FitConfig, Progress, fit
from colora.train.losses import LOSSES, psnr_loss
from colora.train.nafnet import NAFNet, NAFNetConfig
from colora.train.patches import Stage, read_stages
from colora.train.photos import Batches
from numpy.random import Generator
from torch import nn

Draw = Callable[[Generator, int], tuple[np.ndarray, np.ndarray]]
CONFIG = FitConfig(steps=12, lr=3e-3, warmup=2, save_every=5, threads=1)


def draw(rng: Generator, patch: int) -> tuple[np.ndarray, np.ndarray]:
    clean = np.full((patch, patch, 3), rng.random(), np.float32)
    return clean + rng.normal(0, 0.2, clean.shape).astype(np.float32), clean


def batches(batch: int, seed: int, draw: Draw = draw) -> Batches:
    return Batches(draw, [Stage(16, batch)], 12, seed)


GROWING = Batches(draw, read_stages("8x4,16x2:2,24x1"), 12, 7)  # from steps 0, 3 and 9 on


def network() -> nn.Module:
    torch.manual_seed(0)
    return NAFNet(NAFNetConfig(4, (1,), 1, (1,)))


def judge(model: nn.Module) -> float:
    """A validation that is best at first, and depends on the weights alone."""
    return -sum(float(p.detach().abs().sum()) for p in model.parameters())


JUDGED = replace(CONFIG, validate_every=3)


def weights(model: nn.Module) -> list[torch.Tensor]:
    return [p.detach().clone() for p in model.parameters()]


def test_learns(tmp_path: Path) -> None:
    seen: list[Progress] = []
    fit(
        network(),
        batches(4, 0),
        FitConfig(steps=60, lr=3e-3, warmup=5, threads=1),
        tmp_path,
        report=seen.append,
    )
    early, late = (np.mean([p.psnr_db for p in part]) for part in (seen[:10], seen[-10:]))
    assert late > early + 3  # noise of σ 0.2 on flat patches: an average over a few pixels already gains this
    assert seen[-1].step == 60 and seen[-1].seconds_left == 0
    assert json.loads((tmp_path / "curve.jsonl").read_text().splitlines()[-1])["step"] == 60


class Killed(Exception):
    pass


@pytest.mark.parametrize(
    ("stop", "drawn"), [(5, batches(2, 7)), (8, batches(2, 7)), (11, batches(2, 7)), (8, GROWING)]
)
def test_resumes_bit_exactly(tmp_path: Path, stop: int, drawn: Batches) -> None:
    whole = network()
    fit(whole, drawn, CONFIG, tmp_path / "whole")

    def die(progress: Progress) -> None:
        if progress.step == stop:
            raise Killed

    with pytest.raises(Killed):
        fit(network(), drawn, CONFIG, tmp_path / "cut", report=die)
    resumed, steps = network(), []
    fit(resumed, drawn, CONFIG, tmp_path / "cut", report=lambda p: steps.append(p.step))
    assert steps[0] == stop // 5 * 5 + 1  # from the last state, not from the start
    assert all(torch.equal(a, b) for a, b in zip(weights(whole), weights(resumed), strict=True))

    finished = network()  # a finished run is not run again
    fit(finished, drawn, CONFIG, tmp_path / "cut", report=lambda p: pytest.fail("ran again"))
    assert all(torch.equal(a, b) for a, b in zip(weights(whole), weights(finished), strict=True))


def test_resumes_bit_exactly_after_kill_9(tmp_path: Path) -> None:
    code = f"""
import importlib.util, os, signal
from pathlib import Path
spec = importlib.util.spec_from_file_location("test_fit", {__file__!r})
test_fit = importlib.util.module_from_spec(spec)
spec.loader.exec_module(test_fit)
def die(progress):
    if progress.step == 8:
        os.kill(os.getpid(), signal.SIGKILL)
batches = test_fit.batches(2, 7)
folder = Path({str(tmp_path / "cut")!r})
test_fit.fit(test_fit.network(), batches, test_fit.JUDGED, folder, test_fit.judge, die)
"""
    killed = subprocess.run([sys.executable, "-c", code], check=False)
    assert killed.returncode == -signal.SIGKILL
    whole, resumed, steps = network(), network(), []
    kept = fit(whole, batches(2, 7), JUDGED, tmp_path / "whole", judge)
    again = fit(resumed, batches(2, 7), JUDGED, tmp_path / "cut", judge, lambda p: steps.append(p.step))
    assert steps[0] == 6
    assert kept == again == 3  # of a validation before the kill
    assert all(torch.equal(a, b) for a, b in zip(weights(whole), weights(resumed), strict=True))


@pytest.mark.filterwarnings(
    "ignore:This DataLoader will create 3 worker"
)  # torch's advice where cores are fewer
def test_what_is_trained_does_not_depend_on_the_workers(tmp_path: Path) -> None:
    one, three = network(), network()
    fit(one, batches(2, 7), CONFIG, tmp_path / "one")
    fit(three, batches(2, 7), replace(CONFIG, workers=3), tmp_path / "three")
    assert all(torch.equal(a, b) for a, b in zip(weights(one), weights(three), strict=True))
    assert CONFIG.recipe == replace(CONFIG, workers=3, threads=2, device="cuda").recipe
    assert CONFIG.recipe != replace(CONFIG, lr=1.0).recipe


@pytest.mark.parametrize("known", [["spawn"], ["fork", "spawn"]])
def test_batches_are_made_also_where_processes_are_spawned(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, known: list[str]
) -> None:
    """As on Windows, and on macOS: a rule to draw that lives in a function can't be pickled."""
    monkeypatch.setattr(multiprocessing, "get_all_start_methods", lambda: known)
    multiprocessing.set_start_method("spawn", force=True)
    try:
        assert fit(network(), batches(2, 7, lambda rng, patch: draw(rng, patch)), CONFIG, tmp_path) == 12
    finally:
        multiprocessing.set_start_method(None, force=True)


def test_the_curve_tells_every_step_once_also_after_a_kill(tmp_path: Path) -> None:
    def die(progress: Progress) -> None:
        if progress.step == 9:
            raise Killed

    for save_every in (5, 50):  # the log is ahead of the state; no state yet
        config, curve = replace(JUDGED, save_every=save_every), tmp_path / str(save_every) / "curve.jsonl"
        with pytest.raises(Killed):
            fit(network(), batches(2, 7), config, curve.parent, judge, die)
        with curve.open("a") as file:
            file.write('{"step": 1')  # killed while it wrote
        fit(network(), batches(2, 7), config, curve.parent, judge)
        assert [json.loads(row)["step"] for row in curve.read_text().splitlines()] == [3, 6, 9, 12]


def test_patience_needs_a_validation(tmp_path: Path) -> None:
    with pytest.raises(
        ColoraError, match=r"patience 3 counts validations, and nothing is held out .* hold some"
    ):
        fit(network(), batches(2, 7), replace(CONFIG, patience=3), tmp_path)


def test_goes_on_beyond_the_steps_it_was_begun_for(tmp_path: Path) -> None:
    model, steps = network(), []
    fit(model, batches(2, 7), CONFIG, tmp_path)
    before = weights(model)
    fit(model, batches(2, 7), replace(CONFIG, steps=15), tmp_path, report=lambda p: steps.append(p.step))
    assert steps == [13, 14, 15]
    assert not torch.equal(before[0], weights(model)[0])


def test_refuses_the_state_of_another_run(tmp_path: Path) -> None:
    fit(network(), batches(2, 7), CONFIG, tmp_path)
    with pytest.raises(
        CheckpointError,
        match=r"state\.safetensors: begun with other settings.*give another output \(-o\), or",
    ):
        fit(network(), batches(2, 7), replace(CONFIG, lr=1.0), tmp_path)
    with pytest.raises(CheckpointError, match="patches '16x2'; expected patches '8x4,16x2:2,24x1': give"):
        fit(network(), GROWING, CONFIG, tmp_path)
    with pytest.raises(CheckpointError, match="begun with other settings, seed 7; expected seed 8"):
        fit(network(), batches(2, 8), CONFIG, tmp_path)
    with pytest.raises(
        CheckpointError, match=r"12 steps already, more than the 7 asked for: ask for 12 or more"
    ):
        fit(network(), batches(2, 7), replace(CONFIG, steps=7), tmp_path)
    with pytest.raises(CheckpointError, match="holds other parameters than this model trains"):
        fit(NAFNet(NAFNetConfig(4, (1, 1), 1, (1, 1))), batches(2, 7), CONFIG, tmp_path)
    with pytest.raises(CheckpointError, match=r"holds other parameters than this model .* output \(-o\)"):
        fit(NAFNet(NAFNetConfig(8, (1,), 1, (1,))), batches(2, 7), CONFIG, tmp_path)  # of the same names


def test_damaged_state_is_refused_by_name(tmp_path: Path) -> None:
    fit(network(), batches(2, 7), CONFIG, tmp_path)
    state = tmp_path / "state.safetensors"
    state.write_bytes(state.read_bytes()[:-100])
    with pytest.raises(CheckpointError, match=r"state\.safetensors"):
        fit(network(), batches(2, 7), CONFIG, tmp_path)


IN_A_GROUP = f"""
import importlib.util, json, sys
from pathlib import Path
from colora.train.distributed import process_group, rank_and_world
spec = importlib.util.spec_from_file_location("test_fit", {__file__!r})
test_fit = importlib.util.module_from_spec(spec)
spec.loader.exec_module(test_fit)
with process_group("cpu") as device:
    rank, world = rank_and_world()
    assert (device, world) == ("cpu", 2)
    test_fit.curve(Path(sys.argv[1]) / str(rank) / "run")  # as on two machines: neither sees the other's folder
"""


def curve(folder: Path) -> None:
    """Trains for 3 steps of 4 patches and goes on to 12, and writes what was reported."""
    told: list[Progress] = []
    for steps in (3, 12):
        fit(network(), batches(4, 7), replace(CONFIG, steps=steps), folder, lambda model: 1.0, told.append)
    if told:
        (folder / "told.json").write_text(json.dumps([(p.loss, p.validation_db) for p in told]))


def test_two_processes_train_as_one_does(tmp_path: Path) -> None:
    (tmp_path / "train.py").write_text(IN_A_GROUP)
    torchrun = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node=2"]
    done = subprocess.run(
        [*torchrun, tmp_path / "train.py", tmp_path / "two"], check=False, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr
    assert not (tmp_path / "two" / "1").exists()
    curve(tmp_path / "one" / "run")
    one, two = (json.loads((tmp_path / n / "run" / "told.json").read_text()) for n in ("one", "two/0"))
    assert [v for _, v in one] == [v for _, v in two] == [None, None, 1.0] + [None] * 8 + [1.0]
    losses = [[loss for loss, _ in told] for told in (one, two)]
    assert losses[0][0] - losses[0][-1] > 0.05  # it moves, or the next line would say little
    # the sum of gradients is taken in another order: 1e-7 a step, which 12 steps of Adam may raise to 1e-4 dB
    assert np.allclose(*losses, rtol=0, atol=1e-3)


def test_a_process_that_was_given_other_pictures_is_told_so(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("colora.train.state.rank_and_world", lambda: (1, 2))
    monkeypatch.setattr("colora.train.state.text_from_first", lambda text: text.replace("run-1", "run-2"))
    with pytest.raises(
        CheckpointError,
        match=r"process 2 of 2 was given other settings, pictures or weights .*: give all machines",
    ):
        fit(network(), batches(4, 7), CONFIG, tmp_path / "run-1")


def test_a_batch_is_shared_equally_or_not_at_all() -> None:
    whole = batches(4, 7)
    parts = [whole.part(rank, 2)[3][0] for rank in (0, 1)]
    assert torch.equal(torch.stack(parts, 1).flatten(0, 1), whole[3][0])
    with pytest.raises(ValueError, match="a batch of 4 can't be shared by 3 processes"):
        whole.part(0, 3)
    with pytest.raises(ValueError, match="a batch of 1 can't be shared by 2 processes"):  # in the end
        GROWING.part(0, 2)


def test_patches_grow_and_batches_shrink() -> None:
    shapes = [GROWING[step][0].shape for step in (0, 2, 3, 8, 9, 11)]
    assert shapes == [(4, 3, 8, 8)] * 2 + [(2, 3, 16, 16)] * 2 + [(1, 3, 24, 24)] * 2


def test_each_size_of_patch_is_compiled_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    shapes: list[tuple[int, ...]] = []

    def backend(graph: torch.fx.GraphModule, inputs: Sequence[torch.Tensor]) -> Callable[..., object]:
        shapes.extend(tuple(i.shape) for i in inputs if i.shape[1:2] == (3,) and i.dtype == torch.float32)
        return graph.forward

    monkeypatch.setattr(torch, "compile", partial(torch.compile, backend=backend))
    fit(network(), GROWING, replace(CONFIG, compile=True), tmp_path)
    pictures = [shape for shape in shapes if shape[2] == shape[3] and shape[2] >= 8]
    assert pictures == [(4, 3, 8, 8), (2, 3, 16, 16), (1, 3, 24, 24)]


def test_stops_early_when_validation_no_longer_rises_also_after_a_resume(tmp_path: Path) -> None:
    values = iter([1.0, 3.0, 2.0, 2.5, 9.0])
    config, steps = replace(CONFIG, steps=50, save_every=1, validate_every=2, patience=2), []

    def watch(progress: Progress) -> None:
        steps.append(progress.step)
        if progress.step == 6 and steps.count(6) == 1:
            raise Killed

    with pytest.raises(Killed):
        fit(network(), batches(2, 7), config, tmp_path, lambda model: next(values), watch)
    for _ in range(2):  # once stopped, it stays so
        fit(network(), batches(2, 7), config, tmp_path, lambda model: next(values), watch)
    assert steps == [1, 2, 3, 4, 5, 6, 7, 8]


@pytest.mark.parametrize("stop", [5, 8, 11])
def test_keeps_the_average_of_the_best_validation_also_after_a_resume(tmp_path: Path, stop: int) -> None:
    """Validations after steps 3, 6, 9 and 12, best after 6; states after 4, 8 and 12."""
    config, at = replace(CONFIG, save_every=4, validate_every=3), 0
    averages: dict[int, list[torch.Tensor]] = {}
    kept: dict[int, int] = {}

    def validate(model: nn.Module) -> float:
        averages[at + 1] = weights(model)
        return {3: 1.0, 6: 3.0, 9: 2.0, 12: 2.5}[at + 1]

    def watch(progress: Progress) -> None:
        nonlocal at
        at, kept[progress.step] = progress.step, progress.kept_step

    def die(progress: Progress) -> None:
        watch(progress)
        if at == stop:
            raise Killed

    with pytest.raises(Killed):
        fit(network(), batches(2, 7), config, tmp_path, validate, die)
    at, model = stop // 4 * 4, network()
    assert fit(model, batches(2, 7), config, tmp_path, validate, watch) == 6
    assert [kept[step] for step in range(3, 13)] == [3, 3, 3, 6, 6, 6, 6, 6, 6, 6]
    assert all(torch.equal(a, b) for a, b in zip(averages[6], weights(model), strict=True))
    for keep, step in (("best", 6), ("last", 12)):  # what is kept can be chosen after the run
        other = network()
        assert fit(other, batches(2, 7), replace(config, keep=keep), tmp_path, validate, watch) == step
        assert all(torch.equal(a, b) for a, b in zip(averages[step], weights(other), strict=True))


def test_keeps_the_last_average_where_nothing_validates(tmp_path: Path) -> None:
    best, last = network(), network()
    assert fit(best, batches(2, 7), CONFIG, tmp_path / "best") == 12
    fit(last, batches(2, 7), replace(CONFIG, keep="last"), tmp_path / "last", lambda model: -1.0)
    assert all(torch.equal(a, b) for a, b in zip(weights(best), weights(last), strict=True))


def test_goes_on_from_a_state_of_before_the_best_was_kept(tmp_path: Path) -> None:
    fit(network(), batches(2, 7), CONFIG, tmp_path)
    tensors, metadata = read_tensors(tmp_path / "state.safetensors")
    assert {name.split("/")[0] for name in tensors} == {"now", "average", "m", "v"}  # nothing validated
    del metadata["best_step"]
    write_tensors(tmp_path / "state.safetensors", tensors, metadata)
    assert fit(network(), batches(2, 7), replace(CONFIG, steps=13), tmp_path) == 13


def test_a_loss_that_is_not_finite_names_the_batch_and_the_last_good_state(tmp_path: Path) -> None:
    first = np.random.default_rng([7, 8, 1]).random()  # what the second patch of step 8 draws first

    def spoilt(rng: Generator, patch: int) -> tuple[np.ndarray, np.ndarray]:
        degraded, clean = draw(rng, patch)
        return (degraded * np.nan if clean[0, 0, 0] == np.float32(first) else degraded), clean

    with pytest.raises(FloatingPointError) as raised:
        fit(network(), batches(2, 7, spoilt), CONFIG, tmp_path)
    told = str(raised.value)
    assert told.startswith(
        "loss is nan and the norm of its gradient nan at step 8, on the batch of seed 7 and that step (Bat"
    )
    assert "its pictures hold numbers that are not finite" in told
    assert torch.isnan(batches(2, 7, spoilt)[8][0]).any()  # as it says: the batch can be looked at

    assert (
        f"The last good state, after 5 steps, is {tmp_path / 'state.safetensors'}; train for 5 steps" in told
    )
    left, again = network(), network()
    five = replace(CONFIG, steps=5)
    fit(left, batches(2, 7, spoilt), five, tmp_path, report=lambda p: pytest.fail("ran again"))
    with pytest.raises(FloatingPointError):  # at the same batch, and with the same state left
        fit(network(), batches(2, 7, spoilt), CONFIG, tmp_path)
    fit(again, batches(2, 7, spoilt), five, tmp_path, report=lambda p: pytest.fail("ran again"))
    assert all(
        torch.isfinite(a).all() and torch.equal(a, b)
        for a, b in zip(weights(left), weights(again), strict=True)
    )


def test_a_gradient_that_is_not_finite_stops_before_it_is_used(tmp_path: Path) -> None:
    class Rooted(nn.Module):
        """At w = 0 the loss is finite and its gradient, 0·∞, is not."""

        def __init__(self) -> None:
            super().__init__()
            self.w = nn.Parameter(torch.tensor(0.0))

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return x + self.w.square().sqrt()

    with pytest.raises(
        FloatingPointError,
        match=r"the norm of its gradient nan at step 0, .*: lower the learning rate \(got 0\.003\) and start "
        r"again with another output\. No state was saved yet, the first would have been after 5 steps",
    ):
        fit(Rooted(), batches(2, 7), CONFIG, tmp_path)
    assert not (tmp_path / "state.safetensors").exists()


def test_batches_depend_on_seed_and_step_only() -> None:
    drawn = batches(2, 3)
    assert torch.equal(drawn[4][0], batches(2, 3)[4][0])
    assert not torch.equal(drawn[4][0], drawn[5][0])
    assert not torch.equal(drawn[4][0], batches(2, 4)[4][0])


def test_psnr_loss_is_minus_psnr() -> None:
    # MSE 0.01 at peak 1 is 20 dB; the 1e-8 that keeps log finite moves it by 4e-6 dB
    assert psnr_loss(torch.full((2, 3, 4, 4), 0.1), torch.zeros(2, 3, 4, 4)).item() == pytest.approx(
        -20, abs=1e-4
    )


def test_losses_of_a_known_difference() -> None:
    target = torch.zeros(2, 3, 4, 4)
    output = target + 0.1
    values = {name: loss(output, target).item() for name, loss in LOSSES.items()}
    assert values == pytest.approx({"psnr": -20, "l1": 0.1, "charbonnier": 0.1}, abs=1e-5)  # ε 1e-3 adds 5e-6


def test_unknown_losses_leave_with_the_nearest(tmp_path: Path) -> None:
    with pytest.raises(UnknownName, match="unknown loss 'l2': did you mean l1"):
        fit(network(), batches(2, 7), replace(CONFIG, loss="l2"), tmp_path)


def test_learning_rate_warms_up_and_falls_to_the_floor() -> None:
    config = FitConfig(steps=100, lr=1.0, lr_min=0.1, warmup=10)
    rates = [config.rate(step) for step in range(100)]
    assert rates[:10] == pytest.approx([0.1 * (i + 1) for i in range(10)])
    assert max(rates) == 1.0 and rates[10:] == sorted(rates[10:], reverse=True)
    assert rates[-1] == pytest.approx(0.1, abs=0.001)
    low = FitConfig(steps=100, lr=0.01, lr_min=0.1, warmup=10)
    assert {low.rate(step) for step in range(10, 100)} == {0.01}


@pytest.mark.parametrize("drawn", [batches(4, 7), GROWING])
def test_an_echoed_run_makes_fewer_batches_and_resumes_bit_exactly(tmp_path: Path, drawn: Batches) -> None:
    config = replace(CONFIG, echo=3, steps=35)
    whole, resumed = network(), network()
    fit(whole, drawn, config, tmp_path / "whole")

    def die(progress: Progress) -> None:
        if progress.step == 33:
            raise Killed

    with pytest.raises(Killed):
        fit(network(), drawn, config, tmp_path / "cut", report=die)
    fit(resumed, drawn, config, tmp_path / "cut")
    assert config.made == 12
    assert all(torch.equal(a, b) for a, b in zip(weights(whole), weights(resumed), strict=True))


def test_echo_draws_from_the_batches_made_up_to_now() -> None:
    fresh = [(torch.full((8, 3, 2, 2), float(i)), torch.full((8, 3, 2, 2), -float(i))) for i in range(80)]
    steps = list(echoed(iter(fresh), 0, 2, seed=3))
    assert len(steps) == 160
    for step, (degraded, clean) in enumerate(steps):
        assert torch.equal(degraded, -clean)
        assert max(0, step // 2 - 31) <= degraded.min() and degraded.max() <= step // 2
    late = torch.cat([degraded for degraded, _ in steps[100:]])
    assert len(late.unique()) > 40  # of the 62 batches that these steps can draw from
    begun = first_needed(101, 2)
    again = list(echoed(iter(fresh[begun:]), 101, 2, seed=3))
    assert all(torch.equal(a, b) for (a, _), (b, _) in zip(again, steps[101:], strict=True))


@pytest.mark.parametrize("rate", [-1.0, math.nan, math.inf])
def test_refuses_a_rate_that_is_none(rate: float) -> None:
    with pytest.raises(ColoraError, match=f"learning rate {rate}: expected a finite number, at least 0"):
        FitConfig(1, lr=rate)
