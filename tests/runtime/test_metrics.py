"""What a session says about itself."""

import dataclasses
import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from colora.devices.errors import ImageError, UnknownName
from colora.runtime import Metrics, load, prometheus_text
from colora.runtime.adapter import write_adapter
from colora.runtime.metrics import PROMETHEUS


def test_everything_is_counted(mini: Any, null_bundle: Path, picture: Any) -> None:
    rain = mini.adapters["rain"]
    with load(null_bundle, "null") as session:
        assert session.metrics() == Metrics()
        for task in ("rain", "rain", "noise", "rain", ""):
            session.restore(picture(8, 8), task)
        with pytest.raises(UnknownName):
            session.restore(picture(8, 8), "fog")
        with pytest.raises(ImageError):
            session.restore(np.zeros((2, 2)), "rain")
        write_adapter(null_bundle / "tasks" / "rain.safetensors", dataclasses.replace(rain, seeds={"fit": 4}))
        session.restore(picture(8, 8), "rain")
        (null_bundle / "tasks" / "noise.safetensors").write_bytes(b"torn off")
        session.restore(picture(8, 8), "noise")
        found = session.metrics()
        assert (found.restores, found.failures, found.switches) == (7, 2, 6)
        assert (found.swapped_adapters, found.refused_adapters) == (1, 1)
        assert found.resident_bytes == 4 * sum(a.stored_numbers() for a in mini.adapters.values())
        assert min(found.prepare_s, found.switch_s, found.run_s) > 0
        assert "is truncated" in session.describe().refused["noise"]
    assert session.metrics() == dataclasses.replace(found, resident_bytes=0)


def test_every_metric_is_in_the_scrape() -> None:
    assert {field for field, *_ in PROMETHEUS} == {f.name for f in dataclasses.fields(Metrics)}
    text = prometheus_text(Metrics(restores=3, resident_bytes=10**9, run_s=0.25))
    line = r"# HELP (\w+) .+\n# TYPE \1 (counter|gauge)\n\1 ([-+.e\d]+)\n"
    found = {name: (kind, value) for name, kind, value in re.findall(line, text)}
    assert len(found) == len(PROMETHEUS) == text.count("\n") / 3
    assert all(name.endswith("_total") == (kind == "counter") for name, (kind, _) in found.items())
    assert found["colora_restores_total"] == ("counter", "3")
    assert found["colora_resident_bytes"] == ("gauge", "1000000000")
    assert found["colora_run_seconds_total"] == ("counter", "0.25")


def test_the_policy_says_why(null_bundle: Path) -> None:
    with load(null_bundle, "null") as session:
        facts = session.describe()
        assert (facts.policy, facts.refused) == ("refit", {})
        assert facts.why == "weights can be changed in place here: every task for the memory of one graph"
