"""A team's own rows: list, names, state. Registered by `provisioning.admin`, which adds what spans more apps:
a team is made with its key and wallet."""

from typing import Any, ClassVar

from django.contrib import admin
from django.http import HttpRequest

from apps.core.admin_base import PlainAdmin, actor_of
from apps.core.admin_columns import text_column
from apps.teams import services
from apps.teams.models import Team


class TeamRows(PlainAdmin):
    """A team is suspended, paused and resumed, never deleted; its id and organization stay for ever."""

    audit_kind = "team"
    list_display: Any = ("team_id", text_column("alias"), "organization", "status", "created_at")
    list_filter = ("status", ("created_at", admin.DateFieldListFilter))
    list_select_related = ("organization",)
    search_fields = ("team_id", "alias", "organization__organization_id")
    ordering = ("team_id",)
    fields: ClassVar[Any] = (
        "team_id",
        "organization",
        "alias",
        "status",
        "status_reason",
        "metadata",
        "created_at",
        "updated_at",
    )
    readonly_fields: ClassVar[Any] = (
        "team_id",
        "organization",
        "status",
        "status_reason",
        "created_at",
        "updated_at",
    )

    def audit_id(self, obj: Team) -> str:
        return obj.team_id

    def save_model(self, request: HttpRequest, obj: Team, form: Any, change: bool) -> None:
        services.update(obj, actor=actor_of(request), alias=obj.alias, metadata=obj.metadata)
