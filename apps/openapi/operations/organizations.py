"""Customers."""

from apps.api.fields import ReasonInput
from apps.api.organizations import STATUSES, CreateOrganizationInput, StatusInput, UpdateOrganizationInput
from apps.api.provision import ProvisionInput
from apps.openapi import parameters
from apps.openapi.answers.organizations import Organization, OrganizationStatusChanged, OrganizationTeams, Provisioned
from apps.openapi.operation import OPERATORS, Operation
from apps.openapi.operations.teams import TEAMS
from apps.openapi.responses import ARRAY_HEADERS

TAG = "Organizations"

OPERATIONS = {
    "POST /api/provision": Operation(
        "Provision a customer: organization, team, models, credits and key at once",
        answer=Provisioned,
        body=ProvisionInput,
        idempotent=True,
        errors=(400, 404),
    ),
    "GET /api/organizations": Operation(
        "List organizations",
        answer=list[Organization],
        query=(
            parameters.SEARCH,
            parameters.instant("created_from", "Only those created at this instant or later."),
            parameters.instant("created_to", "Only those created before this instant."),
            parameters.order("organization_id", "name", "status", "created_at"),
            parameters.choice("status", "Only those of this status; active ones without it.", (*STATUSES, "all")),
            *parameters.page(100),
        ),
        headers=ARRAY_HEADERS,
    ),
    "POST /api/organizations/create": Operation(
        "Create an organization with its first team",
        answer=Organization,
        body=CreateOrganizationInput,
        idempotent=True,
        errors=(400,),
    ),
    "GET /api/organizations/{organization_id}": Operation("Show an organization", answer=Organization),
    "PUT /api/organizations/{organization_id}": Operation(
        "Change an organization", answer=Organization, body=UpdateOrganizationInput, security=OPERATORS
    ),
    "GET /api/organizations/{organization_id}/teams": Operation(
        "List an organization's teams", answer=OrganizationTeams, query=(*TEAMS,)
    ),
    "PUT /api/organizations/{organization_id}/status": Operation(
        "Set an organization's status", answer=OrganizationStatusChanged, body=StatusInput
    ),
    "POST /api/organizations/{organization_id}/suspend": Operation(
        "Suspend an organization", answer=OrganizationStatusChanged, body=ReasonInput, idempotent=True
    ),
    "PUT /api/organizations/{organization_id}/suspend": Operation(
        "Suspend an organization", answer=OrganizationStatusChanged, body=ReasonInput
    ),
    "POST /api/organizations/{organization_id}/resume": Operation(
        "Resume an organization", answer=OrganizationStatusChanged, body=ReasonInput, idempotent=True
    ),
    "PUT /api/organizations/{organization_id}/resume": Operation(
        "Resume an organization", answer=OrganizationStatusChanged, body=ReasonInput
    ),
}
