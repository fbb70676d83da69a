"""Training on an NVIDIA GPU is training on the CPU but for rounding; skipped where there is none.

Convolutions of float32 take TF32 on a GPU unless told otherwise (10 bits of mantissa); these tests tell otherwise, so
that what is left is the order of sums.
"""

import subprocess
import sys
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from colora.train.attribution import faig
from colora.train.fit import FitConfig, Progress, fit
from colora.train.nafnet import NAFNet, NAFNetConfig
from colora.train.patches import read_stages
from colora.train.photos import Batches
from numpy.random import Generator
from torch import nn

pytestmark = pytest.mark.skipif(
    not torch.cuda.is_available(), reason="needs an NVIDIA GPU, and a torch made for it"
)
CPU = FitConfig(steps=12, lr=3e-3, warmup=2, save_every=5, threads=1)
GPU = replace(CPU, device="cuda")


def draw(rng: Generator, patch: int) -> tuple[np.ndarray, np.ndarray]:
    clean = np.full((patch, patch, 3), rng.random(), np.float32)
    return clean + rng.normal(0, 0.2, clean.shape).astype(np.float32), clean


BATCHES = Batches(draw, read_stages("16x4,24x2"), 12, 7)


def network() -> nn.Module:
    torch.manual_seed(0)
    return NAFNet(NAFNetConfig(4, (1,), 1, (1,)))


def losses(folder: Path, config: FitConfig, batches: Batches = BATCHES) -> tuple[nn.Module, np.ndarray]:
    """What a training ends with, and its loss after each step."""
    model, told = network(), list[Progress]()
    fit(model, batches, config, folder, lambda module: 1.0, told.append)
    return model, np.array([p.loss for p in told])


def furthest(one: nn.Module, other: nn.Module) -> float:
    """Largest difference of two parameters."""
    pairs = zip(one.parameters(), other.parameters(), strict=True)
    return max(float((a - b).detach().abs().max()) for a, b in pairs)


@pytest.fixture(autouse=True)
def plain_convolutions() -> Iterator[None]:
    """The same kernels each time, in float32."""
    with torch.backends.cudnn.flags(enabled=True, deterministic=True, allow_tf32=False):
        yield


def test_a_gpu_learns_what_the_cpu_learns(tmp_path: Path) -> None:
    cpu, expected = losses(tmp_path / "cpu", CPU)
    gpu, found = losses(tmp_path / "gpu", GPU)
    print(f"losses differ by {np.abs(found - expected).max():.2g} dB, weights by {furthest(cpu, gpu):.2g}")
    assert expected[0] - expected[-1] > 0.05 and all(p.device.type == "cpu" for p in gpu.parameters())
    # 1e-6 a step by the order of sums, which Adam raises where a gradient is nearly nothing: 12 steps of 3e-3 at most
    assert np.allclose(found, expected, rtol=0, atol=1e-2)
    assert furthest(cpu, gpu) < 1e-2


def test_a_state_of_the_gpu_is_gone_on_from(tmp_path: Path) -> None:
    class Killed(Exception):
        pass

    def die(progress: Progress) -> None:
        if progress.step == 8:
            raise Killed

    whole, expected = losses(tmp_path / "whole", GPU)
    with pytest.raises(Killed):
        fit(network(), BATCHES, GPU, tmp_path / "cut", lambda module: 1.0, die)
    resumed, found = losses(tmp_path / "cut", GPU)
    print(f"after a stop weights differ by {furthest(whole, resumed):.2g}")
    assert len(found) == 7  # steps 6 to 12
    assert np.allclose(found, expected[5:], rtol=0, atol=1e-4) and furthest(whole, resumed) < 1e-4
    _, found = losses(tmp_path / "cut", replace(CPU, steps=14))  # the CPU takes it over
    assert len(found) == 2 and np.isfinite(found).all()


@pytest.mark.filterwarnings("ignore:TensorFloat32 tensor cores")  # what inductor would rather have
@pytest.mark.parametrize("compiled", [False, True])
def test_bf16_learns_too(tmp_path: Path, compiled: bool) -> None:
    config = FitConfig(
        steps=60, lr=3e-3, warmup=5, threads=1, device="cuda", bf16=True, compile=compiled, workers=2
    )
    _, found = losses(tmp_path, config, Batches(draw, read_stages("16x4"), 60, 0))
    assert found[:10].mean() > found[-10:].mean() + 3  # as on the CPU: test_fit.py


def test_attribution_is_the_same_on_both() -> None:
    model = network()
    for p in model.parameters():  # beta and gamma start at zero and would hide the blocks
        nn.init.normal_(p, 0.0, 0.2)
    baseline = {name: p.detach().clone() for name, p in model.named_parameters()}
    torch.manual_seed(9)
    target = {name: p + 0.02 * torch.randn_like(p) for name, p in baseline.items()}
    pairs = [(torch.rand(1, 3, 32, 32), torch.rand(1, 3, 32, 32)) for _ in range(2)]
    expected = faig(model, baseline, target, pairs, 10)
    states = [{name: t.cuda() for name, t in state.items()} for state in (baseline, target)]
    found = faig(model.cuda(), states[0], states[1], [(x.cuda(), y.cuda()) for x, y in pairs], 10)
    off = [abs(found.contribution[n] / c - 1) for n, c in expected.contribution.items()]
    print(f"contributions differ by {max(off):.2g} of themselves")
    assert max(off) < 1e-3  # means of |sums| that all but cancel: float32's 1e-7, a few thousand times
    assert found.explained == pytest.approx(expected.explained, rel=1e-3)


IN_A_GROUP = f"""
import importlib.util, sys
from pathlib import Path
from torch import distributed
from colora.train.distributed import process_group
spec = importlib.util.spec_from_file_location("test_fit_on_gpu", {__file__!r})
tests = importlib.util.module_from_spec(spec)
spec.loader.exec_module(tests)
with process_group("cuda") as device:
    assert (device, distributed.get_backend(), distributed.get_world_size()) == ("cuda:0", "nccl", 1)
    distributed.barrier(device_ids=[0])
    _, found = tests.losses(Path(sys.argv[1]), tests.replace(tests.GPU, device=device))
    print("trained", len(found))
"""


def test_a_group_of_one_joins_by_nccl(tmp_path: Path) -> None:
    """Two need two GPUs."""
    (tmp_path / "train.py").write_text(IN_A_GROUP)
    torchrun = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node=1"]
    done = subprocess.run(
        [*torchrun, tmp_path / "train.py", tmp_path / "one"], check=False, capture_output=True, text=True
    )
    assert done.returncode == 0 and "trained 12" in done.stdout, done.stderr
