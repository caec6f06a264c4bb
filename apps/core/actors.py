"""Who does something, for the ledger and the audit trail."""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Actor:
    """`kind` is operator, key, command or system; `name` is an id or login, never a secret.

    `via` says by what an operator came in, where it was no sign-in: the first characters of a token.
    """

    kind: str
    name: str = ""
    address: str = ""
    via: str = ""

    def __str__(self) -> str:
        return f"{self.kind}:{self.name}" if self.name else self.kind


SYSTEM = Actor("system")
COMMAND = Actor("command")
