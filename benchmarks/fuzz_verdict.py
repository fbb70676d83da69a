"""What came of one case of a fuzz."""

import traceback
from collections.abc import Callable
from dataclasses import dataclass


class Finding(Exception):
    """Something that must not be, in words."""


@dataclass(frozen=True)
class Verdict:
    """Of one case."""

    way: str
    """Kind of damage."""
    done: str
    """What exactly."""
    refused: str = ""
    """Class of the error it was refused with; empty: it was accepted."""
    finding: str = ""
    """What is wrong; empty: nothing."""


def judged(way: str, damage: Callable[[], str], judge: Callable[[], str]) -> Verdict:
    """damage: does it and says what. judge: says how it was refused. Any error besides is a finding."""
    done = ""
    try:
        done = damage()
        return Verdict(way, done, refused=judge())
    except Finding as e:
        return Verdict(way, done, finding=str(e))
    except Exception as e:  # whatever it is, it is what is looked for
        calls = traceback.extract_tb(e.__traceback__)[:-5:-1]
        where = " < ".join(f"{call.filename.rpartition('/')[2]}:{call.lineno}" for call in calls)
        return Verdict(way, done, finding=f"{type(e).__name__}: {str(e)[:300]} at {where}")
