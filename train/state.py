"""The resumable state of a training, one safetensors file, written atomically; and its curve until then."""

import json
import os
import weakref
from dataclasses import dataclass, field
from pathlib import Path

import torch
from colora.devices.errors import CheckpointError
from colora.runtime.atomic import write_text
from colora.runtime.weights import Array, read_tensors, write_tensors
from colora.train.distributed import rank_and_world, tensor_from_first, text_from_first
from colora.train.hold import hold
from torch import Tensor, nn

KINDS = ("now", "average", "m", "v")
"""Per parameter: its value, its moving average, and AdamW's two moments."""
FACTS = ("step", "best_db", "best_step", "stale")


@dataclass
class State:
    """What a training has reached. The tensors are the training's own: `resume` writes into them."""

    trained: dict[str, nn.Parameter]
    average: dict[str, Tensor]
    optimizer: torch.optim.Optimizer
    step: int = 0
    """steps done"""
    best_db: float = float("-inf")
    """best validation so far"""
    stale: int = 0
    """validations since then"""
    best: dict[str, Tensor] = field(default_factory=dict)
    """the moving average at the best validation; empty before the first"""
    best_step: int = 0
    """steps done then"""

    def judge(self, validation_db: float) -> None:
        """Counts a validation of `average`, and keeps a copy of it where none was better."""
        if not validation_db > self.best_db:
            self.stale += 1
            return
        self.stale, self.best_db, self.best_step = 0, validation_db, self.step
        self.best = {name: average.clone() for name, average in self.average.items()}

    def save(self, folder: Path, identity: str) -> None:
        """Writes `state.safetensors`; `identity` is a JSON object of what a run that goes on from it must share."""
        tensors: dict[str, Array] = {}
        for name, p in self.trained.items():
            moments = self.optimizer.state[p]
            values = (p.detach(), self.average[name], moments["exp_avg"], moments["exp_avg_sq"])
            for kind, value in zip(KINDS, values, strict=True):
                tensors[f"{kind}/{name}"] = value.cpu().contiguous().numpy()
        tensors |= {f"best/{name}": value.cpu().contiguous().numpy() for name, value in self.best.items()}
        facts = {name: str(getattr(self, name)) for name in FACTS}
        write_tensors(folder / "state.safetensors", tensors, {**facts, "config": identity})

    def resume(self, folder: Path, identity: str, steps: int) -> None:
        """Takes over the state in `folder` if there is one; makes and holds the folder.

        In a process group the first process reads, and tells the others, which need not see the folder. Settings that
        a state doesn't tell, as older ones don't tell all, are not compared. Raises CheckpointError where it is
        damaged, of other settings or parameters, or beyond `steps`, where a process was given other settings or
        pictures than the first, and as `hold` does.
        """
        rank, world = rank_and_world()
        facts, tensors = self._read(folder, identity, steps) if rank == 0 else ({}, {})
        if text_from_first(told := f"{folder.name} {identity}") != told:
            raise CheckpointError(
                f"{folder}: process {rank + 1} of {world} was given other settings, pictures or weights than the first "
                "one; expected the same in all: give all machines one command and copies of the same files"
            )
        facts = json.loads(text_from_first(json.dumps(facts)))
        if not facts:
            return
        self.step, self.stale = int(facts["step"]), int(facts["stale"])
        self.best_db, self.best_step = float(facts["best_db"]), int(facts.get("best_step", 0))

        def stored(kind: str, name: str, p: Tensor) -> Tensor:
            mine = torch.from_numpy(tensors[f"{kind}/{name}"]) if tensors else torch.empty(p.shape)
            return tensor_from_first(mine).to(p.device, copy=True)

        with torch.no_grad():
            for name, p in self.trained.items():
                p.copy_(stored("now", name, p))
                self.average[name].copy_(stored("average", name, p))
                self.optimizer.state[p] = {
                    "step": torch.tensor(float(self.step), device=p.device),
                    "exp_avg": stored("m", name, p),
                    "exp_avg_sq": stored("v", name, p),
                }
                if self.best_step:
                    self.best[name] = stored("best", name, p)

    def _read(self, folder: Path, identity: str, steps: int) -> tuple[dict[str, str], dict[str, "Array"]]:
        """Facts and tensors of the state in `folder`, checked; none where there is no state."""
        weakref.finalize(self, os.close, hold(folder))
        path = folder / "state.safetensors"
        if not path.exists():
            return {}, {}
        tensors, metadata = read_tensors(path)
        begun, now = json.loads(metadata.get("config", "{}")), json.loads(identity)
        if odd := [name for name in begun if begun[name] != now.get(name)]:
            told = ", ".join(f"{name} {begun[name]!r}" for name in odd)
            expected = ", ".join(f"{name} {now.get(name)!r}" for name in odd)
            raise CheckpointError(
                f"{path}: begun with other settings, {told}; expected {expected}: give another output (-o), or the "
                "same settings to go on"
            )
        kinds = (*KINDS, "best") if int(metadata.get("best_step", 0)) else KINDS  # older states have none
        shapes = {f"{kind}/{name}": p.shape for kind in kinds for name, p in self.trained.items()}
        if {name: tensor.shape for name, tensor in tensors.items()} != shapes:
            raise CheckpointError(
                f"{path}: holds other parameters than this model trains: give another output (-o)"
            )
        step = int(metadata["step"])
        if step > steps:
            raise CheckpointError(
                f"{path}: has done {step} steps already, more than the {steps} asked for: ask for {step} or more "
                "(--steps), or give another output (-o)"
            )
        return {name: metadata[name] for name in FACTS if name in metadata}, tensors


def rewind(curve: Path, step: int) -> None:
    """Drops the rows that a killed run wrote to `curve` after the state of `step`: they will be written again."""
    if curve.exists():
        whole = [line for line in curve.read_text().splitlines() if line.endswith("}")]
        rows = [line for line in whole if json.loads(line)["step"] <= step]
        write_text(curve, "".join(f"{row}\n" for row in rows))
