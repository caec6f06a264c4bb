"""Who does something, for the ledger and the audit trail."""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Actor:
    """`kind` is operator, key, command or system; `name` is an id or login, never a secret."""

    kind: str
    name: str = ""
    address: str = ""

    def __str__(self) -> str:
        return f"{self.kind}:{self.name}" if self.name else self.kind


SYSTEM = Actor("system")
COMMAND = Actor("command")
