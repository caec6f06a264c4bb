"""Limits and spend windows to read. Limits are set on the console's pages, /admin/limit/<id>/."""

from typing import Any

from django.contrib import admin
from django.http import HttpRequest, HttpResponse, HttpResponseRedirect
from django.urls import reverse

from apps.core.admin_base import ReadOnlyAdmin
from apps.core.admin_columns import credits_column, text_column
from apps.limits.models import Limit, SpendWindow


@admin.register(Limit)
class LimitAdmin(ReadOnlyAdmin):
    """Its list and its page are the console's; an address of before leads there."""

    audit_kind = "limit"
    fields = ("scope", "subject", "metric", "amount")

    def change_view(
        self, request: HttpRequest, object_id: str, form_url: str = "", extra_context: dict[str, Any] | None = None
    ) -> HttpResponse:
        if request.method == "GET" and self.get_object(request, object_id) is not None:
            return HttpResponseRedirect(reverse("admin:limit", kwargs={"limit_id": object_id}))
        return super().change_view(request, object_id, form_url, extra_context)


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
