"""Who calls: a team by its virtual key, or an operator by the master key. Views say whom they take.

Order of refusals: no or unknown credential (401), team not active (403), body (422), whose it is (403, 404).
"""

from dataclasses import dataclass
from typing import Any

from django.conf import settings
from rest_framework.request import Request
from rest_framework.views import APIView

from apps.core import bodies, crypto, idempotency
from apps.core.actors import Actor
from apps.core.addresses import client_address
from apps.core.errors import InvalidField, NotAllowed, NotAuthenticated
from apps.teams import services as teams
from apps.teams.models import Team
from apps.virtual_keys import bearer
from apps.virtual_keys.services import Principal

NO_OPERATOR = "Authentication required. Provide either 'Authorization: Bearer <token>' or 'X-Admin-Key: <master_key>'"


class WrongTeam(NotAllowed):
    """Raised when a key asks about a team that is not its own."""

    code = "wrong_team"


@dataclass(frozen=True, slots=True)
class Caller:
    """Whoever calls. Exactly one of a key's principal and an operator."""

    actor: Actor
    principal: Principal | None

    @property
    def is_operator(self) -> bool:
        return self.principal is None

    @property
    def scope(self) -> str:
        """Whose idempotency keys these are."""
        return f"team:{self.principal.team.team_id}" if self.principal else "operator"


def address_of(request: Request) -> str:
    """The client's network address."""
    return client_address(request.META)


def _is_master_key(secret: str | None) -> bool:
    """Constant-time. An unset master key admits nobody, nor does a published default outside the demo."""
    master = settings.MASTER_KEY
    if not master or not secret:
        return False
    if master in settings.KNOWN_DEFAULT_MASTER_KEYS and not settings.EMBEDDED:
        return False
    return crypto.equal(secret, master)


def _operator(request: Request) -> Caller:
    return Caller(Actor("operator", "master-key", address_of(request)), None)


def by_key(request: Request) -> Caller:
    """The team behind the request's virtual key. Raises: NotAuthenticated, AddressNotAllowed."""
    principal = bearer.principal(request.META)
    return Caller(Actor("key", principal.key_id, address_of(request)), principal)


def by_master_key(request: Request) -> Caller:
    """An operator, by the master key in either header. Raises: NotAuthenticated."""
    admin_key = request.META.get("HTTP_X_ADMIN_KEY")
    if _is_master_key(admin_key):
        return _operator(request)
    try:
        token = bearer.token(request.META)
    except NotAuthenticated:
        token = None
    if admin_key is None and _is_master_key(token):
        return _operator(request)
    raise NotAuthenticated(NO_OPERATOR)


class ApiView(APIView):
    """A view of the REST contract: one class per URL, methods of about ten lines."""

    caller: Caller

    def authenticate_caller(self, request: Request) -> Caller:
        raise NotImplementedError

    def initial(self, request: Request, *args: Any, **kwargs: Any) -> None:
        super().initial(request, *args, **kwargs)
        self.caller = self.authenticate_caller(request)

    def idempotent(self, request: Request) -> idempotency.Request | None:
        """The request's Idempotency-Key with what it covers, None without one. Raises: InvalidField."""
        return idempotency.requested(
            request.META, scope=self.caller.scope, fingerprint=lambda: self.fingerprint(request)
        )

    def fingerprint(self, request: Request) -> str:
        """SHA-256 of method, path and body."""
        return bodies.fingerprint(request._request)


class KeyView(ApiView):
    """For a team's virtual key alone."""

    # Views that start new work refuse a team that is not active before they look at the body.
    starts_work = False

    def authenticate_caller(self, request: Request) -> Caller:
        caller = by_key(request)
        assert caller.principal is not None
        self.require_may(caller.principal, request)
        return caller

    def require_may(self, principal: Principal, request: Request) -> None:
        """Raises: TeamNotActive, ScopeMissing."""
        if self.starts_work and request.method == "POST":
            teams.require_active(principal.team.status, principal.organization.status)
        principal.require_scope(*(("jobs", "chat", "read") if request.method == "GET" else ("jobs",)))

    @property
    def principal(self) -> Principal:
        assert self.caller.principal is not None
        return self.caller.principal

    def require_own_team(self, team_id: str) -> None:
        """Raises: WrongTeam when the body names a team that is not the key's."""
        if team_id != self.principal.team.team_id:
            raise WrongTeam(f"API key does not belong to team '{team_id}'")


class OperatorView(ApiView):
    """For operators alone."""

    def authenticate_caller(self, request: Request) -> Caller:
        return by_master_key(request)


class EitherView(ApiView):
    """For operators, and for a key about its own team."""

    def authenticate_caller(self, request: Request) -> Caller:
        if "HTTP_X_ADMIN_KEY" in request.META or _is_master_key(bearer.token(request.META)):
            return by_master_key(request)
        caller = by_key(request)
        assert caller.principal is not None
        caller.principal.require_scope("read", "jobs", "chat")
        return caller

    def require_operator(self) -> None:
        """Raises: NotAuthenticated for a key, as a view for operators alone."""
        if not self.caller.is_operator:
            raise NotAuthenticated(NO_OPERATOR)

    def acting_team_id(self, asked: str | None, *, purpose: str) -> str:
        """For which team something is done: the key's own unless another is named, an operator names one.

        Raises: ScopeMissing for a key that may not start work, InvalidField for an operator who names none.
        """
        principal = self.caller.principal
        if principal is not None:
            principal.require_scope("jobs")
            return asked or principal.team.team_id
        if not asked:
            raise InvalidField("team_id", f"team_id says for which team an operator {purpose}.")
        return asked

    def team(self, team_id: str, *, refusal: str) -> Team:
        """The team that is asked about. Raises: TeamNotFound, WrongTeam (with `refusal`) for a foreign key."""
        if self.caller.principal is None:
            return teams.find(team_id)
        if self.caller.principal.team.team_id != team_id:
            raise WrongTeam(refusal)
        return teams.find(team_id)
