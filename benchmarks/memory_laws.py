"""The constants of the memory model (memory_model.py), by system.

Of ONNX Runtime 1.31.1, OpenVINO 2026.4.1 and PyTorch 2.13.0 on an x86-64 CPU with one thread, fitted to two networks of
random weights at two sizes each: `python -m colora.benchmarks.memory_fit`. No row that a report judges the model by was
fitted to, but the kind of network to fit to, and that an adapter counts once, were chosen after such rows were seen.
"""

from colora.benchmarks.memory_model import Law

LAWS: dict[str, Law] = {
    "colora, one backbone (refit)": Law(
        once=3.432e07,
        once_weights=0.8874,
        once_activations=1.15,
        each=0,
        each_weights=0,
        each_activations=0,
        adapters=True,
    ),
    "ONNX Runtime, N sessions, best": Law(
        once=2.098e07,
        once_weights=0.3605,
        once_activations=1.42,
        each=1.916e06,
        each_weights=1.141,
        each_activations=0,
    ),
    "ONNX Runtime, N sessions, default": Law(
        once=9.884e06,
        once_weights=0.7304,
        once_activations=0.109,
        each=3.167e06,
        each_weights=0.7871,
        each_activations=4.597,
    ),
    "colora, a graph for each task (merged)": Law(
        once=4.133e07,
        once_weights=3.213,
        once_activations=1.487,
        each=1.953e06,
        each_weights=1.706,
        each_activations=0.02228,
        adapters=True,
    ),
    "PyTorch, N modules, best": Law(
        once=3.191e07,
        once_weights=0,
        once_activations=0.1027,
        each=5.441e05,
        each_weights=0.9786,
        each_activations=0.01083,
    ),
    "OpenVINO, N models, best": Law(
        once=4.631e07,
        once_weights=0,
        once_activations=0.05397,
        each=1.201e07,
        each_weights=2.107,
        each_activations=0.03684,
    ),
    "ONNX Runtime, one session, reopened": Law(
        once=2.599e07,
        once_weights=1.308,
        once_activations=1.516,
        each=3.448e05,
        each_weights=0,
        each_activations=0,
    ),
}
