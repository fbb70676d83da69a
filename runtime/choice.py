"""`task="auto"`: which of a bundle's tasks a picture needs, if any, and how sure that is.

A small network (runtime/choice.safetensors, written by train/choice.py) tells from `measure` what is wrong with a
picture: one of the tasks of train/tasks.py, or nothing. Whatever the bundle has no task for counts as "leave it
alone", since another task's weights would only do harm.
"""

import json
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

import numpy as np
from colora.devices.errors import CheckpointError
from colora.runtime.features import MIN_SIDE, measure
from colora.runtime.weights import Array, read_tensors

AUTO = "auto"
"""Given for a task: choose it from the picture."""
NOTHING = "nothing"
"""Given for a task, or chosen: the picture is returned as it is. No bundle's task is called by these two names."""
CLEAN = "clean"
"""Label of pictures that nothing is wrong with."""
LEAST_CONFIDENCE = 0.5
"""A task is taken only if it is more likely than all else together."""
CLIP = 4.0
"""Standard deviations of the training pictures: what lies beyond is taken for this far."""
WEIGHTS = Path(__file__).with_name("choice.safetensors")


@dataclass(frozen=True)
class Choice:
    """What was chosen for a picture."""

    task: str
    """A task of the bundle, or NOTHING."""
    confidence: float
    """Probability that this is right: of the task, or of NOTHING that none of the bundle's tasks is needed.
    Below `least`, NOTHING was chosen because no answer was likely enough."""
    probabilities: Mapping[str, float]
    """Of CLEAN and of every task that the network knows, whatever the bundle has; their sum is 1."""

    def __str__(self) -> str:
        likely = max(self.probabilities, key=lambda name: self.probabilities[name])
        seen = (
            ""
            if likely in (self.task, CLEAN)
            else f", most like {likely} {_percent(self.probabilities[likely])}"
        )
        return f"{self.task} ({_percent(self.confidence)}{seen})"


@dataclass(frozen=True)
class Network:
    """One hidden layer. Its temperature is already in the last layer."""

    features: tuple[str, ...]
    labels: tuple[str, ...]
    tensors: Mapping[str, Array]

    def __call__(self, measured: Mapping[str, float]) -> Array:
        """Probabilities of `labels`."""
        t = self.tensors
        given = np.array([measured[name] for name in self.features], np.float32)
        given = np.clip((given - t["mean"]) / t["scale"], -CLIP, CLIP)
        logits = t["w2"] @ np.maximum(t["w1"] @ given + t["b1"], 0) + t["b2"]
        raised = np.exp(logits - logits.max())
        return np.asarray(raised / raised.sum())


def choose(images: Sequence[Array], tasks: Collection[str], least: float = LEAST_CONFIDENCE) -> Choice:
    """What pictures of one scene (frames of a video, or one picture) need.

    images: as of `as_image`; their probabilities are averaged. tasks: of the bundle; those that the network
    does not know are never chosen. least: see LEAST_CONFIDENCE.
    Pictures with a side below MIN_SIDE tell too little: NOTHING, with all answers alike.
    """
    return decide(np.mean([_probabilities(image) for image in images], axis=0), tasks, least)


def decide(probabilities: Array, tasks: Collection[str], least: float = LEAST_CONFIDENCE) -> Choice:
    """The rule, from probabilities of the labels of `network()`."""
    told = {name: float(p) for name, p in zip(network().labels, probabilities, strict=True)}
    open_to = {name: p for name, p in told.items() if name in tasks and name != CLEAN}
    task = max(open_to, key=lambda name: open_to[name], default=NOTHING)
    if task == NOTHING or open_to[task] < least:
        return Choice(NOTHING, 1 - sum(open_to.values()), told)
    return Choice(task, open_to[task], told)


@lru_cache(maxsize=1)
def network() -> Network:
    """The weights that come with the package. Raises: CheckpointError."""
    return read_network(WEIGHTS)


def read_network(path: Path) -> Network:
    """Raises: CheckpointError for a file that is not of train/choice.py."""
    tensors, metadata = read_tensors(path)
    try:
        facts = json.loads(metadata["colora"])
        return Network(tuple(facts["features"]), tuple(facts["labels"]), tensors)
    except (KeyError, ValueError, TypeError) as e:
        raise CheckpointError(f"{path} is no network of train/choice.py: {e}") from e


def _percent(share: float) -> str:
    return ">99%" if share > 0.99 else f"{share:.0%}"


def _probabilities(image: Array) -> Array:
    found = network()
    if min(image.shape[:2]) < MIN_SIDE:
        return np.full(len(found.labels), 1 / len(found.labels))
    return found(measure(image))
