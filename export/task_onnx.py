"""One task of a bundle without its weight program: for builders and servers, which know none."""

from __future__ import annotations

from pathlib import Path

from colora.runtime.bundle import GRAPH, Bundle
from colora.runtime.manifest import ImageConvention
from colora.runtime.merge import GraphTensors
from colora.runtime.mixture import Part
from colora.runtime.proof import check_golden
from colora.runtime.session import GOLDEN_TOLERANCE
from colora.runtime.weights import Array


def task_weights(bundle: Bundle, task: str) -> dict[str, Array]:
    """Graph tensors that differ from the bundle's own under `task`; none where that is merged in.

    Raises: UnknownName; BundleError or CheckpointError for a damaged file.
    """
    if bundle.manifest.kind == "merged":
        return {}
    mixture, tensors = (Part(bundle.read_task(task), 1.0),), GraphTensors(bundle)
    return dict(tensors.under(mixture, tensors.touched(mixture)))


def write_task_onnx(bundle: Bundle, task: str, path: Path) -> None:
    """Write the graph of `task` to `path`, weights inside, and run it once in ONNX Runtime.

    Raises: as `task_weights`; ParityError where what was written does not give the golden output of the task.
    """
    import onnx
    from colora.runtime.backend_ort import OrtBackend

    model = onnx.load(str(bundle.path / GRAPH))
    stored = {tensor.name: tensor for tensor in model.graph.initializer}
    for name, array in task_weights(bundle, task).items():
        stored[name].raw_data = array.astype(array.dtype.newbyteorder("<"), copy=False).tobytes()
    onnx.save_model(model, str(path))
    shared = bundle.manifest.kind == "shared"
    expected = bundle.read_task(task).golden_output if shared else bundle.golden_output
    graph = OrtBackend(path, ImageConvention(), {}, False, 0)
    try:
        check_golden(graph, f"{path}: task {task}", expected, GOLDEN_TOLERANCE[bundle.manifest.precision])
    finally:
        graph.close()
