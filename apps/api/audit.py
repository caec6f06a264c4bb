"""The audit log, for operators: who did what, and who was refused what."""

from rest_framework.request import Request
from rest_framework.response import Response

from apps.analytics import audit_log
from apps.analytics.audit_log import Wanted
from apps.api import present_people as present
from apps.api.authentication import OperatorView
from apps.api.fields import query_choice, query_text
from apps.api.instants import query_instant
from apps.api.listing import page
from apps.organizations import services as organizations
from apps.organizations.rights import Right


class AuditList(OperatorView):
    """GET /api/audit: newest first; `from` is inclusive, `to` is not."""

    rights = {"GET": Right.VIEW}

    def get(self, request: Request) -> Response:
        limit, offset = page(request, default=50)
        # One more than is shown says whether there are more: they are too many to be counted.
        found = list(audit_log.entries(_wanted(request))[offset : offset + limit + 1])
        return Response(
            {"entries": [present.audit_entry(each) for each in found[:limit]], "has_more": len(found) > limit}
        )


class OneAuditEntry(OperatorView):
    """GET /api/audit/{audit_id}"""

    rights = {"GET": Right.VIEW}

    def get(self, request: Request, audit_id: str) -> Response:
        return Response(present.audit_entry(audit_log.find(audit_id)))


def _wanted(request: Request) -> Wanted:
    organization_id = query_text(request, "organization_id")
    refused = query_choice(request, "refused", ("true", "false"))
    return Wanted(
        actor=query_text(request, "actor"),
        action=query_text(request, "action"),
        object_kind=query_text(request, "object_kind"),
        object_id=query_text(request, "object_id"),
        address=query_text(request, "address"),
        organization=organizations.find(organization_id) if organization_id else None,
        refused=None if refused is None else refused == "true",
        since=query_instant(request, "from"),
        until=query_instant(request, "to"),
    )
