"""The report as a value, and report.json, the file that keeps it; docs/report.md says what each entry is."""

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from colora.benchmarks.record import Environment, write_record
from colora.benchmarks.schema import SCHEMA, SCHEMAS, migrated, read_record
from colora.benchmarks.section import Section
from colora.devices.errors import ReportError

KIND = "report"


@dataclass(frozen=True)
class BundleFacts:
    """Which bundle was measured, to the bit."""

    name: str
    kind: str
    """`shared` or `merged`."""
    backbone: str
    target: str
    precision: str
    backbone_sha256: str
    manifest_sha256: str
    """Of the file, which holds those of all others but the tasks'."""
    tasks: Mapping[str, str]
    """Task → SHA-256 of its file; empty text where a task is merged into the graph."""


@dataclass(frozen=True)
class Picture:
    """One picture before and after; both as coded files in base64."""

    task: str
    told: str
    """What degraded it, and where it comes from."""
    width: int
    height: int
    psnr_before_db: float
    psnr_after_db: float
    before: str
    after: str
    media_type: str = "image/jpeg"


@dataclass(frozen=True)
class Report:
    """What one run of `colora bench` found."""

    environment: Environment
    bundle: BundleFacts
    zoo: Mapping[str, str]
    """File of the shipped weights → SHA-256."""
    settings: Mapping[str, Any]
    """Of Settings, folders of pairs by their names."""
    seconds: float
    """That all scenarios and the pictures took."""
    took: Mapping[str, float]
    """Scenario → seconds."""
    sections: tuple[Section, ...]
    pictures: tuple[Picture, ...] = ()

    @property
    def summary(self) -> tuple[Section, ...]:
        """Sections that found something, those with the argument of the report first."""
        found = [section for section in self.sections if section.said and section.rows]
        return tuple(
            sorted(found, key=lambda s: ARGUMENT.index(s.name) if s.name in ARGUMENT else len(ARGUMENT))
        )


ARGUMENT = ("memory", "switch", "quality", "latency")
"""Names of the sections that tell a manager most, in this order."""


def write_report(path: Path, report: Report) -> None:
    """Write report.json, whole or not at all."""
    content = {name: value for name, value in asdict(report).items() if name != "environment"}
    said = " ".join(section.said for section in report.summary)
    write_record(path, KIND, report.environment, {"schema": SCHEMA, "summary": said} | content)


def read_report(path: Path) -> Report:
    """Read what `write_report` wrote, of this version or an earlier one.

    Raises: ReportError for another kind of file, a version that can't be migrated, a damaged one.
    """
    told = read_record(path)
    if told["kind"] != KIND:
        raise ReportError(
            f"{path} is a record of the kind {told['kind']!r}; expected the report.json of `colora bench`"
        )
    told = migrated(told, "schema", SCHEMA, SCHEMAS, str(path))
    try:
        return Report(
            environment=_environment(told["environment"]),
            bundle=BundleFacts(**told["bundle"]),
            zoo=told["zoo"],
            settings=told["settings"],
            seconds=told["seconds"],
            took=told["took"],
            sections=tuple(Section.read(section) for section in told["sections"]),
            pictures=tuple(Picture(**picture) for picture in told["pictures"]),
        )
    except (KeyError, TypeError, AttributeError) as e:
        raise ReportError(f"{path} is damaged ({type(e).__name__}: {e}): run `colora bench` again") from e


def _environment(told: Mapping[str, Any]) -> Environment:
    return Environment(**told | {"gpus": tuple(told["gpus"])})  # type: ignore[operator]
