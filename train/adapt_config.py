"""How to adapt a backbone, what an adapter's budget comes to, and what is refused before anything is trained."""

import math
from dataclasses import dataclass, replace

from colora.devices.errors import ColoraError, ImageError
from colora.runtime.adapter import TASK_NAME
from colora.runtime.golden import GOLDEN_SHAPE
from colora.train.backbones import require_rgb
from colora.train.checkpoint import Checkpoint
from colora.train.examples import Examples
from colora.train.fit import FitConfig
from colora.train.nafnet import NAFNet
from colora.train.patches import Stage
from colora.train.photos import require_usable
from colora.train.ranks import Allocation, rank_of, stored_numbers


@dataclass(frozen=True)
class AdaptConfig:
    """How to adapt. Raises ColoraError for `beta` outside 0 to 1, and for `alpha` negative or not finite."""

    fit: FitConfig
    """for the adapter"""
    target: FitConfig
    """for the fully tuned copy that attribution compares with"""
    budget: float | None = None
    """most numbers stored, golden output included, per number of the backbone; None: 0.07 for NAFNet, 0.11 for
    Restormer, the paper's sizes"""
    beta: float | None = 0.01
    """share δ that a layer without any contribution gets; None: solved for the budget, `alpha` being given"""
    alpha: float | None = None
    """gain of the contribution; None: solved for the budget"""
    faig_steps: int = 100
    """points on the path (N of FAIG)"""
    faig_images: int = 8
    batch: int = 4
    patch: int = 128
    """side of a training patch in pixels"""
    seed: int = 0
    patches: tuple[Stage, ...] = ()
    """progressive patches, in place of `batch` and `patch`"""

    def __post_init__(self) -> None:
        if self.beta is not None and not 0 <= self.beta <= 1:
            raise ColoraError(f"β = {self.beta:g}: expected a share from 0 to 1, such as 0.01")
        if self.alpha is not None and not 0 <= self.alpha < math.inf:
            raise ColoraError(f"α = {self.alpha:g}: expected a finite number, at least 0")

    @property
    def probe(self) -> FitConfig:
        """An eighth of the target's steps, for `worse_than_random`: two short trainings cost a quarter of the target's.
        The rate is that of training from scratch where it is higher, so that random weights have their chance."""
        steps = max(1, self.target.steps // 8)
        rate = max(self.target.lr, FitConfig(1).lr)
        return replace(
            self.target, steps=steps, lr=rate, warmup=steps // 5, validate_every=steps, patience=None
        )

    @property
    def stages(self) -> tuple[Stage, ...]:
        """`patches`, or where there are none the one stage of `patch` and `batch`."""
        return self.patches or (Stage(self.patch, self.batch),)


def budget_numbers(backbone: Checkpoint, config: AdaptConfig) -> int:
    """How many numbers the deltas may store: the budget less the golden output that every adapter file carries.

    Raises ColoraError for a budget above the backbone's size, or that leaves none for any parameter.
    """
    shapes = backbone.shapes
    size, golden = sum(map(math.prod, shapes.values())), math.prod(GOLDEN_SHAPE)
    budget = config.budget
    if budget is None:
        budget = 0.07 if isinstance(backbone.module, NAFNet) else 0.11
    beta = config.beta or 0.0
    least = min(stored_numbers(shapes, {name: rank_of(shape, beta)}) for name, shape in shapes.items())
    smallest = (golden + least) / size
    if not smallest <= budget <= 1:
        raise ColoraError(
            f"budget {budget:g} of the {size:,} numbers of {backbone.backbone.name}; expected at least "
            f"{math.ceil(smallest * 1e4) / 1e4:g}, which the golden output and the smallest parameter take, and at "
            "most 1, which is as much as a tuned copy: change --budget"
        )
    return int(budget * size) - golden


def check(
    task: str, backbone: Checkpoint, examples: Examples, config: AdaptConfig, ranks_given: bool
) -> None:
    """Refuses before anything is trained what would fail later. Raises ColoraError's kinds."""
    require_rgb(backbone.backbone, "colora adapt")
    if not TASK_NAME.fullmatch(task):
        raise ColoraError(
            f"task name {task!r}: expected a-z, 0-9, _, + and -, at most 64, no sign first, as it names a file"
        )
    multiple = backbone.backbone.pad.multiple_of
    pictures = [source[-1] for source in examples.sources]
    held_out = ((pair.name, pair.clean) for pair in examples.held_out)
    require_usable(pictures, held_out, examples.told, config.stages, multiple)
    if ranks_given:
        return
    if not examples.held_out:
        raise ImageError(f"{examples.told}; expected one for attribution: hold some out, or give --ranks")
    budget_numbers(backbone, config)


def stored_share(backbone: Checkpoint, ranks: Allocation) -> float:
    """Numbers that the adapter file will store per number of the backbone, golden output included."""
    stored = ranks.stored + math.prod(GOLDEN_SHAPE)
    return stored / sum(p.numel() for p in backbone.module.parameters())
