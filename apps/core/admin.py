"""Events, idempotency keys and processes, all to read."""

from django.contrib import admin

from apps.core.admin_base import ReadOnlyAdmin
from apps.core.admin_columns import json_column, text_column
from apps.core.models import Event, IdempotencyKey, Process, Setting


@admin.register(Event)
class EventAdmin(ReadOnlyAdmin):
    """The outbox: what happened, for whoever delivers it."""

    list_display = ("created_at", "kind", "subject", "organization_id", "team_id")
    list_filter = (("created_at", admin.DateFieldListFilter),)
    search_fields = ("^kind", "^subject", "=team_id", "=organization_id")
    search_help_text = "kind or subject (from its start), team id or organization id"
    date_hierarchy = "created_at"
    ordering = ("-created_at", "-id")
    fields = ("id", "created_at", "kind", "organization_id", "team_id", "subject", json_column("data"))


@admin.register(IdempotencyKey)
class IdempotencyKeyAdmin(ReadOnlyAdmin):
    """Requests that had their effect. The kept secret of an answer is shown to nobody."""

    list_display = ("created_at", "scope", text_column("key"), "fingerprint")
    list_filter = (("created_at", admin.DateFieldListFilter),)
    search_fields = ("=scope", "=key")
    search_help_text = "scope (e.g. team:acme) or key"
    hidden_fields = ("secret",)
    ordering = ("-created_at", "-id")
    fields = ("id", "created_at", "scope", "key", "fingerprint", json_column("result"))


@admin.register(Process)
class ProcessAdmin(ReadOnlyAdmin):
    """Serving processes and the sweeper, and when they last said that they live."""

    list_display = ("name", "kind", "started_at", "seen_at")
    list_filter = ("kind",)
    search_fields = ("name",)
    ordering = ("-seen_at",)
    fields = ("name", "kind", "started_at", "seen_at")


@admin.register(Setting)
class SettingAdmin(ReadOnlyAdmin):
    """What operators set while the platform runs."""

    list_display = ("name", "version", "updated_at")
    search_fields = ("name",)
    ordering = ("name",)
    fields = ("name", json_column("value"), "version", "updated_at")
