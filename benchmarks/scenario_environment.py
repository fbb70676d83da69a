"""What a report was measured with: machine, versions, commit, and hashes of the bundle and of the shipped weights."""

from collections.abc import Callable
from importlib.resources import files
from pathlib import Path

from colora.benchmarks.record import Environment, environment
from colora.benchmarks.report import BundleFacts
from colora.benchmarks.section import Cell, Column, Section
from colora.benchmarks.settings import Settings
from colora.runtime.bundle import MANIFEST, Bundle, file_sha256, open_bundle

PACKAGES = (
    *("numpy", "onnxruntime", "onnxruntime-gpu", "openvino", "ncnn", "torch", "onnx", "onnxsim", "peft"),
    *("tensorrt", "jetson-stats", "pillow", "opencv-python-headless"),
)
SHORT = 16
"""Digits of a hash that the page shows; report.json has all."""


def section(bundle: Path, settings: Settings, report: Callable[[str], None]) -> Section:
    """One row a fact. Raises: BundleError."""
    report("hashing")
    where, facts = environment(PACKAGES), bundle_facts(open_bundle(bundle))
    rows = [*_machine(where), *_bundle(facts)]
    rows += [("shipped weights", name, sha256[:SHORT]) for name, sha256 in zoo_hashes().items()]
    return Section(
        name="environment",
        title="What it was measured with",
        said="",
        columns=(Column("part"), Column("what"), Column("value")),
        rows=tuple(rows),
        notes=(f"Of SHA-256 the first {SHORT} digits; report.json has all.",),
    )


def bundle_facts(bundle: Bundle) -> BundleFacts:
    """Of an open bundle."""
    m = bundle.manifest
    merged = m.kind == "merged"
    tasks = {task: "" if merged else file_sha256(bundle.task_file(task)) for task in bundle.tasks}
    sha256 = file_sha256(bundle.path / MANIFEST)
    return BundleFacts(
        bundle.path.resolve().name,
        m.kind,
        m.backbone,
        m.target,
        m.precision,
        m.backbone_sha256,
        sha256,
        tasks,
    )


def zoo_hashes() -> dict[str, str]:
    """File of the shipped weights → SHA-256; empty where colora.train is not there."""
    try:
        folder = files("colora.train.zoo")
    except ModuleNotFoundError:
        return {}
    weights = sorted(file.name for file in folder.iterdir() if file.name.endswith(".safetensors"))
    return {name: file_sha256(Path(str(folder / name))) for name in weights}


def _machine(where: Environment) -> list[tuple[Cell, ...]]:
    facts: dict[str, Cell] = {
        "processor": where.cpu,
        "cores used": where.cores,
        "memory, MB": round(where.memory_bytes / 1e6),
        "board": where.board,
        "GPU": ", ".join(where.gpus),
        "system": f"{where.os} {where.machine}",
        "L4T": where.l4t,
        "power mode": where.power_mode,
        "clock governor": where.governor,
        "load average at the start": where.load_average_1min,
        "date, UTC": where.date_utc,
    }
    versions = {"Python": where.python, **where.packages}
    if where.tensorrt:
        versions["TensorRT of the system"] = where.tensorrt
    commit = where.commit or "none: the source is no git checkout"
    state = ("clean" if where.clean_tree else "not clean") if where.commit else None
    return [
        *(("machine", name, value) for name, value in facts.items() if value not in ("", None)),
        *(("version", name, value) for name, value in versions.items()),
        ("source", "commit", commit),
        *([("source", "tree", state)] if state else []),
    ]


def _bundle(facts: BundleFacts) -> list[tuple[Cell, ...]]:
    told = {
        "name": facts.name,
        "kind": facts.kind,
        "backbone": facts.backbone,
        "target": facts.target,
        "precision": facts.precision,
        "backbone, SHA-256": facts.backbone_sha256[:SHORT],
        "manifest, SHA-256": facts.manifest_sha256[:SHORT],
    }
    tasks = {f"task {name}, SHA-256": sha256[:SHORT] for name, sha256 in facts.tasks.items() if sha256}
    return [("bundle", name, value) for name, value in (told | tasks).items()]
