"""An operator at work: who it is, and with which rights. Both edges make one and hand it to the services.

A token narrows its operator's role; the master key acts as an owner whom nobody can name.
"""

from collections.abc import Iterable
from dataclasses import dataclass

from apps.core.actors import Actor
from apps.organizations import rights
from apps.organizations.models import User
from apps.organizations.rights import Right, RightMissing, Role


@dataclass(frozen=True, slots=True)
class Operator:
    """`scopes` narrow `role`; without any it is the whole role. `user` is None for the master key and commands."""

    actor: Actor
    role: str
    user: User | None = None
    scopes: tuple[str, ...] = ()

    @property
    def identity(self) -> str:
        """Whose idempotency keys these are."""
        return f"operator:{self.user.public_id}" if self.user else "operator"

    def holds(self, right: Right, *, within: bool = False) -> bool:
        """Whether role and scopes hold it; `within` as in `rights.holds`."""
        return self._has_scope(right) and rights.holds(self.role, right, within=within)

    def require(self, right: Right, *, within: bool = False, doing: str = "") -> None:
        """Raises: RightMissing, saying who can or which scope is missing."""
        rights.require(self.role, right, within=within, doing=doing)
        if not self._has_scope(right):
            raise RightMissing(
                f"This token cannot {doing or rights.MEANING[right]}: it lacks the scope '{right}'."
                f" It has: {', '.join(self.scopes)}.",
                right=right.value,
                role=self.role,
            )

    def require_may_manage(self, *roles: str, doing: str) -> None:
        """Whether it may change operators of these roles, or make somebody one. "" is no role.

        Raises: RightMissing.
        """
        below = all(role not in (Role.OWNER, Role.ADMIN) for role in roles)
        self.require(Right.OPERATORS_WRITE, within=below, doing=doing)

    def require_may_give(self, role: str, scopes: Iterable[str] = (), *, doing: str) -> None:
        """What is given must be held: a narrowed token makes nobody who can do more than itself.

        Raises: RightMissing.
        """
        for right in given(role, scopes):
            self.require(right, within=rights.level(role, right) is rights.Level.LIMITED, doing=doing)

    def held(self) -> dict[str, str]:
        """Each right that it has, and how much of it: full or limited."""
        return {right.value: rights.level(self.role, right).value for right in given(self.role, self.scopes)}

    def _has_scope(self, right: Right) -> bool:
        return not self.scopes or right in self.scopes


def given(role: str, scopes: Iterable[str] = ()) -> list[Right]:
    """The rights of a role, narrowed to `scopes` if there are any."""
    wanted = set(scopes) or set(Right)
    return [right for right in Right if right in wanted and rights.level(role, right) is not rights.Level.NONE]
