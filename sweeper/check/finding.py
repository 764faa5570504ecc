"""What one check has found."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Finding:
    """``result``: ok, note (it works, but may not be meant) or WRONG. ``mend``: what to do, where anything is to do."""

    check: str
    result: str = "ok"
    said: str = ""
    mend: str = ""

    @property
    def is_wrong(self) -> bool:
        return self.result == WRONG


OK, NOTE, WRONG = "ok", "note", "WRONG"


class FaultError(Exception):
    """Raised by a check: what was found, and how to mend it."""

    result = WRONG

    def __init__(self, said: str, mend: str = "") -> None:
        super().__init__(said)
        self.said, self.mend = said, mend


class RemarkError(FaultError):
    """Raised by a check for what works, but may not be meant."""

    result = NOTE
