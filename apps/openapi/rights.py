"""Which right an operator needs for an operation, as its view says, and who holds it by the table of rights."""

from dataclasses import dataclass
from typing import Any

from apps.api.authentication import Partly
from apps.openapi.routes import Route
from apps.organizations.rights import FULL, LIMITED, MEANING, Right, Role


@dataclass(frozen=True, slots=True)
class Needed:
    """A right that an operation needs. `limits` are those of roles that hold it in part, if that can be enough."""

    right: Right
    roles: tuple[str, ...]
    limits: dict[str, str]

    def as_wire(self) -> dict[str, Any]:
        """As the document has it under `x-right`."""
        return {"right": self.right.value, "roles": list(self.roles), "limited_roles": self.limits}


def needed(route: Route) -> Needed | None:
    """What an operator needs for it; None where every operator may, or none calls."""
    ask = getattr(route.view, "needed", None)
    found = ask(route.method.upper()) if ask else None
    if found is None:
        return None
    right = found.right if isinstance(found, Partly) else found
    limits = {role.value: LIMITED[right, role] for role in Role if (right, role) in LIMITED}
    roles = tuple(role.value for role in Role if role in FULL[right])
    return Needed(right, roles, limits if isinstance(found, Partly) else {})


def sentence(found: Needed | None) -> str:
    """What a reader of the operation is told of it, after what it does."""
    if found is None:
        return ""
    held = [*found.roles, *(f"{role} ({limit})" for role, limit in found.limits.items())]
    return f"\n\nAn operator needs the right `{found.right.value}` ({MEANING[found.right]}): {', '.join(held)}."
