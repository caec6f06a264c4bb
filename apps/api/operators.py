"""Operators and their tokens. A token's secret is in one answer and nowhere else."""

from typing import Annotated, Any

from pydantic import Field
from rest_framework.request import Request
from rest_framework.response import Response

from apps.api import present_people as present
from apps.api.authentication import OperatorView, Partly
from apps.api.fields import FutureInstant, Label, Names
from apps.api.idempotent import respond
from apps.api.listing import listed, require_page
from apps.api.parsing import Input, parse
from apps.organizations import operators, tokens
from apps.organizations.operators import Change
from apps.organizations.rights import Right

_ORDERS = {"last_login_at": "last_login"} | {name: name for name in ("email", "role", "created_at")}
_TOKEN_ORDERS = {name: name for name in ("name", "expires_at", "created_at")}
Email = Annotated[str, Field(max_length=254)]
Role = Annotated[str, Field(max_length=32)]
Zone = Annotated[str, Field(max_length=64)]


class NewOperatorInput(Input):
    """An operator to name; they sign in once they have set a password."""

    email: Email
    role: Role
    display_name: Label | None = None
    time_zone: Zone | None = None


class ChangeOperatorInput(Input):
    """What is to be different about an operator; fields left out stay."""

    role: Role | None = None
    is_active: bool | None = None
    display_name: Label | None = None
    time_zone: Zone | None = None


class IssueTokenInput(Input):
    """A token to issue. Without scopes it can do what its operator can."""

    name: Label
    scopes: Names | None = None
    expires_at: FutureInstant | None = None


class OperatorList(OperatorView):
    """GET and POST /api/operators"""

    rights = {"GET": Right.VIEW, "POST": Partly(Right.OPERATORS_WRITE)}

    def get(self, request: Request) -> Response:
        found = listed(request, operators.listing(), default=100, orders=_ORDERS)
        return found.array(present.operator(each) for each in found.rows)

    def post(self, request: Request) -> Response:
        body = parse(NewOperatorInput, request)

        def effect() -> dict[str, Any]:
            user = operators.create(
                email=body.email,
                role=body.role,
                display_name=body.display_name or "",
                time_zone=body.time_zone or "",
                by=self.caller.as_operator,
            )
            return {"user_id": str(user.public_id)}

        return respond(
            self, request, effect=effect, render=lambda ids, _: present.operator(operators.find(ids["user_id"]))
        )


class OneOperator(OperatorView):
    """GET and PATCH /api/operators/{user_id}; `is_active: false` ends their tokens and sessions at once."""

    rights = {"GET": Right.VIEW, "PATCH": Partly(Right.OPERATORS_WRITE)}

    def get(self, request: Request, user_id: str) -> Response:
        return Response(present.operator(operators.find(user_id)))

    def patch(self, request: Request, user_id: str) -> Response:
        body = parse(ChangeOperatorInput, request)
        change = Change(**body.model_dump())
        return Response(
            present.operator(operators.change(operators.find(user_id), change, by=self.caller.as_operator))
        )


class OperatorTokens(OperatorView):
    """GET and POST /api/operators/{user_id}/tokens"""

    rights = {"GET": Right.VIEW, "POST": Partly(Right.OPERATORS_WRITE)}

    def get(self, request: Request, user_id: str) -> Response:
        require_page(request)
        found = listed(request, tokens.listing(operators.find(user_id)), default=100, orders=_TOKEN_ORDERS)
        return found.array(present.token(each) for each in found.rows)

    def post(self, request: Request, user_id: str) -> Response:
        body = parse(IssueTokenInput, request)

        def effect() -> tuple[dict[str, Any], str]:
            token, secret = tokens.issue(
                operators.find(user_id),
                by=self.caller.as_operator,
                name=body.name,
                scopes=body.scopes or (),
                expires_at=body.expires_at,
            )
            return {"user_id": user_id, "token_id": str(token.pk)}, secret

        return respond(self, request, effect=effect, render=_with_secret)


class OneOperatorToken(OperatorView):
    """DELETE /api/operators/{user_id}/tokens/{token_id}: revoke it, now."""

    rights = {"DELETE": Partly(Right.OPERATORS_WRITE)}

    def delete(self, request: Request, user_id: str, token_id: str) -> Response:
        token = tokens.revoke(tokens.find(operators.find(user_id), token_id), by=self.caller.as_operator)
        return Response(present.token(token) | {"message": "Token revoked"})


class Me(OperatorView):
    """GET /api/me: who calls, by what, and what they may do."""

    rights = {"GET": None}

    def get(self, request: Request) -> Response:
        caller = self.caller.as_operator
        return Response(
            {
                "kind": "operator_token" if caller.user else "master_key",
                "operator": present.operator(caller.user) if caller.user else None,
                "token_prefix": caller.actor.via or None,
                "role": caller.role,
                "scopes": list(caller.scopes),
                "rights": caller.held(),
            }
        )


def _with_secret(ids: dict[str, Any], secret: str | None) -> dict[str, Any]:
    token = tokens.find(operators.find(ids["user_id"]), ids["token_id"])
    return present.token(token) | {"user_id": ids["user_id"], "token": secret}
