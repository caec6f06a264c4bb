"""Limits are set, raised and deleted through their services; spend windows are to read."""

from typing import Any

from django import forms
from django.contrib import admin, messages
from django.contrib.admin.widgets import AdminSplitDateTime
from django.core.exceptions import PermissionDenied
from django.db.models import QuerySet
from django.http import HttpRequest, HttpResponse, HttpResponseRedirect

from apps.core.admin_base import PlainAdmin, ReadOnlyAdmin, actor_of, is_confirmed
from apps.core.admin_columns import credits_column, text_column
from apps.core.errors import DomainError
from apps.limits import services
from apps.limits.models import Limit, Metric, Scope, SpendWindow

_TEXT = {"class": "vTextField"}


class PutLimit(forms.Form):
    """A limit to set, in the place of the one there was."""

    scope = forms.ChoiceField(choices=Scope.choices)
    id = forms.CharField(
        required=False,
        max_length=255,
        help_text="of an organization, team, key, model or end user; none for the platform or all users of a team",
        widget=forms.TextInput(attrs=_TEXT),
    )
    team_id = forms.CharField(
        required=False, max_length=255, help_text="an end user's team", widget=forms.TextInput(attrs=_TEXT)
    )
    metric = forms.ChoiceField(choices=Metric.choices)
    amount = forms.IntegerField(min_value=0, help_text="spend in millionths of a credit")


class RaiseLimit(forms.Form):
    """Another amount for a time."""

    amount = forms.IntegerField(min_value=0, help_text="spend in millionths of a credit")
    until = forms.SplitDateTimeField(widget=AdminSplitDateTime, help_text="in UTC")
    reason = forms.CharField(max_length=500, required=False, widget=forms.TextInput(attrs=_TEXT))


@admin.register(Limit)
class LimitAdmin(PlainAdmin):
    audit_kind = "limit"
    is_deletable = True
    list_display = ("__str__", "scope", "metric", "amount", "raised_to", "raised_until", "team")
    list_filter = ("scope", "metric")
    list_select_related = ("team", "organization")
    search_fields = ("subject", "team__team_id__exact", "organization__organization_id__exact")
    search_help_text = "id of what is limited, or the whole id of its team or organization"
    ordering = ("scope", "subject", "metric")
    actions = ("raise_for_a_time",)
    fields = (
        "scope",
        "subject",
        "organization",
        "team",
        "metric",
        "amount",
        "raised_to",
        "raised_until",
        "raise_reason",
        "raised_by",
        "created_at",
        "updated_at",
    )

    def get_readonly_fields(self, request: HttpRequest, obj: Any = None) -> Any:
        return tuple(name for name in self.fields if name != "amount")

    def add_view(
        self, request: HttpRequest, form_url: str = "", extra_context: dict[str, Any] | None = None
    ) -> HttpResponse:
        if not self.has_add_permission(request):
            raise PermissionDenied
        form = PutLimit(request.POST or None)

        def act() -> HttpResponse:
            limit, _ = services.put(**form.cleaned_data, actor=actor_of(request))
            messages.success(request, f"{limit}: {limit.amount}.")
            return HttpResponseRedirect(self.object_url(limit))

        return self.service_form(request, form, title="Set limit", submit="Set limit", act=act)

    def save_model(self, request: HttpRequest, obj: Limit, form: Any, change: bool) -> None:
        services.change(obj.pk, amount=obj.amount, actor=actor_of(request))

    def delete_model(self, request: HttpRequest, obj: Limit) -> None:
        services.delete(obj.pk, actor=actor_of(request))

    def delete_queryset(self, request: HttpRequest, queryset: QuerySet[Limit]) -> None:
        for limit in queryset:
            self.delete_model(request, limit)

    @admin.action(description="Raise selected %(verbose_name_plural)s for a time", permissions=["change"])
    def raise_for_a_time(self, request: HttpRequest, queryset: QuerySet[Limit]) -> HttpResponse | None:
        form = RaiseLimit(request.POST if is_confirmed(request) else None)
        note = "Until then they allow this amount, afterwards their own again."
        page = self.ask(request, queryset, form, action="raise_for_a_time", title="Raise limits", note=note)
        if page is not None:
            return page
        for limit in queryset:
            try:
                services.raise_(limit.pk, **form.cleaned_data, actor=actor_of(request))
            except DomainError as error:
                messages.error(request, error.message)
            else:
                messages.success(request, f"{limit} is raised.")
        return None


@admin.register(SpendWindow)
class SpendWindowAdmin(ReadOnlyAdmin):
    """What of each period with a spend limit is used and held."""

    list_display = (
        "period",
        "scope",
        text_column("subject"),
        "metric",
        credits_column("used_micros"),
        credits_column("held_micros"),
        "ends_at",
    )
    list_filter = ("scope", "metric")
    search_fields = ("subject", "period")
    ordering = ("-id",)
    fields = (
        "id",
        "scope",
        "subject",
        "metric",
        "period",
        "ends_at",
        credits_column("used_micros"),
        credits_column("held_micros"),
    )
