"""The errors of the whole product: a code, the place, what is wrong and the way out."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any


class LeadscoreError(Exception):
    """Something failed on our side of the contract.

    Attributes:
        code: machine-readable word in snake_case, stable across versions.
        message: what is wrong, in one sentence.
        where: the place: a file and column, a JSON path (``events[2].occurred_at``), an option.
        remedy: what to do about it, in one sentence.
        details: further facts for machines (counts, first bad rows).
    """

    exit_code = 1

    def __init__(
        self,
        code: str,
        message: str,
        *,
        where: str = "",
        remedy: str = "",
        details: dict[str, Any] | None = None,
    ) -> None:
        super().__init__(message)
        self.code = code
        self.message = message
        self.where = where
        self.remedy = remedy
        self.details = details or {}

    def __str__(self) -> str:
        place = f"{self.where}: " if self.where else ""
        remedy = f" {self.remedy}" if self.remedy else ""
        return f"{place}{self.message}{remedy}"

    def to_json(self) -> dict[str, Any]:
        """The error as plain data: code, message, where, remedy and, if any, details."""
        out: dict[str, Any] = {
            "code": self.code,
            "message": self.message,
            "where": self.where,
            "remedy": self.remedy,
        }
        if self.details:
            out["details"] = self.details
        return out


class BadInput(LeadscoreError):
    """What was given cannot be used as it is; nothing has been written."""

    exit_code = 2


class BadTables(BadInput):
    """A data folder breaks the contract; ``problems`` holds every finding, the message the first."""

    def __init__(self, problems: Sequence[BadInput]) -> None:
        first = problems[0]
        super().__init__(
            first.code,
            first.message,
            where=first.where,
            remedy=first.remedy,
            details={"problems": [p.to_json() for p in problems]},
        )
        self.problems = tuple(problems)


class BadBundle(LeadscoreError):
    """A bundle is damaged, of another format, or not what its manifest says."""
