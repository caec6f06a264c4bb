"""Who calls: a team by its virtual key, or an operator by the master key. Views say whom they take.

Order of refusals: no or unknown credential (401), team not active (403), body (422), whose it is (403, 404).
"""

from dataclasses import dataclass
from typing import Any

from django.conf import settings
from rest_framework.request import Request
from rest_framework.views import APIView

from apps.api import parsing
from apps.core import crypto, idempotency
from apps.core.actors import Actor
from apps.core.addresses import client_address
from apps.core.errors import InvalidField, NotAllowed, NotAuthenticated
from apps.teams import services as teams
from apps.teams.models import Team
from apps.virtual_keys import services as virtual_keys
from apps.virtual_keys.services import Principal

NO_KEY = "Missing Authorization header. Expected: 'Authorization: Bearer sk-xxx...'"
BAD_FORM = "Invalid Authorization header format. Expected: 'Authorization: Bearer sk-xxx...'"
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


def _bearer(request: Request) -> str | None:
    """The token of the Authorization header, None without one. Raises: NotAuthenticated for another form."""
    header = request.META.get("HTTP_AUTHORIZATION")
    if not header:
        return None
    parts = header.split()
    if len(parts) != 2 or parts[0].lower() != "bearer":
        raise NotAuthenticated(BAD_FORM)
    return str(parts[1])


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
    secret = _bearer(request)
    if secret is None:
        raise NotAuthenticated(NO_KEY)
    principal = virtual_keys.authenticate(secret, address=address_of(request))
    return Caller(Actor("key", principal.key_id, address_of(request)), principal)


def by_master_key(request: Request) -> Caller:
    """An operator, by the master key in either header. Raises: NotAuthenticated."""
    admin_key = request.META.get("HTTP_X_ADMIN_KEY")
    if _is_master_key(admin_key):
        return _operator(request)
    try:
        bearer = _bearer(request)
    except NotAuthenticated:
        bearer = None
    if admin_key is None and _is_master_key(bearer):
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
        key = request.META.get("HTTP_IDEMPOTENCY_KEY")
        if key is None:
            return None
        if not 1 <= len(key) <= 255 or not key.isprintable():
            raise InvalidField("Idempotency-Key", "Must be 1 to 255 printable characters.", value=key[:255])
        return idempotency.Request(self.caller.scope, key, self.fingerprint(request))

    def fingerprint(self, request: Request) -> str:
        """SHA-256 of method, path and body."""
        return crypto.fingerprint(
            str(request.method).encode(), request.get_full_path().encode(), parsing.raw_body(request)
        )


class KeyView(ApiView):
    """For a team's virtual key alone."""

    # Views that start new work refuse a team that is not active before they look at the body.
    starts_work = False

    def authenticate_caller(self, request: Request) -> Caller:
        caller = by_key(request)
        assert caller.principal is not None
        if self.starts_work and request.method == "POST":
            teams.require_active(caller.principal.team.status, caller.principal.organization.status)
        caller.principal.require_scope(*(("jobs", "chat", "read") if request.method == "GET" else ("jobs",)))
        return caller

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
        if "HTTP_X_ADMIN_KEY" in request.META or _is_master_key(_bearer(request)):
            return by_master_key(request)
        caller = by_key(request)
        assert caller.principal is not None
        caller.principal.require_scope("read", "jobs", "chat")
        return caller

    def team(self, team_id: str, *, refusal: str) -> Team:
        """The team that is asked about. Raises: TeamNotFound, WrongTeam (with `refusal`) for a foreign key."""
        if self.caller.principal is None:
            return teams.find(team_id)
        if self.caller.principal.team.team_id != team_id:
            raise WrongTeam(refusal)
        return teams.find(team_id)
