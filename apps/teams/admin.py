"""A team's own rows: list, names, state. Registered by `provisioning.admin`, which adds what spans more apps:
a team is made with its key and wallet."""

from typing import Any, ClassVar

from django.contrib import admin, messages
from django.db.models import QuerySet
from django.http import HttpRequest, HttpResponse

from apps.core.admin_base import PlainAdmin, actor_of, is_confirmed
from apps.core.admin_columns import text_column
from apps.core.admin_forms import ReasonForm
from apps.core.errors import DomainError
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
    actions = ("suspend", "pause", "resume")
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

    @admin.action(description="Suspend selected %(verbose_name_plural)s", permissions=["change"])
    def suspend(self, request: HttpRequest, queryset: QuerySet[Team]) -> HttpResponse | None:
        return self._set_status(request, queryset, "suspend", Team.Status.SUSPENDED)

    @admin.action(description="Pause selected %(verbose_name_plural)s", permissions=["change"])
    def pause(self, request: HttpRequest, queryset: QuerySet[Team]) -> HttpResponse | None:
        return self._set_status(request, queryset, "pause", Team.Status.PAUSED)

    @admin.action(description="Resume selected %(verbose_name_plural)s", permissions=["change"])
    def resume(self, request: HttpRequest, queryset: QuerySet[Team]) -> HttpResponse | None:
        return self._set_status(request, queryset, "resume", Team.Status.ACTIVE)

    def _set_status(
        self, request: HttpRequest, queryset: QuerySet[Team], verb: str, status: str
    ) -> HttpResponse | None:
        note = (
            "They may open jobs and start calls again, if their organization is active."
            if status == Team.Status.ACTIVE
            else "They open no job and start no call until they are resumed. Open jobs can be completed and read."
        )
        form = ReasonForm(request.POST if is_confirmed(request) else None)
        page = self.ask(request, queryset, form, action=verb, title=f"{verb.capitalize()} teams", note=note)
        if page is not None:
            return page
        for team in queryset:
            try:
                services.set_status(team, status=status, actor=actor_of(request), reason=form.cleaned_data["reason"])
            except DomainError as error:
                messages.error(request, error.message)
            else:
                messages.success(request, f"{team.team_id} is {status}.")
        return None
