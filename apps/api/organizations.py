"""Organizations: create with a default team, read, suspend and resume."""

from typing import Any, ClassVar

from django.db import transaction
from rest_framework.request import Request
from rest_framework.response import Response

from apps.api import present
from apps.api.authentication import Caller, EitherView, OperatorView, WrongTeam, by_operator
from apps.api.fields import Credits, Label, Metadata, Names, Reason, ReasonInput, query_error, query_text
from apps.api.idempotent import respond
from apps.api.instants import query_instant
from apps.api.listing import listed, require_page
from apps.api.parsing import Input, Text255, parse
from apps.api.teams import facts, shown, teams_found
from apps.core.clock import iso
from apps.core.errors import InvalidField
from apps.organizations import services as organizations
from apps.organizations.models import Organization
from apps.organizations.rights import Right
from apps.provisioning import services as provisioning
from apps.provisioning.services import TeamPlan
from apps.teams import services as teams

STATUSES = tuple(Organization.Status.values)


class CreateOrganizationInput(Input):
    """An organization to create, with a default team unless told otherwise."""

    organization_id: Text255
    name: Text255
    metadata: Metadata | None = None
    time_zone: Text255 | None = None
    create_default_team: bool = True
    default_team_name: Label | None = None
    default_team_access_groups: Names | None = None
    default_team_model_groups: Names | None = None
    default_team_credits: Credits | None = None

    def default_team(self) -> TeamPlan | None:
        """The plan of the default team, None when none is wanted."""
        if not self.create_default_team:
            return None
        return TeamPlan(
            team_id=f"{self.organization_id}_default",
            alias=self.default_team_name or f"{self.name} default team"[:255],
            access_groups=self.default_team_access_groups or [],
            model_groups=self.default_team_model_groups or [],
            credits=self.default_team_credits or 0,
        )


class StatusInput(Input):
    """A state to put an organization in."""

    status: str
    reason: Reason | None = None


class CreateOrganization(OperatorView):
    """POST /api/organizations/create: the organization is made even when its default team cannot be."""

    rights = {"POST": Right.CUSTOMERS_WRITE}

    def post(self, request: Request) -> Response:
        body = parse(CreateOrganizationInput, request)
        if body.default_team_credits:
            self.caller.require(Right.CREDITS_WRITE)
        return respond(self, request, effect=lambda: self._create(body), render=self._created)

    def _create(self, body: CreateOrganizationInput) -> tuple[dict[str, Any], str]:
        made = provisioning.create_organization(
            organization_id=body.organization_id,
            name=body.name,
            metadata=body.metadata,
            time_zone=body.time_zone or "UTC",
            default_team=body.default_team(),
            actor=self.caller.actor,
        )
        ids: dict[str, Any] = {"organization_id": made.organization.organization_id, "team_error": made.team_error}
        if made.team is None:
            return ids, ""
        return ids | {"team_id": made.team.team.team_id, "key_id": str(made.team.key.pk)}, made.team.secret

    def _created(self, ids: dict[str, Any], secret: str | None) -> dict[str, Any]:
        organization = present.organization(organizations.find(ids["organization_id"]), to_operator=True)
        if ids["team_error"] is not None:
            return organization | {"default_team": {"error": ids["team_error"]}}
        if "team_id" not in ids:
            return organization
        team = shown(teams.find(ids["team_id"])) | {"virtual_key": secret, "key_id": ids["key_id"]}
        return organization | {"default_team": team}


class OrganizationList(OperatorView):
    """GET /api/organizations: an array of the active ones, or with `status` of others (`all` for every one), narrowed
    by `q` (a part of the id or the name), `created_from` and `created_to`."""

    orders: ClassVar = {name: name for name in ("organization_id", "name", "status", "created_at")}

    rights = {"GET": Right.VIEW}

    def get(self, request: Request) -> Response:
        status = request.GET.get("status", Organization.Status.ACTIVE)
        if status not in (*STATUSES, "all"):
            raise query_error("status", f"Must be one of: {', '.join(STATUSES)}, all", kind="enum", value=status)
        matching = organizations.matching(
            status=None if status == "all" else status,
            text=query_text(request, "q"),
            created_from=query_instant(request, "created_from"),
            created_to=query_instant(request, "created_to"),
        )
        found = listed(request, matching, default=100, orders=self.orders)
        return found.array(present.organization(each, to_operator=True) for each in found.rows)


class UpdateOrganizationInput(Input):
    """What is to be different about an organization; what is left out stays."""

    time_zone: Text255 | None = None
    stores_content: bool | None = None
    content_retention_h: int | None = None


class OneOrganization(EitherView):
    """GET /api/organizations/{organization_id}: for operators, and for a key about its own; PUT for operators."""

    rights = {"GET": Right.VIEW, "PUT": Right.CUSTOMERS_WRITE}

    def authenticate_caller(self, request: Request) -> Caller:
        return by_operator(request) if request.method == "PUT" else super().authenticate_caller(request)

    def get(self, request: Request, organization_id: str) -> Response:
        principal = self.caller.principal
        if principal is not None and principal.organization.organization_id != organization_id:
            raise WrongTeam("Cannot access a different organization")
        found = organizations.find(organization_id)
        return Response(present.organization(found, to_operator=self.caller.is_operator))

    def put(self, request: Request, organization_id: str) -> Response:
        body = parse(UpdateOrganizationInput, request)
        with transaction.atomic():
            changed = self._change(organizations.find(organization_id), body)
        return Response(present.organization(changed, to_operator=True))

    def _change(self, organization: Organization, body: UpdateOrganizationInput) -> Organization:
        given = body.model_fields_set
        if not given:
            raise InvalidField("time_zone", "Give time_zone, stores_content or content_retention_h.")
        if body.time_zone is not None:
            organization = organizations.set_time_zone(organization, body.time_zone, actor=self.caller.actor)
        if given & {"stores_content", "content_retention_h"}:
            stores, hours = body.stores_content, body.content_retention_h
            organization = organizations.set_content_retention(
                organization,
                stores_content=organization.stores_content if stores is None else stores,
                retention_h=hours if "content_retention_h" in given else organization.content_retention_h,
                actor=self.caller.actor,
            )
        return organization


class OrganizationTeams(OperatorView):
    """GET /api/organizations/{organization_id}/teams: a page of them, with their true number."""

    rights = {"GET": Right.VIEW}

    def get(self, request: Request, organization_id: str) -> Response:
        require_page(request)
        organization = organizations.find(organization_id)
        found = teams_found(request, organization)
        shown = [present.team(each, to_operator=True) for each in facts(found.rows)]
        return Response({"organization_id": organization_id, "team_count": found.total} | found.body("teams", shown))


class _ChangesStatus(OperatorView):
    rights = {"PUT": Right.STATE_WRITE, "POST": Right.STATE_WRITE}

    def change(self, request: Request, organization_id: str, *, status: str, reason: str) -> Response:
        def effect() -> dict[str, Any]:
            before = organizations.find(organization_id)
            after = organizations.set_status(before, status=status, actor=self.caller.actor, reason=reason)
            return {
                "organization_id": organization_id,
                "status": status,
                "previous_status": before.status,
                "updated_at": iso(after.updated_at),
                "reason": reason or None,
            }

        return respond(self, request, effect=effect, render=self._answer)

    def _answer(self, ids: dict[str, Any], secret: str | None) -> dict[str, Any]:
        done = "resumed" if ids["status"] == Organization.Status.ACTIVE else "suspended"
        return ids | {"message": f"Organization '{ids['organization_id']}' has been {done}"}


class OrganizationStatus(_ChangesStatus):
    """PUT /api/organizations/{organization_id}/status"""

    def put(self, request: Request, organization_id: str) -> Response:
        body = parse(StatusInput, request)
        if body.status not in STATUSES:
            raise InvalidField("status", f"Must be one of: {', '.join(STATUSES)}", value=body.status[:100])
        return self.change(request, organization_id, status=body.status, reason=body.reason or "")


class _SetOrganizationStatus(_ChangesStatus):
    """PUT or POST; the reason is optional, and so is the body."""

    status: ClassVar[str]

    def put(self, request: Request, organization_id: str) -> Response:
        reason = parse(ReasonInput, request).reason or ""
        return self.change(request, organization_id, status=self.status, reason=reason)

    post = put


class SuspendOrganization(_SetOrganizationStatus):
    """/api/organizations/{organization_id}/suspend: blocks its teams as if each were suspended."""

    status = Organization.Status.SUSPENDED


class ResumeOrganization(_SetOrganizationStatus):
    """/api/organizations/{organization_id}/resume"""

    status = Organization.Status.ACTIVE
