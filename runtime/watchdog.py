"""A backend that fails is opened anew and the picture tried again, a bounded number of times."""

import logging
from collections.abc import Callable
from time import sleep
from typing import TypeVar

from colora.devices.errors import BackendError, BackendFailed

T = TypeVar("T")

REOPEN_LIMIT = 2
"""Times for one picture."""
WAIT_S = 0.5
"""Before the second time; then twice as long each. A driver that was reset needs a moment, a hiccup none."""

_log = logging.getLogger(__name__)


def watched(attempt: Callable[[], T], discard: Callable[[], None], limit: int) -> T:
    """`attempt()`, repeated when it raises BackendFailed.

    discard: closes what failed; the next attempt opens it anew. limit: most repetitions.
    Raises: BackendFailed with the number of repetitions and the last reason; what else `attempt` raises.
    """
    for reopened in range(limit + 1):
        if reopened > 1:
            sleep(WAIT_S * 2 ** (reopened - 2))
        try:
            return attempt()
        except BackendFailed as e:
            discard()
            failure: BackendError = e
            fields = {"event": "backend_failed", "attempt": reopened + 1, "reason": str(e)}
            _log.warning("the backend failed: %s", e, extra=fields)
    raise BackendFailed(f"{failure}; opening it anew {limit} times did not help") from failure
