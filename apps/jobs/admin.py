"""Attempts to read. Jobs, calls and what was asked and answered are pages of the console (`apps/console`)."""

from django.contrib import admin

from apps.core.admin_base import ReadOnlyAdmin
from apps.core.admin_columns import text_column, usd_column
from apps.jobs.models import Attempt


@admin.register(Attempt)
class AttemptAdmin(ReadOnlyAdmin):
    """One try at a provider within a claim."""

    list_display = (
        "started_at",
        "call",
        "claim",
        "state",
        text_column("provider_model"),
        "prompt_tokens",
        "completion_tokens",
        usd_column("cost_nanousd"),
        "latency_ms",
        "error_code",
        "worker",
    )
    list_filter = ("state", "is_estimated", "route", ("started_at", admin.DateFieldListFilter))
    list_select_related = ("call",)
    search_fields = ("worker__exact", "error_code__exact")
    search_help_text = "attempt id, call id, job id, worker or error code, each whole"
    uuid_search_fields = ("id", "call", "call__job")
    ordering = ("-started_at", "-id")
    fields = (
        "id",
        "call",
        "claim",
        "state",
        "route",
        "provider_model",
        "worker",
        "prompt_tokens",
        "completion_tokens",
        usd_column("cost_nanousd"),
        "is_estimated",
        "usage_mismatch",
        "raw_usage",
        "latency_ms",
        "error_code",
        "started_at",
        "ended_at",
    )
