"""The table of findings."""

from __future__ import annotations

from collections.abc import Sequence

from mdaf.sweeper.check.finding import Finding
from mdaf.terminal import tables


def show(found: Sequence[Finding]) -> None:
    """Prints a row for each check, how to mend what is wrong, and a line that counts the checks."""
    console = tables.console()
    columns = [
        tables.Column("check", [finding.check for finding in found]),
        tables.Column("result", [finding.result for finding in found]),
        tables.Column("what was found", [finding.said for finding in found]),
    ]
    table, left_out = tables.fitted(columns, console.width, framed=console.is_terminal)
    console.print(table)
    if left_out:
        console.print(tables.left_out(left_out, "a wider terminal, or a pipe, shows them"))
    if advice := [f"  {finding.check}: {finding.mend}" for finding in found if finding.mend]:
        console.print("how to mend it:", *advice, sep="\n")
    wrong = sum(finding.is_wrong for finding in found)
    checks = "1 check" if len(found) == 1 else f"{len(found)} checks"
    console.print(f"{checks}, {wrong} wrong" if wrong else f"{checks}, nothing is wrong")
