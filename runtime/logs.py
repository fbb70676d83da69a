"""Log records as JSON lines: what the runtime logs under `colora.runtime` carries fields, `event` first of all.

    handler = logging.StreamHandler()
    handler.setFormatter(JsonLines())
    logging.getLogger("colora").addHandler(handler)
    logging.getLogger("colora").setLevel(logging.INFO)  # or there are warnings and errors only

Events: adapter_swapped, adapter_refused, adapter_missing, backend_measured, backend_failed, backend_reopened,
build_failed, engine_build, frame_dropped.
"""

import json
import logging
from datetime import datetime, timezone

_STANDARD = {*logging.makeLogRecord({}).__dict__, "message", "asctime", "taskName"}


class JsonLines(logging.Formatter):
    """One JSON object a record: time (UTC), level, logger, message, its own fields, and the traceback if any."""

    def format(self, record: logging.LogRecord) -> str:
        """A field that JSON has no form for is given as text."""
        line = {
            "time": datetime.fromtimestamp(record.created, timezone.utc).isoformat(timespec="milliseconds"),
            "level": record.levelname,
            "logger": record.name,
            "message": record.getMessage(),
            **{name: value for name, value in record.__dict__.items() if name not in _STANDARD},
        }
        if record.exc_info:
            line["traceback"] = self.formatException(record.exc_info)
        return json.dumps(line, default=str, ensure_ascii=False)
