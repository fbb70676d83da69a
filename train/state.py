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
from colora.train.distributed import rank_and_world
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

        Settings that it doesn't tell, as older ones don't tell all, are not compared. Raises CheckpointError where it
        is damaged, of other settings or parameters, or beyond `steps`, and as `hold` does.
        """
        if rank_and_world()[0] == 0:
            weakref.finalize(self, os.close, hold(folder))
        path = folder / "state.safetensors"
        if not path.exists():
            return
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
        self.step = step
        self.best_db, self.stale = float(metadata["best_db"]), int(metadata["stale"])
        self.best_step = int(metadata.get("best_step", 0))
        if self.best_step:
            self.best = {
                name: torch.from_numpy(tensors[f"best/{name}"]).to(p, copy=True)
                for name, p in self.trained.items()
            }
        with torch.no_grad():
            for name, p in self.trained.items():
                now, average, m, v = (torch.from_numpy(tensors[f"{kind}/{name}"]) for kind in KINDS)
                p.copy_(now)
                self.average[name].copy_(average)
                self.optimizer.state[p] = {
                    "step": torch.tensor(float(step), device=p.device),
                    "exp_avg": m.to(p.device, copy=True),
                    "exp_avg_sq": v.to(p.device, copy=True),
                }


def rewind(curve: Path, step: int) -> None:
    """Drops the rows that a killed run wrote to `curve` after the state of `step`: they will be written again."""
    if curve.exists():
        whole = [line for line in curve.read_text().splitlines() if line.endswith("}")]
        rows = [line for line in whole if json.loads(line)["step"] <= step]
        write_text(curve, "".join(f"{row}\n" for row in rows))
