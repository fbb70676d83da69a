"""The comparison with a Triton server, here a few lines that answer as one. The real one is tried by `make triton`."""

from __future__ import annotations

import json
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from threading import Thread
from typing import Any

import numpy as np
import pytest
from colora.benchmarks.triton import LACKING, ask, judge, server
from colora.devices.errors import BackendError

TASKS = {"noise": 9, "rain": 5}
"""Task → what it adds to every byte"""


class Session:
    """Adds numbers."""

    tasks = tuple(TASKS)

    def restore(self, image: Any, task: str, strength: float = 1.0) -> Any:
        return image + np.uint8(TASKS[task] * strength)

    def network(self, task: str) -> Any:
        return lambda batch: batch + np.float32(TASKS[task])


class Answers(BaseHTTPRequestHandler):
    """The KServe protocol as far as it is used. `off`: added to every number. `whole`: one-task models are served."""

    off, whole = 0, False

    def do_POST(self) -> None:
        body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        if self.path.endswith("/load"):
            return self.answer(
                *(200, {}) if self.whole else (400, {"error": f"failed to load: {LACKING}, try"})
            )
        given = {tensor["name"]: tensor for tensor in body["inputs"]}
        if "input" in given:
            task = self.path.split("/")[-2].removeprefix("colora-")
            out = np.array(given["input"]["data"], np.float32) + TASKS[task] + self.off
            return self.answer(200, {"outputs": [{"data": out.tolist(), "shape": given["input"]["shape"]}]})
        (task,) = given["task"]["data"]
        if task not in TASKS:
            return self.answer(500, {"error": f"unknown task {task!r}: did you mean rain?"})
        image = np.array(given["image"]["data"], np.uint8).reshape(given["image"]["shape"])
        strength = given["strength"]["data"][0] if "strength" in given else 1.0
        out = Session().restore(image, task, strength) + np.uint8(self.off)
        self.answer(200, {"outputs": [{"data": out.ravel().tolist(), "shape": out.shape}]})

    def answer(self, status: int, body: Any) -> None:
        self.send_response(status)
        self.end_headers()
        self.wfile.write(json.dumps(body).encode())

    def log_message(self, *args: Any) -> None:
        """Nothing."""


@pytest.fixture
def address() -> Iterator[str]:
    with HTTPServer(("127.0.0.1", 0), Answers) as http:
        thread = Thread(target=http.serve_forever)
        thread.start()
        yield f"http://127.0.0.1:{http.server_port}/v2"
        http.shutdown()
        thread.join()


def test_a_server_that_does_the_same_meets_all(address: str) -> None:
    session: Any = Session()
    assert [d.what for d in judge(address, session) if d.holds is not True] == [
        "one-task models that are served"
    ]


@pytest.mark.parametrize(("off", "missed"), [(0, 0), (1e-3, 1)])
def test_one_task_models_are_run_where_they_are_served(
    address: str, monkeypatch: pytest.MonkeyPatch, off: float, missed: int
) -> None:
    monkeypatch.setattr(Answers, "whole", True)
    monkeypatch.setattr(Answers, "off", off)
    session: Any = Session()
    *_, served, difference = judge(address, session)
    assert (served.value, difference.what) == (2, "their largest difference from the session's network")
    assert (difference.holds is False) == bool(missed)


def test_a_server_that_does_something_else_is_seen(address: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Answers, "off", 2)
    session: Any = Session()
    (missed,) = [d for d in judge(address, session) if d.holds is False]
    # bytes wrap: 254 and 255 become 0 and 1
    assert (missed.what, missed.value >= 2) == ("largest difference from Session.restore", True)


def test_the_server_s_words_are_those_of_the_error(address: str) -> None:
    with pytest.raises(BackendError, match="unknown task 'rian': did you mean rain"):
        ask(address, np.zeros((2, 2, 3), np.uint8), "rian")


def test_without_a_server_the_script_is_named(tmp_path: Path) -> None:
    with (
        pytest.raises(BackendError, match=r"holds no Triton server: install one with \.ci/triton"),
        server(tmp_path, tmp_path),
    ):
        pass


def test_a_server_that_ends_is_quoted(tmp_path: Path) -> None:
    (tmp_path / "installed").touch()
    (tmp_path / "libpython").write_text("")
    (tmp_path / "server/bin").mkdir(parents=True)
    binary = tmp_path / "server/bin/tritonserver"
    binary.write_text("#!/bin/sh\necho no such option\nexit 3\n")
    binary.chmod(0o755)
    with (
        pytest.raises(BackendError, match=r"left with 3; it said: no such option"),
        server(tmp_path, tmp_path),
    ):
        pass
