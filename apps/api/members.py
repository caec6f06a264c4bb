"""Members of an organization: who they are, invite, change a role, remove."""

from typing import Any

from rest_framework.request import Request
from rest_framework.response import Response

from apps.api import present_people as present
from apps.api.authentication import OperatorView, Partly
from apps.api.fields import Label
from apps.api.idempotent import respond
from apps.api.listing import listed, require_page
from apps.api.operators import Email, Role
from apps.api.parsing import Input, parse
from apps.organizations import members
from apps.organizations import services as organizations
from apps.organizations.rights import Right

_ORDERS = {"email": "user__email", "role": "role", "created_at": "created_at"}
# What `rights.LIMITED` leaves to support is members alone, so all of this lies within it.
_WRITES = Partly(Right.CUSTOMERS_WRITE)


class InviteInput(Input):
    """Whom to give a place; who is new signs in once they have set a password."""

    email: Email
    role: Role
    display_name: Label | None = None


class ChangeMemberInput(Input):
    """What is to be different about a member."""

    role: Role


class MemberList(OperatorView):
    """GET and POST /api/organizations/{organization_id}/members"""

    rights = {"GET": Right.VIEW, "POST": _WRITES}

    def get(self, request: Request, organization_id: str) -> Response:
        require_page(request)
        matching = members.listing(organizations.find(organization_id))
        found = listed(request, matching, default=100, orders=_ORDERS)
        return found.array(present.member(each) for each in found.rows)

    def post(self, request: Request, organization_id: str) -> Response:
        body = parse(InviteInput, request)

        def effect() -> dict[str, Any]:
            member = members.invite(
                organizations.find(organization_id),
                email=body.email,
                role=body.role,
                display_name=body.display_name or "",
                actor=self.caller.actor,
            )
            return {"user_id": str(member.user.public_id)}

        def render(ids: dict[str, Any], _: str | None) -> dict[str, Any]:
            return present.member(members.find(organizations.find(organization_id), ids["user_id"]))

        return respond(self, request, effect=effect, render=render)


class OneMember(OperatorView):
    """GET, PATCH and DELETE /api/organizations/{organization_id}/members/{user_id}"""

    rights = {"GET": Right.VIEW, "PATCH": _WRITES, "DELETE": _WRITES}

    def get(self, request: Request, organization_id: str, user_id: str) -> Response:
        return Response(present.member(members.find(organizations.find(organization_id), user_id)))

    def patch(self, request: Request, organization_id: str, user_id: str) -> Response:
        body = parse(ChangeMemberInput, request)
        member = members.find(organizations.find(organization_id), user_id)
        return Response(present.member(members.set_role(member, body.role, actor=self.caller.actor)))

    def delete(self, request: Request, organization_id: str, user_id: str) -> Response:
        members.remove(members.find(organizations.find(organization_id), user_id), actor=self.caller.actor)
        return Response({"message": "Member removed"})
