"""Hugging Face PEFT over the PyTorch network: its LoRA layers for convolutions, from our low-rank factors.

PEFT takes low-rank changes of ungrouped convolutions. Other changes, of biases, norms and depthwise kernels above all,
are out of its reach: those stay the backbone's, so that its picture is not the task's.
"""

from __future__ import annotations

import os
import tempfile
from collections.abc import Callable, Mapping
from itertools import cycle
from pathlib import Path
from typing import TYPE_CHECKING, Any

from colora.benchmarks.peer_factors import factors
from colora.runtime.adapter import ParamDelta
from colora.runtime.bundle import WEIGHTS, open_bundle
from colora.runtime.weights import read_tensors

if TYPE_CHECKING:
    from colora.benchmarks.peer_open import Opened, Subject

WEIGHT = ".weight"
NAMES = ("first", "second")
"""Of the two adapters in PEFT."""


def open_peft(
    way: str, subject: Subject, build: Callable[[dict[str, Any]], Any], run: Callable[[Any, Any], Any]
) -> Opened:
    """way: `beside`, `merged` or `hotswap`. build: network from weights; run: network and tensor → tensor."""
    os.environ["HF_HUB_OFFLINE"] = "1"  # nothing is looked up
    from colora.benchmarks.peer_open import Opened

    bundle = open_bundle(subject.bundle)
    module = build(read_tensors(bundle.path / WEIGHTS)[0])
    adapters = [bundle.read_task(task).params for task in subject.tasks]
    names = [lora_modules(module, deltas) for deltas in adapters]
    targets = sorted(set(names[0]) | set(names[1]))
    model = attach(module, targets, adapters)
    model.eval()
    following = cycle(NAMES[::-1])
    if way == "beside":
        return Opened(lambda tensor: run(model, tensor), lambda: model.set_adapter(next(following)))
    if way == "merged":
        model.merge_adapter([NAMES[0]])

        def switch() -> None:
            model.unmerge_adapter()
            name = next(following)
            model.set_adapter(name)
            model.merge_adapter([name])

        return Opened(lambda tensor: run(model, tensor), switch)
    from peft.utils.hotswap import hotswap_adapter

    folder = tempfile.mkdtemp(dir=subject.folder)
    model.save_pretrained(folder, selected_adapters=list(NAMES))
    model.delete_adapter(NAMES[1])

    def swap() -> None:
        hotswap_adapter(model, str(Path(folder) / next(following)), adapter_name=NAMES[0], torch_device="cpu")

    return Opened(lambda tensor: run(model, tensor), swap)


def lora_modules(module: Any, deltas: Mapping[str, ParamDelta]) -> list[str]:
    """Convolutions whose change PEFT can hold."""
    groups = {name: getattr(m, "groups", 0) for name, m in module.named_modules()}
    return [
        name.removesuffix(WEIGHT)
        for name, delta in deltas.items()
        if name.endswith(WEIGHT) and delta.kind == "low-rank" and groups[name.removesuffix(WEIGHT)] == 1
    ]


def attach(module: Any, targets: list[str], adapters: list[Mapping[str, ParamDelta]]) -> Any:
    """The network with two adapters, the first in use; both have the larger of the two ranks, padded with zeros."""
    import torch
    from peft import LoraConfig, get_peft_model

    weights = dict(module.named_parameters())

    def held(deltas: Mapping[str, ParamDelta], name: str) -> ParamDelta | None:
        delta = deltas.get(name)  # a kernel may have a low rank in one adapter and not in the other
        return delta if delta and delta.kind == "low-rank" else None

    made = {
        target: [
            factors(held(deltas, target + WEIGHT), tuple(weights[target + WEIGHT].shape))
            for deltas in adapters
        ]
        for target in targets
    }
    ranks = {target: max(len(a) for a, _ in pair) for target, pair in made.items()}
    config = {
        "r": 1,
        "lora_alpha": 1,
        "target_modules": targets,
        "rank_pattern": ranks,
        "alpha_pattern": ranks,  # alpha / r = 1: the scale is in B
    }
    model = get_peft_model(module, LoraConfig(**config), adapter_name=NAMES[0])
    model.add_adapter(NAMES[1], LoraConfig(**config))
    layers = dict(model.base_model.model.named_modules())
    with torch.no_grad():
        for target, pair in made.items():
            for name, (a, b) in zip(NAMES, pair, strict=True):
                first, second = layers[target].lora_A[name].weight, layers[target].lora_B[name].weight
                first.zero_()[: len(a)] = torch.from_numpy(a)
                second.zero_()[:, : b.shape[1]] = torch.from_numpy(b)
    return model
