"""Log lines that a machine reads."""

import io
import json
import logging
import re
import textwrap
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from colora.runtime import logs
from colora.runtime.logs import JsonLines
from colora.runtime.session import load


@pytest.fixture
def written() -> Any:
    """What the logger `colora` writes."""
    text, logger = io.StringIO(), logging.getLogger("colora")
    handler = logging.StreamHandler(text)
    handler.setFormatter(JsonLines())
    logger.addHandler(handler)
    yield text
    logger.removeHandler(handler)


def lines(text: io.StringIO) -> list[dict[str, Any]]:
    return [json.loads(line) for line in text.getvalue().splitlines()]


def test_a_record_is_one_object_with_its_fields(written: io.StringIO) -> None:
    fields = {"event": "made_up", "count": 3, "where": Path("a/b"), "nested": {"ä": [1.5]}}
    logging.getLogger("colora.test").warning("first %s\nsecond", "line", extra=fields)
    (line,) = lines(written)
    assert datetime.fromisoformat(line.pop("time")).utcoffset() == timedelta(0)
    assert line == {
        "level": "WARNING",
        "logger": "colora.test",
        "message": "first line\nsecond",
        "event": "made_up",
        "count": 3,
        "where": str(Path("a/b")),
        "nested": {"ä": [1.5]},
    }


def test_an_exception_comes_with_its_traceback(written: io.StringIO) -> None:
    try:
        raise ValueError("deliberate")
    except ValueError:
        logging.getLogger("colora.test").exception("it went wrong")
    assert lines(written)[0]["traceback"].endswith("ValueError: deliberate")


def test_the_runtime_s_own_events(null_bundle: Path, picture: Any, written: io.StringIO) -> None:
    with load(null_bundle, "null") as session:
        session.restore(picture(8, 8), "rain")
        (null_bundle / "tasks" / "rain.safetensors").write_bytes(b"torn off")
        session.restore(picture(8, 8), "rain")
    (line,) = lines(written)
    assert (line["event"], line["task"]) == ("adapter_refused", "rain")
    assert "is truncated" in line["reason"]


def test_the_documented_lines_show_events_too(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    logger = logging.getLogger("colora")
    monkeypatch.setattr(logger, "handlers", [])
    level = logger.level
    try:
        exec(
            textwrap.dedent((logs.__doc__ or "").split("\n\n")[1]),
            {"logging": logging, "JsonLines": JsonLines},
        )
        logging.getLogger("colora.test").info("said", extra={"event": "made_up"})
    finally:
        logger.setLevel(level)
    assert json.loads(capsys.readouterr().err)["event"] == "made_up"


def test_every_event_is_listed() -> None:
    sources = Path(logs.__file__).parent.glob("*.py")
    used = {e for file in sources for e in re.findall(r'"event": "(\w+)"', file.read_text("utf-8"))}
    listed = set(re.findall(r"\w+", (logs.__doc__ or "").partition("Events: ")[2]))
    assert used <= listed and listed - used == {
        "adapter_refused",
        "adapter_missing",
    }  # those two by a variable
