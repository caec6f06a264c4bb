"""Who calls: a team by its virtual key, or an operator by a token or the master key. Views say whom they take, and
which right each method needs of an operator.

Order of refusals: no or unknown credential (401), right missing or team not active (403), body (422), whose it is
(403, 404).
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar

from django.conf import settings
from rest_framework.request import Request
from rest_framework.response import Response
from rest_framework.views import APIView

from apps.core import audit, bodies, crypto, idempotency
from apps.core.actors import Actor
from apps.core.addresses import client_address
from apps.core.errors import InvalidField, NotAllowed, NotAuthenticated
from apps.organizations import tokens
from apps.organizations.identity import Operator
from apps.organizations.rights import Right, RightMissing, Role
from apps.teams import services as teams
from apps.teams.models import Team
from apps.virtual_keys import bearer
from apps.virtual_keys.services import Principal

# So that "operator:" before a name still fits the ledger's 255 characters.
_ACTOR_LENGTH = 255 - len("operator:")
NO_OPERATOR = "Authentication required. Provide either 'Authorization: Bearer <token>' or 'X-Admin-Key: <master_key>'"


class WrongTeam(NotAllowed):
    """Raised when a key asks about a team that is not its own."""

    code = "wrong_team"


@dataclass(frozen=True, slots=True)
class Partly:
    """A right that is enough in part: the method itself says, by `Caller.require`, whether what is asked lies within
    the limit of those who hold no more."""

    right: Right


# What an operator needs for each method; None is for what every operator may do.
Rights = Mapping[str, Right | Partly | None]


@dataclass(frozen=True, slots=True)
class Caller:
    """Whoever calls. Exactly one of a key's principal and an operator."""

    actor: Actor
    principal: Principal | None
    operator: Operator | None = None

    @property
    def is_operator(self) -> bool:
        return self.principal is None

    @property
    def scope(self) -> str:
        """Whose idempotency keys these are."""
        return f"team:{self.principal.team.team_id}" if self.principal else self.as_operator.identity

    @property
    def as_operator(self) -> Operator:
        assert self.operator is not None, "a view for keys asks for no rights"
        return self.operator

    def require(self, right: Right, *, within: bool = False, doing: str = "") -> None:
        """Raises: RightMissing for an operator whose role or token does not hold it. A key has scopes instead."""
        if self.operator is not None:
            self.operator.require(right, within=within, doing=doing)


def address_of(request: Request) -> str:
    """The client's network address."""
    return client_address(request.META)


def _is_master_key(secret: str | None) -> bool:
    """Constant-time. An unset master key admits nobody, nor does one that is switched off, nor a published default
    outside the demo."""
    master = settings.MASTER_KEY
    if not master or not secret or settings.MASTER_KEY_OFF:
        return False
    if master in settings.KNOWN_DEFAULT_MASTER_KEYS and not settings.EMBEDDED:
        return False
    return crypto.equal(secret, master)


def _is_operators(secret: str | None) -> bool:
    """Whether it is meant as an operator's credential, so that no key is looked for."""
    return bool(secret) and (str(secret).startswith(tokens.FORM.prefix) or _is_master_key(secret))


def _by_token(secret: str, address: str) -> Caller:
    presented = tokens.authenticate(secret, address=address)
    user, token = presented.user, presented.token
    actor = Actor("operator", user.email[:_ACTOR_LENGTH], address, via=token.prefix)
    return Caller(actor, None, Operator(actor, user.role, user, tuple(token.scopes)))


def by_key(request: Request) -> Caller:
    """The team behind the request's virtual key. Raises: NotAuthenticated, AddressNotAllowed."""
    principal = bearer.principal(request.META)
    return Caller(Actor("key", principal.key_id, address_of(request)), principal)


def by_operator(request: Request) -> Caller:
    """An operator, by a token or the master key in either header. Raises: NotAuthenticated."""
    secret = request.META.get("HTTP_X_ADMIN_KEY")
    if secret is None:
        try:
            secret = bearer.token(request.META)
        except NotAuthenticated:
            secret = None
    if secret and secret.startswith(tokens.FORM.prefix):
        return _by_token(secret, address_of(request))
    if _is_master_key(secret):
        actor = Actor("operator", "master-key", address_of(request))
        return Caller(actor, None, Operator(actor, Role.OWNER.value))
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


class _TakesOperators(ApiView):
    """A view that says in `rights` what an operator needs for each of its methods."""

    rights: ClassVar[Rights]

    def initial(self, request: Request, *args: Any, **kwargs: Any) -> None:
        super().initial(request, *args, **kwargs)
        method = str(request.method)
        if self.caller.operator is not None and method.lower() in self.http_method_names and _answers(self, method):
            self._require_right(self.needed(method))

    @classmethod
    def needed(cls, method: str) -> Right | Partly | None:
        """What an operator needs for a method. Raises: KeyError for a method that names nothing, which a test
        looks for."""
        if method == "OPTIONS":
            return None
        return cls.rights["GET" if method == "HEAD" else method]

    def _require_right(self, needed: Right | Partly | None) -> None:
        if isinstance(needed, Partly):
            self.caller.require(needed.right, within=True)
        elif needed is not None:
            self.caller.require(needed)

    def handle_exception(self, exc: Exception) -> Response:
        """What an operator was refused is kept. Here, since whatever was begun has been rolled back by now."""
        if isinstance(exc, RightMissing):
            kind, id = _object_of(self.kwargs, self.request.path)
            right = str(exc.details.get("right", ""))
            asked = {"method": self.request.method, "path": self.request.path[:500]}
            audit.refused(right, actor=self.caller.actor, kind=kind, id=id, **asked)
        return super().handle_exception(exc)


def _answers(view: APIView, method: str) -> bool:
    """Whether the view has this method; what it has not is refused by REST framework, with 405."""
    return hasattr(view, method.lower())


def _object_of(parts: Mapping[str, Any], path: str) -> tuple[str, str]:
    """What a path is about: its last named part, such as `team_id`; the path itself when it names nothing."""
    if not parts:
        return "path", path
    name, id = list(parts.items())[-1]
    return name.removesuffix("_id")[:32], str(id)


class OperatorView(_TakesOperators):
    """For operators alone."""

    def authenticate_caller(self, request: Request) -> Caller:
        return by_operator(request)


class EitherView(_TakesOperators):
    """For operators, and for a key about its own team."""

    def authenticate_caller(self, request: Request) -> Caller:
        if "HTTP_X_ADMIN_KEY" in request.META or _is_operators(bearer.token(request.META)):
            return by_operator(request)
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
