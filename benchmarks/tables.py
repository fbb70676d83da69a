"""Tables of text: in Markdown, for a record's page, and on the terminal; and what such a page begins with."""

from collections.abc import Iterable, Sequence

from colora.benchmarks.record import Environment


def heading(what: str, where: Environment) -> str:
    """What was measured, on which machine, when, at which commit, and with which packages."""
    packages = ", ".join(f"{name} {version}" for name, version in where.packages.items())
    place = f"{where.cpu}, {where.cores} cores, {where.date_utc}, commit {where.commit[:12]}"
    return f"# {what}: {place}\n\n{packages}\n"


def markdown(header: Sequence[str], rows: Iterable[Sequence[str]], left: int = 1) -> str:
    """left: columns that are text; those behind are numbers."""
    rule = ["---" if i < left else "---:" for i in range(len(header))]
    return "\n".join(f"| {' | '.join(cells)} |" for cells in (header, rule, *rows)) + "\n"


def show(
    header: Sequence[str],
    rows: Iterable[Sequence[str]],
    left: int = 1,
    title: str = "",
    wraps: Sequence[str] = (),
) -> None:
    """On the terminal; where there is none, uncut. wraps: columns that may take several lines."""
    from rich.console import Console
    from rich.table import Table

    console = Console()
    if not console.is_terminal:
        console.width = 1000
    table = Table(*header, title=title or None)
    for i, column in enumerate(table.columns):
        column.no_wrap, column.justify = column.header not in wraps, "left" if i < left else "right"
    for cells in rows:
        table.add_row(*cells)
    console.print(table)
