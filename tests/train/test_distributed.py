"""Processes wait for the first one as long as it works alone."""

from datetime import timedelta

import pytest
from colora.train.distributed import process_group
from torch import distributed


def test_waits_for_hours_while_the_first_attributes(monkeypatch: pytest.MonkeyPatch) -> None:
    joined: dict[str, timedelta | None] = {}

    def join(backend: str, timeout: timedelta | None = None) -> None:
        joined[backend] = timeout

    monkeypatch.setenv("TORCHELASTIC_RUN_ID", "as torchrun sets it")
    monkeypatch.setattr(distributed, "init_process_group", join)
    monkeypatch.setattr(distributed, "destroy_process_group", lambda: None)
    with process_group("cpu") as device:
        assert device == "cpu"
    assert joined["gloo"] and joined["gloo"] >= timedelta(hours=12)
