"""What the scaling scenario measures, each case in a fresh process. Nothing but `graphs` loads torch."""

from __future__ import annotations

import shutil
import statistics
import time
from collections.abc import Callable
from pathlib import Path

from colora.benchmarks.large_run import CLEAR_REFS, noise
from colora.benchmarks.resident import memory_now
from colora.benchmarks.scenarios import INPUT, OUTPUT, PEERS, give_back, open_model, tensor_of
from colora.runtime.bundle import GRAPH

Found = dict[str, float]
"""Seconds to open, of a run (median, quartiles) and a switch; bytes at rest, of a run, and of the process at most."""

MOST_RUNS = 21
"""Runs of one case, where they are short."""
SIDE = 64
"""px, of the picture by which a graph or a task is used for the first time."""


def session(
    bundle: str, tasks: str, policy: str, threads: str, height: str, width: str, seconds: str
) -> Found:
    """One session of colora over ONNX Runtime: each of the comma-separated tasks used once, then one picture."""
    from colora.runtime.session import load

    names = tasks.split(",")
    begin = time.perf_counter()
    with load(bundle, "ort", policy, threads=int(threads)) as opened:
        for name in names:
            opened.restore(noise(SIDE), name)
        found = {"open_s": time.perf_counter() - begin}
        opened.trim()
        found["rest_bytes"] = memory_now().rss_bytes
        if len(names) > 1:
            switches = []
            for name in (names * 2)[:MOST_RUNS]:
                opened.restore(noise(SIDE), name)
                assert opened.timings is not None
                switches.append(opened.timings.switch_ms / 1e3)
            found["switch_s"] = statistics.median(switches)
            opened.trim()
        image = noise(max(int(height), int(width)))[: int(height), : int(width)]
        return found | _runs(lambda: opened.restore(image, names[0]), float(seconds))


def models(source: str, copies: str, count: str, peer: str, threads: str, size: str, seconds: str) -> Found:
    """So many whole models under the settings PEERS[peer], each run once; then one picture by the last of them.

    source: folder of a bundle, or of any graph.onnx and graph.data: the first model. copies: folder for the others,
    made of it where they are missing. A graph is as large whatever its weights, and each has pages of its own.
    """
    folders = [Path(source), *(Path(copies) / str(i) for i in range(1, int(count)))]
    for folder in folders[1:]:
        if not folder.exists():
            part = folder.with_suffix(".part")
            part.mkdir(parents=True, exist_ok=True)
            for file in folders[0].glob(GRAPH.replace(".onnx", ".*")):
                shutil.copy(file, part)
            part.rename(folder)
    begin = time.perf_counter()
    held = []
    for folder in folders:
        held.append(open_model(str(folder / GRAPH), PEERS[peer], int(threads)))
        held[-1].run([OUTPUT], {INPUT: tensor_of(noise(SIDE))})
    found = {"open_s": time.perf_counter() - begin}
    for each in held:
        give_back(each, PEERS[peer])
    found["rest_bytes"] = memory_now().rss_bytes
    tensor = tensor_of(noise(int(size)))
    return found | _runs(lambda: held[-1].run([OUTPUT], {INPUT: tensor}), float(seconds))


def _runs(call: Callable[[], object], seconds: float) -> Found:
    """Times of a call, until they sum up to `seconds`; memory it takes beyond what the process held."""
    held = memory_now().rss_bytes
    CLEAR_REFS.write_text("5")  # the peak starts anew
    times: list[float] = []
    while not times or (sum(times) < seconds and len(times) < MOST_RUNS):
        begin = time.perf_counter()
        call()
        times.append(time.perf_counter() - begin)
    peak = memory_now().peak_rss_bytes
    counted = times[1:] or times  # the first one takes its memory from the system
    low, middle, high = (
        statistics.quantiles(counted, n=4, method="inclusive") if len(counted) > 1 else counted * 3
    )
    runs = {"run_s": middle, "run_low_s": low, "run_high_s": high, "runs": len(counted)}
    return runs | {"run_bytes": max(peak - held, 0), "process_bytes": peak}


def graphs(folder: str, enc: str, middle: str, dec: str, widths: str) -> dict[str, int]:
    """Compiled graphs of NAFNets with random weights, `<folder>/<width>/graph.onnx`.

    enc, middle, dec: blocks; comma-separated, as are the widths. Returns width → parameters, which `parameters` beside
    the graph has too.
    """
    import torch
    from colora.devices.catalogue import find_device
    from colora.export.compile import compile_graph
    from colora.export.graph import close
    from colora.export.passes import find_passes, target_passes
    from colora.export.plan import Plan
    from colora.export.tensors import GraphTensors
    from colora.runtime.manifest import Tile
    from colora.train.backbones import Backbone
    from colora.train.checkpoint import arrays, load_backbone, save_backbone
    from colora.train.nafnet import NAFNetConfig

    def numbers(text: str) -> tuple[int, ...]:
        return tuple(map(int, text.split(",")))

    found, device = {}, find_device("cpu")
    for width in numbers(widths):
        layout = Backbone(
            f"width {width}",
            NAFNetConfig(width, numbers(enc), int(middle), numbers(dec)),
            Tile(size=512, overlap=32, when_above=1024),
        )
        torch.manual_seed(width)
        module = layout.build()
        generator = torch.Generator().manual_seed(width)
        with torch.no_grad():
            for parameter in module.parameters():  # those that start at 0 too
                parameter.add_(0.02 * torch.randn(parameter.shape, generator=generator))
        work = Path(folder) / f"{width}.part"
        work.mkdir(parents=True, exist_ok=True)
        save_backbone(work / "backbone.safetensors", module, layout, {})
        checkpoint = load_backbone(str(work / "backbone.safetensors"))
        passes = tuple(p.name for p in find_passes(target_passes(device)))
        compiled = compile_graph(
            Plan(checkpoint, (), device, work, merged=False, extends=None, passes=passes)
        )
        weights = GraphTensors(compiled.program, arrays(checkpoint.module))
        close(compiled.graph, compiled.shapes, weights.__getitem__, work)
        (work / "backbone.safetensors").unlink()
        found[str(width)] = sum(p.numel() for p in module.parameters())
        (work / "parameters").write_text(str(found[str(width)]))
        work.rename(Path(folder) / str(width))
    return found
