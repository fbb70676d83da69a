"""PEERS: other ways to restore with the same network and to change its task, each a function that opens one.

Nothing here loads a package before its peer is opened.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from itertools import cycle
from pathlib import Path
from typing import TYPE_CHECKING, Any

from colora.benchmarks.compiled_models import PLAIN
from colora.benchmarks.peer_models import ADAPTER, FACTORS, FOLDERS, NCNN, SOURCE, module_of
from colora.benchmarks.scenarios import INPUT, OUTPUT

if TYPE_CHECKING:
    from colora.runtime.weights import Array


@dataclass(frozen=True)
class Subject:
    """What all peers restore."""

    bundle: str
    tasks: tuple[str, str]
    folder: Path
    """of benchmarks/peer_models.py's files"""
    threads: int


@dataclass
class Opened:
    """A peer turned to the first of the two tasks."""

    network: Callable[[Array], Array]
    """1×3×H×W float32 → the same shape"""
    switch: Callable[[], object]
    """to the other task, ready for its next picture"""


@dataclass(frozen=True)
class Peer:
    """One way."""

    name: str
    packages: tuple[str, ...]
    """that must be installed"""
    extra: str
    """of colora, which brings them"""
    open: Callable[[Subject], Opened]
    restores: str
    """how a picture is restored"""
    switches: str
    """how the task is changed"""
    file: str = ""
    """of benchmarks/peer_models.py, without which it can't be opened"""


def _colora(policy: str, subject: Subject) -> Opened:
    from colora.runtime.session import load

    session = load(subject.bundle, "ort", policy, threads=subject.threads)
    networks = [session.network(task) for task in subject.tasks]
    turned = [0]

    def switch() -> None:
        turned[0] ^= 1
        session._switcher.switch(subject.tasks[turned[0]], 1.0)

    for _ in range(2):  # both tasks are proven at their first use
        switch()
    return Opened(lambda tensor: networks[turned[0]](tensor), switch)


def _ort(file: str, subject: Subject) -> Opened:
    import onnxruntime as ort

    options = ort.SessionOptions()
    options.intra_op_num_threads = subject.threads
    held: list[Any] = []
    files = cycle(str(subject.folder / name / file) for name in FOLDERS)

    def switch() -> None:
        held.clear()
        held.append(ort.InferenceSession(next(files), options, providers=["CPUExecutionProvider"]))

    switch()
    return Opened(lambda tensor: _array(held[0].run([OUTPUT], {INPUT: tensor})[0]), switch)


def _lora_adapter(subject: Subject) -> Opened:
    import onnxruntime as ort

    options = ort.SessionOptions()
    options.intra_op_num_threads = subject.threads
    session = ort.InferenceSession(
        str(subject.folder / FOLDERS[0] / FACTORS), options, providers=["CPUExecutionProvider"]
    )
    runs = []
    for name in FOLDERS:
        adapter, run = ort.LoraAdapter(), ort.RunOptions()
        adapter.Load(str(subject.folder / name / ADAPTER))
        run.add_active_adapter(adapter)
        runs.append((adapter, run))
    turned = [0]

    def switch() -> None:
        turned[0] ^= 1

    return Opened(lambda x: _array(session.run([OUTPUT], {INPUT: x}, runs[turned[0]][1])[0]), switch)


def _openvino(subject: Subject) -> Opened:
    from colora.runtime.backend_openvino import _core

    options = {"INFERENCE_PRECISION_HINT": "f32", "PERFORMANCE_HINT": "LATENCY"}
    if subject.threads:
        options["INFERENCE_NUM_THREADS"] = str(subject.threads)
    held: list[Any] = []
    files = cycle(str(subject.folder / name / PLAIN) for name in FOLDERS)

    def switch() -> None:
        held.clear()
        held.append(_core().compile_model(next(files), "CPU", options).create_infer_request())

    def network(tensor: Array) -> Array:
        held[0].infer({INPUT: tensor}, share_inputs=True)
        return _array(held[0].get_tensor(OUTPUT).data.copy())

    switch()
    return Opened(network, switch)


def _ncnn(subject: Subject) -> Opened:
    import ncnn
    import numpy as np

    held: list[Any] = []
    stems = cycle(str(subject.folder / name / NCNN) for name in FOLDERS)

    def switch() -> None:
        held.clear()
        net, stem = ncnn.Net(), next(stems)
        if subject.threads:
            net.opt.num_threads = subject.threads
        net.load_param(f"{stem}.param")
        net.load_model(f"{stem}.bin")
        held.append(net)

    def network(tensor: Array) -> Array:
        extractor = held[0].create_extractor()
        extractor.input("in0", ncnn.Mat(tensor[0]))
        return np.array(extractor.extract("out0")[1])[None]

    switch()
    return Opened(network, switch)


def _weights(subject: Subject) -> tuple[str, list[dict[str, Any]]]:
    from colora.runtime.bundle import open_bundle
    from colora.runtime.weights import read_tensors

    backbone = open_bundle(subject.bundle).manifest.backbone
    return backbone, [read_tensors(subject.folder / name / SOURCE)[0] for name in FOLDERS]


def _module(subject: Subject, weights: dict[str, Any], backbone: str) -> Any:
    import torch

    if subject.threads:
        torch.set_num_threads(subject.threads)
    return module_of(backbone, weights).to(memory_format=torch.channels_last)


def _run_torch(module: Any, tensor: Array) -> Array:
    import torch

    with torch.inference_mode():
        given = torch.from_numpy(tensor).to(memory_format=torch.channels_last)
        return _array(module(given).numpy())


def _torch(compiled: bool, subject: Subject) -> Opened:
    import torch

    backbone, weights = _weights(subject)
    module = _module(subject, weights[0], backbone)
    states = [{name: torch.from_numpy(t) for name, t in tensors.items()} for tensors in weights]
    following = cycle((states[1], states[0]))
    runner = torch.compile(module) if compiled else module
    return Opened(partial(_run_torch, runner), lambda: module.load_state_dict(next(following)))


def _peft(way: str, subject: Subject) -> Opened:
    from colora.benchmarks.peer_peft import open_peft

    backbone, _ = _weights(subject)
    return open_peft(way, subject, lambda weights: _module(subject, weights, backbone), _run_torch)


def _array(value: Any) -> Array:
    found: Array = value
    return found


ONNX = ("onnxruntime", "onnx", "onnxsim", "onnxscript", "torch")
PEERS = {
    peer.name: peer
    for peer in (
        Peer("colora, refit", ("onnxruntime",), "ort", partial(_colora, "refit"),
             "one graph, weights edited in place", "the changed weights are computed and written in place"),
        Peer("colora, merged", ("onnxruntime",), "ort", partial(_colora, "merged"),
             "a fully optimised graph for each task", "both graphs are open"),
        Peer("ONNX Runtime, plain", ONNX, "export", partial(_ort, PLAIN),
             "torch.onnx.export, onnxsim, ORT_ENABLE_ALL", "another file is opened, in the page cache", PLAIN),
        Peer("ONNX Runtime, LoraAdapter", ONNX, "export", _lora_adapter,
             "torch.onnx.export; low-rank factors, and what has none, as inputs", "other inputs", PLAIN),
        Peer("OpenVINO, plain", ("openvino", *ONNX), "openvino", _openvino,
             "the plain ONNX file, f32 and latency hints", "another file is compiled", PLAIN),
        Peer("PyTorch, eager", ("torch",), "train", partial(_torch, False),
             "channels_last, inference_mode", "load_state_dict of weights in memory"),
        Peer("PyTorch, torch.compile", ("torch",), "train", partial(_torch, True),
             "the same, compiled by Inductor for this size", "the same, under the compiled code"),
        Peer("ncnn", ("ncnn", "pnnx", "torch"), "peers", _ncnn,
             "converted by pnnx, default options", "another file is opened, in the page cache", NCNN),
        Peer("PEFT, beside", ("peft",), "peers", partial(_peft, "beside"),
             "LoRA layers beside convolutions", "set_adapter, both loaded"),
        Peer("PEFT, merged", ("peft",), "peers", partial(_peft, "merged"),
             "LoRA merged into convolutions", "unmerge_adapter, set_adapter, merge_adapter"),
        Peer("PEFT, hotswap", ("peft",), "peers", partial(_peft, "hotswap"),
             "LoRA layers beside convolutions", "hotswap_adapter from a folder in the page cache"),
    )
}  # fmt: skip
"""By name; the first is what all are compared with."""
COMPILED = "PyTorch, torch.compile"


def missing(peer: Peer, installed: Callable[[str], bool]) -> Sequence[str]:
    """Packages of a peer that are not installed."""
    return [package for package in peer.packages if not installed(package)]
