"""Model groups: several models behind one name. For operators, but for `resolve`, which a team asks with its key."""

from typing import Annotated, Any

from pydantic import Field, StringConstraints
from rest_framework.request import Request
from rest_framework.response import Response

from apps.api import present_catalog as present
from apps.api.access_groups import UpdateGroupInput
from apps.api.aliases import CatalogName, Description, DisplayName, Provider, Route
from apps.api.authentication import EitherView, OperatorView
from apps.api.fields import query_choice, query_error, query_text
from apps.api.idempotent import respond
from apps.api.listing import GROUP_ORDERS, listed
from apps.api.parsing import Input, json_body, parse, validate
from apps.catalog import model_groups
from apps.catalog import services as catalog
from apps.catalog.errors import ModelNotAllowed
from apps.catalog.models import GroupStatus
from apps.organizations.rights import Right


class ModelInput(Input):
    """A model of a group: an alias, else a provider's model. The smallest priority is tried first."""

    model_name: Annotated[str, StringConstraints(min_length=1, max_length=255)]
    priority: Annotated[int, Field(ge=0, le=32_767)] = 0
    is_active: bool = True
    # Of a provider's model; an alias has its own.
    route: Route | None = None
    provider: Provider | None = None

    def member(self) -> model_groups.Member:
        return model_groups.Member(
            self.model_name, self.priority, self.is_active, route=self.route, provider=self.provider
        )


Models = Annotated[list[ModelInput], Field(max_length=100)]


class ModelsInput(Input):
    """All the models of a group."""

    models: Models


class CreateModelGroupInput(Input):
    """A model group to make; its name is shown when no other is given."""

    group_name: CatalogName
    display_name: DisplayName | None = None
    description: Description | None = None
    models: Models | None = None


class CreateModelGroup(OperatorView):
    """POST /api/model-groups/create"""

    rights = {"POST": Right.CATALOG_WRITE}

    def post(self, request: Request) -> Response:
        body = parse(CreateModelGroupInput, request)

        def effect() -> dict[str, Any]:
            made = model_groups.create(
                body.group_name,
                display_name=body.display_name or "",
                description=body.description or "",
                members=[model.member() for model in body.models or []],
                actor=self.caller.actor,
            )
            return {"group_name": made.name}

        def render(ids: dict[str, Any], secret: str | None) -> dict[str, Any]:
            return present.model_group(model_groups.find(ids["group_name"]))

        return respond(self, request, effect=effect, render=render)


class ModelGroupList(OperatorView):
    """GET /api/model-groups: an array, narrowed by `status` and `q`."""

    rights = {"GET": Right.VIEW}

    def get(self, request: Request) -> Response:
        status = query_choice(request, "status", GroupStatus.values)
        matching = model_groups.matching(status=status, text=query_text(request, "q"))
        found = listed(request, matching, default=100, orders=GROUP_ORDERS)
        return found.array(present.model_group(each) for each in found.rows)


class OneModelGroup(OperatorView):
    """GET, PUT and DELETE /api/model-groups/{group}"""

    rights = {"GET": Right.VIEW, "PUT": Right.CATALOG_WRITE, "DELETE": Right.CATALOG_WRITE}

    def get(self, request: Request, group: str) -> Response:
        return Response(present.model_group(model_groups.find(group)))

    def put(self, request: Request, group: str) -> Response:
        body = parse(UpdateGroupInput, request)
        changed = model_groups.update(
            group,
            display_name=body.display_name,
            description=body.description,
            status=body.status,
            actor=self.caller.actor,
        )
        return Response(present.model_group(changed))

    def delete(self, request: Request, group: str) -> Response:
        model_groups.delete(group, actor=self.caller.actor)
        return Response({"message": f"Model group '{group}' deleted successfully"})


class ModelGroupModels(OperatorView):
    """PUT /api/model-groups/{group}/models: an array, bare or under its name, which replaces all."""

    rights = {"PUT": Right.CATALOG_WRITE}

    def put(self, request: Request, group: str) -> Response:
        body = json_body(request)
        models = validate(ModelsInput, body if isinstance(body, dict) else {"models": body}).models
        changed = model_groups.update(group, members=[model.member() for model in models], actor=self.caller.actor)
        return Response({"group_name": group, "models": present.model_group(changed)["models"]})


class ResolveModelGroup(EitherView):
    """GET /api/model-groups/{group}/resolve?team_id=: what would answer; 200 too when the team may not use the group.

    The models are shown as operators named them in the group.
    """

    rights = {"GET": Right.VIEW}

    def get(self, request: Request, group: str) -> Response:
        team = self.team(self._team_id(request), refusal="Cannot resolve model group for a different team")
        principal = self.caller.principal
        model_groups.find(group)
        try:
            found = catalog.resolve_group(team, group, only=principal.models_allowed if principal else ())
        except ModelNotAllowed as refused:
            return Response(
                {
                    "group_name": group,
                    "primary_model": None,
                    "fallback_models": [],
                    "team_has_access": False,
                    "error": refused.message,
                }
            )
        return Response(
            {
                "group_name": group,
                "primary_model": found.alias,
                "fallback_models": [fallback.alias for fallback in found.fallbacks],
                "team_has_access": True,
            }
        )

    def _team_id(self, request: Request) -> str:
        team_id = query_text(request, "team_id")
        if team_id is None:
            raise query_error("team_id", "Field required", kind="missing")
        return team_id
