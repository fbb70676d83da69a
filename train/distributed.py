"""Several processes that train one model: started by `torchrun`, joined here, silent where there is only one."""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import timedelta

import torch
from torch import Tensor, distributed

TIMEOUT = timedelta(days=1)
"""for the first process, which attributes alone while the others wait: 800 forward and backward passes by default, for
which torch would wait 10 (NCCL) or 30 minutes (Gloo)"""


@contextmanager
def process_group(device: str) -> Iterator[str]:
    """Joins the processes that torchrun started (its environment says so); yields the device of this one.

    NCCL for CUDA, one GPU per process, Gloo for the CPU. Without torchrun it yields `device` and does nothing.
    """
    if not distributed.is_torchelastic_launched():
        yield device
        return
    cuda = torch.device(device).type == "cuda"
    if cuda:
        device = f"cuda:{os.environ['LOCAL_RANK']}"
        torch.cuda.set_device(device)
    distributed.init_process_group("nccl" if cuda else "gloo", timeout=TIMEOUT)
    try:
        yield device
    finally:
        distributed.destroy_process_group()


def rank_and_world() -> tuple[int, int]:
    """(number of this process, how many there are); (0, 1) outside a process group."""
    if not (distributed.is_available() and distributed.is_initialized()):
        return 0, 1
    return distributed.get_rank(), distributed.get_world_size()


def mean_over_all(value: float) -> float:
    """Mean of the processes' values; with one process, its own."""
    world = rank_and_world()[1]
    if world == 1:
        return value
    total = torch.tensor(value, dtype=torch.float64, device=_device())
    distributed.all_reduce(total)
    return total.item() / world


def from_first(value: float | None) -> float:
    """The first process's value, in every process; only the first one's is looked at."""
    told = torch.tensor(value if rank_and_world()[0] == 0 else 0.0, dtype=torch.float64)
    return tensor_from_first(told).item()


def text_from_first(text: str) -> str:
    """The first process's text, in every process; only the first one's is looked at."""
    data = bytearray(text.encode())
    size = int(from_first(len(data)))
    if not size:
        return ""
    told = (
        torch.frombuffer(data, dtype=torch.uint8)
        if rank_and_world()[0] == 0
        else torch.empty(size, dtype=torch.uint8)
    )
    return bytes(tensor_from_first(told).numpy()).decode()


def tensor_from_first(tensor: Tensor) -> Tensor:
    """The first process's tensor, on the CPU of every process; of the others' only shape and dtype are looked at."""
    if rank_and_world()[1] == 1:
        return tensor
    told = tensor.to(_device())
    distributed.broadcast(told, src=0)
    return told.cpu()


def _device() -> str:
    """Where the group's backend wants its tensors."""
    nccl = distributed.is_available() and distributed.is_initialized() and distributed.get_backend() == "nccl"
    return "cuda" if nccl else "cpu"
