"""Virtual keys of a team, for operators: issue, list, rotate, revoke. A secret is in one answer and nowhere else."""

from typing import Annotated, Any

from pydantic import Field
from rest_framework.request import Request
from rest_framework.response import Response

from apps.api import present
from apps.api.authentication import OperatorView
from apps.api.fields import FutureInstant, Label, Names, query_choice, query_text
from apps.api.idempotent import respond
from apps.api.instants import query_instant
from apps.api.listing import Found, listed, require_page
from apps.api.parsing import Input, parse
from apps.core import clock
from apps.organizations import services as organizations
from apps.organizations.models import Organization
from apps.organizations.rights import Right
from apps.teams import services as teams
from apps.teams.models import Team
from apps.virtual_keys import services as virtual_keys
from apps.virtual_keys.models import VirtualKey

_ORDERS = {name: name for name in ("created_at", "expires_at", "last_used_at", "name")}
MAX_OVERLAP_S = 30 * 24 * 3600


class IssueKeyInput(Input):
    """A key to issue; what is left out does not restrict it."""

    name: Label | None = None
    scopes: Names | None = None
    models_allowed: Names | None = None
    addresses_allowed: Names | None = None
    expires_at: FutureInstant | None = None


class RotateKeyInput(Input):
    """How long the old key stays valid beside the new one."""

    overlap_seconds: Annotated[int, Field(ge=0, le=MAX_OVERLAP_S)] = 0


class KeyList(OperatorView):
    """GET /api/keys: those of all teams, narrowed by `team_id`, `organization_id`, `state`, `prefix`,
    `expires_before` (active ones that expire by then) and `unused_since`."""

    rights = {"GET": Right.VIEW}

    def get(self, request: Request) -> Response:
        require_page(request)
        team_id, organization_id = query_text(request, "team_id"), query_text(request, "organization_id")
        found = _found(
            request,
            teams.find(team_id) if team_id else None,
            organizations.find(organization_id) if organization_id else None,
        )
        return Response(found.body("keys", (present.key(each, each.team.team_id) for each in found.rows)))


def _found(request: Request, team: Team | None, organization: Organization | None) -> Found[VirtualKey]:
    matching = virtual_keys.matching(
        team,
        organization=organization,
        state=query_choice(request, "state", virtual_keys.STATES),
        prefix=query_text(request, "prefix"),
        expires_before=query_instant(request, "expires_before"),
        unused_since=query_instant(request, "unused_since"),
    )
    return listed(request, matching, default=100, orders=_ORDERS)


class TeamKeys(OperatorView):
    """GET and POST /api/teams/{team_id}/keys"""

    rights = {"GET": Right.VIEW, "POST": Right.KEYS_WRITE}

    def get(self, request: Request, team_id: str) -> Response:
        require_page(request)
        found = _found(request, teams.find(team_id), None)
        return found.array(present.key(each, team_id) for each in found.rows)

    def post(self, request: Request, team_id: str) -> Response:
        body = parse(IssueKeyInput, request)

        def effect() -> tuple[dict[str, Any], str]:
            key, secret = virtual_keys.issue(
                teams.find(team_id),
                actor=self.caller.actor,
                name=body.name or "",
                scopes=body.scopes,
                models_allowed=body.models_allowed,
                addresses_allowed=body.addresses_allowed,
                expires_at=body.expires_at,
            )
            return {"team_id": team_id, "key_id": str(key.pk)}, secret

        return respond(self, request, effect=effect, render=with_secret)


class RotateKey(OperatorView):
    """POST /api/teams/{team_id}/keys/{key_id}/rotate: a new key with the same rights instead of the old one."""

    rights = {"POST": Right.KEYS_WRITE}

    def post(self, request: Request, team_id: str, key_id: str) -> Response:
        body = parse(RotateKeyInput, request)

        def effect() -> tuple[dict[str, Any], str]:
            old = virtual_keys.find(teams.find(team_id), key_id)
            new, secret = virtual_keys.rotate(old, actor=self.caller.actor, overlap_s=body.overlap_seconds)
            return {"team_id": team_id, "key_id": str(new.pk), "replaces": str(old.pk)}, secret

        return respond(self, request, effect=effect, render=with_secret)


class OneKey(OperatorView):
    """DELETE /api/teams/{team_id}/keys/{key_id}: revoke it, now."""

    rights = {"DELETE": Right.KEYS_WRITE}

    def delete(self, request: Request, team_id: str, key_id: str) -> Response:
        key = virtual_keys.revoke(virtual_keys.find(teams.find(team_id), key_id), actor=self.caller.actor)
        return Response(present.key(key, team_id) | {"message": "Key revoked"})


def with_secret(ids: dict[str, Any], secret: str | None) -> dict[str, Any]:
    """A new key's answer, and the old key's fate when it replaces one."""
    team = teams.find(ids["team_id"])
    body = present.key(virtual_keys.find(team, ids["key_id"]), team.team_id) | {"virtual_key": secret}
    if "replaces" in ids:
        old = virtual_keys.find(team, ids["replaces"])
        body |= {"replaces": ids["replaces"], "old_key_expires_at": clock.iso(old.expires_at)}
    return body
