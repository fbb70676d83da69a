"""The constants of the memory model (memory_model.py), by system.

Of ONNX Runtime 1.32.0, OpenVINO 2026.4.1 and PyTorch 2.13.0 on an x86-64 CPU with one thread, fitted to two networks of
random weights at two sizes each: `python -m colora.benchmarks.memory_fit`. No row that a report judges the model by was
fitted to, but the kind of network to fit to, that an adapter counts once, and that a session costs by its graph's bytes
rather than a constant, were chosen after such rows were seen. colora's own rows have to be fitted anew when its runtime
changes.
"""

from colora.benchmarks.memory_model import Law

FITTED_PX = (128, 256)
"""Sides of the pictures that they were fitted to; at 64 px PyTorch took 15 % more with one task, its code counted."""

LAWS: dict[str, Law] = {
    "colora, one backbone (refit)": Law(
        once=34760000.0,
        once_weights=1.018,
        once_activations=1.088,
        each_graph=1.222,
        each_weights=0.007707,
        each_activations=0.0,
        adapters=True,
    ),
    "ONNX Runtime, N sessions, best": Law(
        once=14550000.0,
        once_weights=0.0,
        once_activations=1.046,
        each_graph=25.22,
        each_weights=0.9975,
        each_activations=0.005148,
        adapters=False,
    ),
    "ONNX Runtime, N sessions, default": Law(
        once=16050000.0,
        once_weights=0.3522,
        once_activations=0.0,
        each_graph=24.61,
        each_weights=0.9767,
        each_activations=3.612,
        adapters=False,
    ),
    "colora, a graph for each task (merged)": Law(
        once=35460000.0,
        once_weights=2.088,
        once_activations=1.037,
        each_graph=20.18,
        each_weights=0.9045,
        each_activations=0.00809,
        adapters=True,
    ),
    "PyTorch, N modules, best": Law(
        once=10390000.0,
        once_weights=0.0,
        once_activations=0.1721,
        each_graph=3.533,
        each_weights=0.9577,
        each_activations=0.0381,
        adapters=False,
    ),
    "OpenVINO, N models, best": Law(
        once=47180000.0,
        once_weights=0.0,
        once_activations=0.02003,
        each_graph=83.71,
        each_weights=1.991,
        each_activations=0.05315,
        adapters=False,
    ),
    "ONNX Runtime, one session, reopened": Law(
        once=20930000.0,
        once_weights=0.9559,
        once_activations=1.055,
        each_graph=0.0,
        each_weights=0.0,
        each_activations=0.0,
        adapters=False,
    ),
}
