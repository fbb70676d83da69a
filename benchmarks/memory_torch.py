"""PyTorch holding N tasks, on the CPU or a GPU: a module for each, or one whose weights are edited in place."""

from __future__ import annotations

import ctypes
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
import torch
from colora.benchmarks.memory_systems import SOURCE
from colora.runtime.adapter import Adapter
from colora.runtime.bundle import WEIGHTS, open_bundle
from colora.runtime.deltas import delta_kind
from colora.runtime.weights import Array, read_tensors
from colora.train.backbones import BACKBONES, Backbone
from colora.train.checkpoint import load_backbone
from safetensors.torch import load_file
from torch import Tensor, nn


def one_by_one(
    backbone: str, tensor: Array, threads: int, device: str
) -> Callable[[str], Callable[[], Tensor]]:
    """What opens a model file as a module of its own. tensor: 1×3×H×W float32."""
    layout, given = _layout(backbone), _given(tensor, threads, device)

    def open_one(model: str) -> Callable[[], Tensor]:
        module = _module(layout, load_file(str(Path(model).parent / SOURCE), device))
        return lambda: _run(module, given)

    return open_one


class InPlace:
    """One module; a change of task writes the parameters that either task changes, from the pristine ones."""

    def __init__(
        self, bundle: str, backbone: str, tasks: Sequence[str], tensor: Array, threads: int, device: str
    ) -> None:
        self._given = _given(tensor, threads, device)
        opened = open_bundle(bundle)
        self._pristine = read_tensors(opened.path / WEIGHTS)[0]
        self._adapters: list[Adapter] = [opened.read_task(task) for task in tasks]
        self._module = _module(_layout(backbone), load_file(str(opened.path / WEIGHTS), device))
        self._now: frozenset[str] = frozenset()
        self._number = -1

    def restore(self, number: int) -> Tensor:
        """One picture by that task."""
        if number != self._number:
            self._change(self._adapters[number])
            self._number = number
        return _run(self._module, self._given)

    def _change(self, adapter: Adapter) -> None:
        parameters = dict(self._module.named_parameters())
        with torch.no_grad():
            for name in self._now | adapter.params.keys():
                value = self._pristine[name]
                if p := adapter.params.get(name):
                    value = value + np.float32(p.scale) * delta_kind(p.kind).delta(p.tensors, value)
                parameters[name].copy_(torch.from_numpy(value))
        self._now = frozenset(adapter.params)


POPULATE_READ = 22
"""madvise's MADV_POPULATE_READ, from Linux 5.14 on; before, nothing happens."""


def read_all_code() -> None:
    """All of PyTorch's code into memory. How much of its 400 MB file a system maps beside what runs depends on how the
    file lies in its cache: in two environments of one machine a model's first run brought 10 or 22 MB of it."""
    libc = ctypes.CDLL("libc.so.6")
    for line in Path("/proc/self/maps").read_text().splitlines():
        if "libtorch" in line:
            begin, end = (int(part, 16) for part in line.split()[0].split("-"))
            libc.madvise(ctypes.c_void_p(begin), ctypes.c_size_t(end - begin), POPULATE_READ)


def _layout(backbone: str) -> Backbone:
    return BACKBONES[backbone] if backbone in BACKBONES else load_backbone(backbone).backbone


def _given(tensor: Array, threads: int, device: str) -> Tensor:
    read_all_code()
    if threads:
        torch.set_num_threads(threads)
    return torch.from_numpy(tensor).to(device)


def _module(layout: Backbone, weights: dict[str, Tensor]) -> nn.Module:
    """On the device of the weights, which are not copied."""
    with torch.device("meta"):
        module = layout.build()
    module.load_state_dict(weights, assign=True)
    return module.eval()


def _run(module: nn.Module, given: Tensor) -> Tensor:
    with torch.inference_mode():
        result: Tensor = module(given).cpu()
    ctypes.CDLL("libc.so.6").malloc_trim(0)
    return result
