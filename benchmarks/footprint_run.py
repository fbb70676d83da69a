"""What benchmarks/footprint.py measures, each in a fresh process. Nothing here loads torch."""

from dataclasses import asdict

from colora.benchmarks.resident import memory_now
from colora.benchmarks.scenarios import INPUT, OUTPUT, PEERS, give_back, open_model, picture, tensor_of

Readings = dict[str, dict[str, int]]
"""`used`: after each task ran once; `rest`: when activations were given back. Fields of `Memory`."""

BARE = """
import json, numpy, onnxruntime
print(json.dumps(open("/proc/self/smaps_rollup").read() + open("/proc/self/status").read()))
"""
"""An empty ONNX Runtime process; nothing of colora is imported."""


def colora(bundle: str, tasks: str, size: str, threads: str) -> Readings:
    """One session under policy `refit`; each of the comma-separated tasks, or the backbone, restored one picture."""
    from colora.runtime.session import load

    image = picture(int(size))
    with load(bundle, backend="ort", policy="refit", threads=int(threads)) as session:
        for task in tasks.split(","):
            session.restore(image, task)
        used = memory_now()
        session.trim()
        return {"used": asdict(used), "rest": asdict(memory_now())}


def peer(name: str, models: str, size: str, threads: str) -> Readings:
    """Whole models, comma-separated ONNX files, each in a session of its own that ran once."""
    tensor = tensor_of(picture(int(size)))
    sessions = []
    for model in models.split(","):
        sessions.append(open_model(model, PEERS[name], int(threads)))
        if len(sessions) == 1:  # from here on an arena takes its large block
            give_back(sessions[0], PEERS[name])
        sessions[-1].run([OUTPUT], {INPUT: tensor})
    used = memory_now()
    for session in sessions:
        give_back(session, PEERS[name])
    return {"used": asdict(used), "rest": asdict(memory_now())}
