"""A model repository served by a real Triton Inference Server, against `Session.restore` here.

`.ci/triton` installs the server; `python -m colora.benchmarks.triton` exports two random tasks for it, starts it, asks
it over HTTP (the KServe protocol, version 2), compares every picture and writes the record. `make triton` does both.
"""

from __future__ import annotations

import json
import os
import socket
import subprocess
import tempfile
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import click
import numpy as np
from colora.benchmarks.demand import Demand, write_demands
from colora.benchmarks.record import environment, path_of, warn_if_dirty
from colora.benchmarks.script import output_option, run
from colora.devices.errors import BackendError
from colora.runtime.session import Session, load
from colora.runtime.weights import Array

PACKAGES = ("numpy", "onnxruntime", "torch")
MACHINE = Path("build/triton")
"""What `.ci/triton` makes"""
START_S = 120.0
SIZES = ((33, 47), (64, 64), (70, 150))
"""Height and width in px; the tiny network cuts what is above 128"""
LACKING = "unable to find backend library for backend 'onnxruntime'"
"""What a server without that backend says of a one-task model whose configuration it has accepted"""
BATCH = (3, 3, 48, 64)
"""Of pictures for a one-task model, after padding"""

MEASURED = {
    "served": "The model `colora` of a repository as `colora-export --target triton` writes it, of nafnet-tiny with "
    "random weights and two tasks, by Triton's Python backend on this machine's CPU; pictures of noise, uint8.",
    "difference": "Of the server's picture from that of Session.restore in this process, ONNX Runtime in both; largest "
    "of all pictures, in levels of 255.",
    "refused": "A request for a task that is not there, answered by the error that Python users get.",
    "one-task models": "The server reads their configuration. The wheel that it comes from has no ONNX Runtime "
    "backend; where `.ci/triton` was given the sources of one, a batch of three pictures of each task is compared with "
    "the session's network, float32. Without it they are not run here (tests run their files in ONNX Runtime itself).",
}


@contextmanager
def server(machine: Path, repository: Path) -> Iterator[str]:
    """A server of the model `colora`; gives its address. Raises: BackendError: none there, or it ends."""
    if not (machine / "installed").is_file():
        raise BackendError(f"{machine} holds no Triton server: install one with .ci/triton {machine}")
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    binary = machine / "server/bin/tritonserver"
    environment = {
        **os.environ,
        # the Python backend runs the packages of `python3` on PATH
        "PATH": f"{machine / 'venv/bin'}{os.pathsep}{os.environ['PATH']}",
        "LD_LIBRARY_PATH": (machine / "libpython").read_text().strip(),
    }
    options = {
        "model-repository": repository,
        "backend-directory": machine / "server/backends",
        "model-control-mode": "explicit",
        "load-model": "colora",
        "http-address": "127.0.0.1",
        "http-port": port,
        "allow-grpc": "false",
        "allow-metrics": "false",
    }
    with (
        tempfile.TemporaryFile("w+") as log,
        subprocess.Popen(
            [str(binary), *(f"--{name}={value}" for name, value in options.items())],
            stdout=log,
            stderr=subprocess.STDOUT,
            env=environment,
        ) as process,
    ):
        address = f"http://127.0.0.1:{port}/v2"
        try:
            wait(f"{address}/models/colora/ready", process)
        except BackendError as e:
            log.seek(0)
            raise BackendError(f"{e}; it said: {log.read()[-2000:]}") from e
        else:
            yield address
        finally:
            process.terminate()


def wait(url: str, process: subprocess.Popen[bytes]) -> None:
    """Until the server is ready. Raises: BackendError."""
    begin = time.monotonic()
    while time.monotonic() - begin < START_S:
        if process.poll() is not None:
            raise BackendError(f"the Triton server left with {process.returncode}")
        try:
            with urllib.request.urlopen(url, timeout=5):
                return
        except OSError:
            time.sleep(0.2)
    process.terminate()
    raise BackendError(f"the Triton server was not ready after {START_S:g} s")


def post(url: str, body: Any) -> Any:
    """What a server answers, from JSON. Raises: BackendError with the server's words."""
    request = urllib.request.Request(url, json.dumps(body).encode())
    try:
        with urllib.request.urlopen(request, timeout=START_S) as answer:
            return json.loads(answer.read() or b"{}")
    except urllib.error.HTTPError as e:
        raise BackendError(json.loads(e.read())["error"]) from e


def ask(address: str, image: Array, task: str, strength: float | None = None) -> Array:
    """One picture restored: H×W×3 uint8 → the same. Raises: BackendError with the server's words."""
    inputs = [tensor("image", "UINT8", image), tensor("task", "BYTES", np.array([task]))]
    if strength is not None:
        inputs.append(tensor("strength", "FP32", np.array([strength])))
    (found,) = post(f"{address}/models/colora/infer", {"inputs": inputs})["outputs"]
    return np.array(found["data"], np.uint8).reshape(found["shape"])


def tensor(name: str, datatype: str, values: Array) -> dict[str, Any]:
    """As the KServe protocol has it in JSON."""
    return {"name": name, "datatype": datatype, "shape": values.shape, "data": values.ravel().tolist()}


def judge(address: str, session: Session) -> list[Demand]:
    """The server against a session of the same bundle."""
    rng = np.random.default_rng(0)
    first, second, *_ = session.tasks
    differences, changes = [], []
    for size in SIZES:
        image = rng.integers(0, 256, (*size, 3), np.uint8)
        for task, strength in ((first, None), (second, None), (first, 0.5), (first, None)):
            here = session.restore(image, task, 1.0 if strength is None else strength)
            differences.append(np.abs(ask(address, image, task, strength).astype(int) - here).max())
            changes.append(np.abs(here.astype(int) - image).max())
    try:
        ask(address, image, f"{first}x")
        refused = ""
    except BackendError as e:
        refused = str(e)
    alone = [one_task(address, session, task) for task in session.tasks]
    served = [off for off in alone if isinstance(off, float)]
    return [
        Demand("pictures answered", len(differences), "", least=len(differences)),
        Demand("largest difference from Session.restore", float(max(differences)), "levels", most=1),
        Demand("least of what a task changes in a picture", float(min(changes)), "levels", least=2),
        Demand(
            "a task that is not there is refused in words", f"unknown task '{first}x'" in refused, "", least=1
        ),
        Demand(
            "one-task models whose configuration is accepted",
            len(served) + alone.count(LACKING),
            "",
            least=len(session.tasks),
        ),
        Demand("one-task models that are served", len(served), ""),
        *(
            [
                Demand(
                    "their largest difference from the session's network", max(served) * 1e6, "10⁻⁶", most=100
                )
            ]
            if served
            else []
        ),
    ]


def one_task(address: str, session: Session, task: str) -> float | str:
    """Largest difference of a batch from the session's network; the server's words where it does not serve it."""
    name = f"colora-{task}"
    try:
        post(f"{address}/repository/models/{name}/load", {})
    except BackendError as e:
        return LACKING if LACKING in str(e) else str(e)
    batch = np.random.default_rng(0).random(BATCH, np.float32)
    (found,) = post(f"{address}/models/{name}/infer", {"inputs": [tensor("input", "FP32", batch)]})["outputs"]
    here = np.concatenate([session.network(task)(one[None]) for one in batch])
    return float(np.abs(np.array(found["data"], np.float32).reshape(found["shape"]) - here).max())


@click.command()
@click.option("--machine", default=MACHINE, show_default=True, type=click.Path(path_type=Path))
@output_option
def command(machine: Path, output: Path) -> None:
    """Have a Triton server restore pictures, and compare them with those of a session."""
    from colora.benchmarks.tiny import make_tiny
    from colora.export.pipeline import export
    from colora.export.target_triton import PASSES, bundle_path, write_repository

    where = environment(PACKAGES)
    warn_if_dirty(where)
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary)
        files = make_tiny(folder)
        repository = folder / "models"
        path = bundle_path(repository, False)
        path.parent.mkdir(parents=True)
        export((), str(files.backbone), "triton", path, adapters=[files.rain, files.noise], passes=PASSES)
        write_repository(repository)
        click.echo("Triton starts …", err=True)
        with server(machine.resolve(), repository) as address, load(path, backend="ort") as session:
            told = json.loads(urllib.request.urlopen(address, timeout=START_S).read())
            demands = judge(address, session)
    path = path_of(output, where, "triton")
    click.echo(write_demands(path, "triton", where, demands, MEASURED, {"server": told}))
    click.echo(f"{told['name']} {told['version']}: {path} and .md")
    if not all(d.holds in (True, None) for d in demands):
        raise BackendError("the server differs from a session by more than is asked: see the table")


if __name__ == "__main__":
    run(command)
