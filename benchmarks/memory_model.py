"""What N tasks take of memory, predicted from sizes that are known before anything is opened.

The constants are in memory_laws.py.
"""

from dataclasses import dataclass

from colora.runtime.bundle import GRAPH, Bundle


@dataclass(frozen=True)
class Facts:
    """Bytes that a bundle's files and manifest tell."""

    graph: int
    """graph.onnx, which grows with the operators: a session keeps several objects for each"""
    weights: int
    """of one model"""
    activations: int
    """most that is alive at one time in one run (runtime/workload.py)"""
    adapter: int
    """of one task"""


def facts_of(bundle: Bundle, size: int) -> Facts:
    """Of a bundle of one task or more, for a picture of size×size px."""
    stem = GRAPH.rpartition(".")[0] + "."
    files = bundle.manifest.files.items()
    weights = sum(file.size_bytes for name, file in files if name.startswith(stem) and name != GRAPH)
    adapters = [bundle.task_file(task).stat().st_size for task in bundle.tasks]
    activations = round(bundle.manifest.activation_bytes_per_pixel * size * size)
    graph = bundle.manifest.files[GRAPH].size_bytes
    return Facts(graph, weights, activations, round(sum(adapters) / len(adapters)))


@dataclass(frozen=True)
class Law:
    """Resident memory above an empty process of the package: what is taken once, and what by each task."""

    once: float
    """bytes"""
    once_weights: float
    """of the bytes of one model's weights"""
    once_activations: float
    """of the bytes of one run's activations"""
    each_graph: float
    """of the bytes of graph.onnx"""
    each_weights: float
    each_activations: float
    adapters: bool = False
    """every adapter stays in memory; counted, not fitted"""

    def bytes(self, facts: Facts, tasks: int) -> int:
        """Of so many tasks."""
        once = self.once + self.once_weights * facts.weights + self.once_activations * facts.activations
        each = (
            self.each_graph * facts.graph
            + self.each_weights * facts.weights
            + self.each_activations * facts.activations
        )
        return round(once + tasks * each + self.adapters * tasks * facts.adapter)
