"""The constants of the memory model (memory_model.py), by system.

Of ONNX Runtime 1.31.1, OpenVINO 2026.4.1 and PyTorch 2.13.0 on an x86-64 CPU with one thread, fitted to two networks of
random weights at two sizes each: `python -m colora.benchmarks.memory_fit`. No row that a report judges the model by was
fitted to, but the kind of network to fit to, and that an adapter counts once, were chosen after such rows were seen.
"""

from colora.benchmarks.memory_model import Law

LAWS: dict[str, Law] = {
    "colora, one backbone (refit)": Law(
        once=33100000.0,
        once_weights=0.9565,
        once_activations=1.137,
        each=401400.0,
        each_weights=0.0,
        each_activations=0.0,
        adapters=True,
    ),
    "ONNX Runtime, N sessions, best": Law(
        once=13610000.0,
        once_weights=0.7231,
        once_activations=0.7829,
        each=6293000.0,
        each_weights=0.9678,
        each_activations=0.07958,
        adapters=False,
    ),
    "ONNX Runtime, N sessions, default": Law(
        once=15300000.0,
        once_weights=0.4007,
        once_activations=0.0,
        each=5189000.0,
        each_weights=0.8881,
        each_activations=3.681,
        adapters=False,
    ),
    "colora, a graph for each task (merged)": Law(
        once=30440000.0,
        once_weights=3.802,
        once_activations=0.8961,
        each=5761000.0,
        each_weights=1.666,
        each_activations=0.02549,
        adapters=True,
    ),
    "PyTorch, N modules, best": Law(
        once=31910000.0,
        once_weights=0.0,
        once_activations=0.1027,
        each=544100.0,
        each_weights=0.9786,
        each_activations=0.01083,
        adapters=False,
    ),
    "OpenVINO, N models, best": Law(
        once=46310000.0,
        once_weights=0.0,
        once_activations=0.05397,
        each=12010000.0,
        each_weights=2.107,
        each_activations=0.03684,
        adapters=False,
    ),
    "ONNX Runtime, one session, reopened": Law(
        once=18460000.0,
        once_weights=1.725,
        once_activations=1.078,
        each=0.0,
        each_weights=0.0,
        each_activations=0.0,
        adapters=False,
    ),
}
