"""The result of an audit."""

from dataclasses import asdict, dataclass
from typing import Any


@dataclass(frozen=True)
class AuditResult:
    """The outcome of one audit: its name, whether it passed, and the detail."""

    name: str
    passed: bool | None  # None: for information
    detail: str

    def to_json(self) -> dict[str, Any]:
        """Returns the audit as result.json holds it."""
        return asdict(self)
