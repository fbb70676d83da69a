"""A session under traffic for a long time: threads come and go, files change, and every result is compared."""

import itertools
import logging
import time
from collections import Counter
from collections.abc import Callable, Iterable
from dataclasses import asdict, dataclass, field
from functools import partial
from pathlib import Path
from threading import Lock, Thread

import numpy as np
from colora.benchmarks.resident import memory_now
from colora.benchmarks.soak_plan import Call, Plan, References, digest, make_call
from colora.runtime.atomic import write_bytes
from colora.runtime.session import Session, load

SHIFTS = 80
"""In each, another number of threads calls, from 1 to MOST_CALLERS."""
SHIFTS_A_SESSION = 8
MOST_CALLERS = 8
SAMPLES = 400
"""Of resident memory, evenly spread over the calls."""
KEPT = 20
"""Findings that are told in full."""


@dataclass
class Outcome:
    """What a soak came to."""

    restores: int = 0
    wrong: int = 0
    """Results that are none of their references."""
    errors: int = 0
    """Calls that raised."""
    findings: list[str] = field(default_factory=list)
    """The first of both, each with the number of its call."""
    rss_bytes: list[int] = field(default_factory=list)
    swaps: int = 0
    """Adapter files replaced by another version."""
    damaged: int = 0
    """Adapter files replaced by half of themselves."""
    sessions: int = 0
    seconds: float = 0.0
    totals: Counter[str] = field(default_factory=Counter)
    """Of the sessions' metrics."""
    events: Counter[str] = field(default_factory=Counter)
    """Of the runtime's log."""

    def quarter_rss(self, number: int) -> float:
        """Mean resident memory in one quarter of the calls, 1 to 4, in bytes."""
        n = len(self.rss_bytes)
        return float(np.mean(self.rss_bytes[(number - 1) * n // 4 : number * n // 4]))

    def growth(self) -> float:
        """Last quarter over second, less 1."""
        return self.quarter_rss(4) / self.quarter_rss(2) - 1


class Soak:
    """One run over a bundle, whose adapter files are changed meanwhile and are as before at the end.

    policy, budget: as for `load`. Threads of a network's run: each session takes the next of the references'.
    """

    def __init__(
        self,
        bundle: Path,
        plan: Plan,
        references: References,
        policy: str,
        budget: int | None,
        seed: int,
    ) -> None:
        self.outcome = Outcome()
        self._bundle, self._plan, self._references = bundle, plan, references
        self._policy, self._budget, self._seed = policy, budget, seed
        self._every = 1
        self._files, self._counts = Lock(), Lock()
        # Versions each task's file had; those from the settled one on may be what a call finds.
        self._history = {task: [0] for task in plan.versions}
        self._settled = dict.fromkeys(plan.versions, 0)

    def run(self, count: int, advance: Callable[[int], None] = lambda calls: None) -> Outcome:
        """`count` restores. advance: called with 1 after each, from several threads."""
        out, rng, begin = self.outcome, np.random.default_rng(self._seed), time.perf_counter()
        run_threads = itertools.cycle(sorted({key[0] for key in self._references}))
        self._every = max(1, count // SAMPLES)
        shifts = [map(int, part) for part in np.array_split(np.arange(count), min(SHIFTS, count))]
        handler, log = _Events(out.events), logging.getLogger("colora")
        log.addHandler(handler)
        try:
            for first in range(0, len(shifts), SHIFTS_A_SESSION):
                self._mend()
                threads = next(run_threads)
                with load(
                    self._bundle, "ort", self._policy, memory_budget=self._budget, threads=threads
                ) as session:
                    session.verify()  # from now on adapters are held: a damaged file changes nothing
                    for calls in shifts[first : first + SHIFTS_A_SESSION]:
                        callers = int(rng.integers(1, MOST_CALLERS + 1))
                        self._shift(callers, calls, partial(self._call, session, threads), advance)
                out.sessions += 1
                out.totals.update(asdict(session.metrics()))
        finally:
            log.removeHandler(handler)
            for task, versions in self._plan.versions.items():
                write_bytes(self._file(task), versions[0])
        out.seconds = time.perf_counter() - begin
        return out

    @staticmethod
    def _shift(
        callers: int, calls: Iterable[int], make: Callable[[int], None], advance: Callable[[int], None]
    ) -> None:
        """The calls of these numbers, by so many threads."""
        numbers, taking = iter(calls), Lock()

        def work() -> None:
            while True:
                with taking:
                    number = next(numbers, None)
                if number is None:
                    return
                make(number)
                advance(1)

        crew = [Thread(target=work, name=f"caller-{i}") for i in range(callers)]
        for thread in crew:
            thread.start()
        for thread in crew:
            thread.join()

    def _call(self, session: Session, threads: int, number: int) -> None:
        call = make_call(self._plan, self._seed, number)
        finding = ""
        try:
            self._touch(session, call)
            if call.announced >= 0:
                session.prefetch(self._plan.mixtures[call.announced])
            mixture = self._plan.mixtures[call.mixture]
            before = {task: self._settled[task] for task in mixture}
            result = digest(session.restore(self._plan.pictures[call.picture], mixture))
            possible = [
                [(task, version) for version in set(self._history[task][before[task] :])] for task in mixture
            ]
            expected = [
                self._references[threads, call.picture, call.mixture, versions]
                for versions in itertools.product(*possible)
            ]
            wrong = not any(result in digests for digests in expected)
            finding = f"call {number}: {call}: a result that no reference has" if wrong else ""
        except Exception as e:  # whatever it is, it is what is looked for
            wrong, finding = False, f"call {number}: {call}: {type(e).__name__}: {e}"
        with self._counts:
            out = self.outcome
            out.restores += 1
            out.wrong += wrong
            out.errors += bool(finding) and not wrong
            out.findings += [finding] if finding and len(out.findings) < KEPT else []
            if number % self._every == 0:
                out.rss_bytes.append(memory_now().rss_bytes)

    def _touch(self, session: Session, call: Call) -> None:
        """Replace and damage adapter files as the call says. One that is damaged was read before."""
        with self._files:
            if call.swapped:
                history = self._history[call.swapped]
                history.append((history[-1] + 1) % len(self._plan.versions[call.swapped]))
                self._write(call.swapped)
                self.outcome.swaps += 1
            if call.broken:
                session.restore(self._plan.pictures[0], call.broken)
                whole = self._plan.versions[call.broken][self._history[call.broken][-1]]
                self._file(call.broken).write_bytes(whole[: len(whole) // 2])
                self.outcome.damaged += 1

    def _mend(self) -> None:
        """Every task's file as its history says."""
        with self._files:
            for task in self._history:
                self._write(task)

    def _write(self, task: str) -> None:
        history = self._history[task]
        write_bytes(self._file(task), self._plan.versions[task][history[-1]])
        self._settled[task] = len(history) - 1

    def _file(self, task: str) -> Path:
        return self._bundle / "tasks" / f"{task}.safetensors"


class _Events(logging.Handler):
    """Counts the runtime's log records by their event."""

    def __init__(self, counter: Counter[str]) -> None:
        super().__init__()
        self._counter = counter

    def emit(self, record: logging.LogRecord) -> None:
        self._counter[getattr(record, "event", record.getMessage())] += 1
