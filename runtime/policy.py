"""How weights change, and how many merged graphs a memory budget has room for.

Bytes are estimated before anything is opened, by one rule, and not measured: what a package allocates on the way
is its own affair. With G the size of the graph and its numbers as files:

- the graph edited in place: G, its weights in buffers;
- each merged graph: MERGED_COPIES · G (our buffers, the package's copy, its repacked copy);
- activations, once for all graphs, which share an arena: SPARE · what the manifest says for each pixel (the most
  that is alive at one time by the graph's shapes, as in devices/plan.py) · pixels of the largest picture that
  runs whole;
- adapters: their files in `tasks/`, or the numbers held, whichever is more.

The caller's pictures and the Python process are not counted.
"""

import math
from dataclasses import dataclass

from colora.devices.errors import BackendError
from colora.runtime.bundle import GRAPH, Bundle

POLICIES = ("auto", "refit", "merged")
HOT_TASKS = 2
"""Merged graphs kept open where neither `hot_tasks` nor a budget says how many."""
MERGED_COPIES = 3
"""ONNX Runtime 1.31.1, 3×3 convolutions of 32 MB: the process grew by 138, 96 and 80 MB for three more sessions."""
SPARE = 1.75
"""What an arena takes, against what is alive in it: up to 1.13 times while its first block has room (nafnet-small
to 512×512 px), 1.3 to 1.6 beyond and for merged graphs; `python -m colora.benchmarks.activations` measures it."""
MB = 1e6


@dataclass(frozen=True)
class Costs:
    """Estimated bytes of the parts of a session, by the rule above."""

    graph: int
    merged_graph: int
    """Each."""
    activations: int
    adapters: int
    """Of every task there is."""

    def total(self, refit: bool, merged_graphs: int) -> int:
        """Of a session with or without the graph edited in place, and so many merged ones."""
        graphs = self.graph * refit + self.merged_graph * merged_graphs
        return graphs + self.activations + self.adapters

    def told(self, refit: bool, merged_graphs: int) -> str:
        """The same in words."""
        graphs = [f"graph edited in place {self.graph / MB:,.2f}"] if refit else []
        if merged_graphs:
            graphs.append(f"{merged_graphs} merged × {self.merged_graph / MB:,.2f}")
        parts = [*graphs, f"activations {self.activations / MB:,.2f}", f"adapters {self.adapters / MB:,.2f}"]
        return f"{self.total(refit, merged_graphs) / MB:,.2f} MB ({', '.join(parts)})"


def estimate(bundle: Bundle, adapter_bytes: int = 0) -> Costs:
    """Costs of a bundle as it is now. adapter_bytes: numbers of the adapters held."""
    manifest = bundle.manifest
    stem = GRAPH.rpartition(".")[0] + "."
    graph = sum(record.size_bytes for name, record in manifest.files.items() if name.startswith(stem))
    per_pixel = manifest.activation_bytes_per_pixel
    if manifest.precision == "fp16":  # which a CPU computes in float32
        per_pixel *= 2
    files = [] if manifest.kind == "merged" else [bundle.task_file(task) for task in bundle.tasks]
    whole = (max(manifest.tile.when_above, side) for side in manifest.shapes.min)
    return Costs(
        graph=graph,
        merged_graph=MERGED_COPIES * graph,
        activations=round(SPARE * per_pixel * math.prod(whole)),
        adapters=max(adapter_bytes, sum(file.stat().st_size for file in files if file.exists())),
    )


def room(costs: Costs, budget: int | None, hot_tasks: int | None, refit: bool) -> int:
    """Merged graphs that may be open at once. refit: there is a graph edited in place, which can serve all.

    Without one there is room for at least one, whatever the budget: something has to run.
    """
    if budget is None:
        return 0 if refit else hot_tasks or HOT_TASKS
    fits = (budget - costs.total(refit, 0)) // max(1, costs.merged_graph)
    return max(0 if refit else 1, fits if hot_tasks is None else min(fits, hot_tasks))


def check_budget(costs: Costs, budget: int | None, refit: bool, bundle: Bundle) -> None:
    """Raises: BackendError if a budget is below what one graph needs, saying what that is."""
    needed = costs.total(refit, 0 if refit else 1)
    if budget is not None and budget < needed:
        raise BackendError(
            f"memory_budget is {budget / MB:,.2f} MB; {bundle.path} needs at least "
            f"{costs.told(refit, 0 if refit else 1)}: raise it to {needed}, remove tasks, "
            "or export with smaller tiles"
        )


def reason(
    policy: str, bundle: Bundle, refused: BackendError | None, costs: Costs, budget: int | None, fits: int
) -> str:
    """Why weights change as they do. refused: why not in place; fits: merged graphs there is room for."""
    if bundle.manifest.kind == "merged":
        return f"task {bundle.manifest.task!r} is merged in"
    if policy != "auto":
        return f"policy={policy!r} was asked for"
    if refused is not None:
        first = f"weights can't be changed in place here: {refused}"
    elif fits:
        first = "weights can be changed in place here, and hot tasks get a graph of their own"
    else:
        first = "weights can be changed in place here: every task for the memory of one graph"
    if budget is None:
        return first
    told = costs.told(refused is None, fits)
    return f"{first}; memory_budget {budget / MB:,.2f} MB has room for {fits} merged: {told}"
