"""Access groups, for operators: bundles of aliases that teams are given."""

from typing import Any, ClassVar, Literal

from rest_framework.request import Request
from rest_framework.response import Response

from apps.api import present_catalog as present
from apps.api.aliases import CatalogName, Description, DisplayName
from apps.api.authentication import OperatorView
from apps.api.fields import Names, names_of, query_choice, query_text
from apps.api.idempotent import respond
from apps.api.listing import GROUP_ORDERS, listed
from apps.api.parsing import Input, parse
from apps.catalog import access_groups
from apps.catalog.models import AccessGroup, GroupStatus
from apps.organizations.rights import Right


class CreateAccessGroupInput(Input):
    """An access group to make; its name is shown when no other is given."""

    group_name: CatalogName
    display_name: DisplayName | None = None
    description: Description | None = None
    model_aliases: Names | None = None


class UpdateGroupInput(Input):
    """What is to be different about a group; fields left out stay."""

    display_name: DisplayName | None = None
    description: Description | None = None
    status: Literal["active", "inactive"] | None = None


def shown(found: list[AccessGroup]) -> list[dict[str, Any]]:
    """Access groups as the wire has them. One query for all of them."""
    teams = access_groups.teams_using(found)
    return [present.access_group(each, teams_using=teams[each.pk]) for each in found]


class CreateAccessGroup(OperatorView):
    """POST /api/model-access-groups/create"""

    rights = {"POST": Right.CATALOG_WRITE}

    def post(self, request: Request) -> Response:
        body = parse(CreateAccessGroupInput, request)

        def effect() -> dict[str, Any]:
            made = access_groups.create(
                body.group_name,
                display_name=body.display_name or "",
                description=body.description or "",
                aliases=body.model_aliases or [],
                actor=self.caller.actor,
            )
            return {"group_name": made.name}

        return respond(self, request, effect=effect, render=_render)


class AccessGroupList(OperatorView):
    """GET /api/model-access-groups: an array, narrowed by `status` and `q`."""

    rights = {"GET": Right.VIEW}

    def get(self, request: Request) -> Response:
        status = query_choice(request, "status", GroupStatus.values)
        matching = access_groups.matching(status=status, text=query_text(request, "q"))
        found = listed(request, matching, default=100, orders=GROUP_ORDERS)
        return found.array(shown(found.rows))


class OneAccessGroup(OperatorView):
    """GET, PUT and DELETE /api/model-access-groups/{group}"""

    rights = {"GET": Right.VIEW, "PUT": Right.CATALOG_WRITE, "DELETE": Right.CATALOG_WRITE}

    def get(self, request: Request, group: str) -> Response:
        return Response(shown([access_groups.find(group)])[0])

    def put(self, request: Request, group: str) -> Response:
        body = parse(UpdateGroupInput, request)
        changed = access_groups.update(
            group,
            display_name=body.display_name,
            description=body.description,
            status=body.status,
            actor=self.caller.actor,
        )
        return Response(shown([changed])[0])

    def delete(self, request: Request, group: str) -> Response:
        access_groups.delete(group, actor=self.caller.actor)
        return Response({"message": f"Model access group '{group}' deleted successfully"})


class AccessGroupModels(OperatorView):
    """PUT /api/model-access-groups/{group}/models: an array, bare or under its name, which replaces all."""

    rights = {"PUT": Right.CATALOG_WRITE}

    def put(self, request: Request, group: str) -> Response:
        names = names_of(request, "model_aliases")
        return Response(shown([access_groups.update(group, aliases=names, actor=self.caller.actor)])[0])


class _ChangesModels(OperatorView):
    rights = {"POST": Right.CATALOG_WRITE}

    change: ClassVar[Literal["add", "remove"]]

    def post(self, request: Request, group: str) -> Response:
        names = names_of(request, "model_aliases")

        def effect() -> dict[str, Any]:
            added, removed = (names, []) if self.change == "add" else ([], names)
            access_groups.update(group, add=added, remove=removed, actor=self.caller.actor)
            return {"group_name": group}

        return respond(self, request, effect=effect, render=_render)


class AddModels(_ChangesModels):
    """POST /api/model-access-groups/{group}/add-models"""

    change = "add"


class RemoveModels(_ChangesModels):
    """POST /api/model-access-groups/{group}/remove-models"""

    change = "remove"


def _render(ids: dict[str, Any], secret: str | None) -> dict[str, Any]:
    return shown([access_groups.find(ids["group_name"])])[0]
