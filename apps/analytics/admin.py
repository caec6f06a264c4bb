"""Rollups to look at. Nothing here changes them: `manage.py rollups rebuild` does."""

from django.contrib import admin

from apps.analytics.models import Bucket, CustomerDay, LatencyBucket, RefusalBucket, Watermark
from apps.core.admin_base import ReadOnlyAdmin
from apps.core.admin_columns import credits_column, text_column, usd_column

_PLACE = ("starts_at", "level", "organization", "team", text_column("job_type"), text_column("model"))
_SEARCH: tuple[str, ...] = ("team__team_id__exact", "organization__organization_id__exact")
_HELP = "team id or organization id, each whole"


class _RollupAdmin(ReadOnlyAdmin):
    """Sums of a stretch of time at a level."""

    list_filter = ("level",)
    list_select_related = ("organization", "team")
    search_fields = _SEARCH
    search_help_text = _HELP
    ordering = ("-id",)


@admin.register(Bucket)
class BucketAdmin(_RollupAdmin):
    """Jobs, calls and credits of 15 minutes or a day."""

    list_display = (
        *_PLACE,
        "jobs_completed",
        "calls_succeeded",
        credits_column("charged_micros"),
        usd_column("provider_cost_nanousd"),
    )
    fields = (
        "id",
        *_PLACE,
        "jobs_completed",
        "jobs_failed",
        "jobs_cancelled",
        "calls_succeeded",
        "calls_failed",
        "calls_cancelled",
        "calls_expired",
        "unpriced_calls",
        "prompt_tokens",
        "completion_tokens",
        usd_column("provider_cost_nanousd"),
        usd_column("lost_cost_nanousd"),
        credits_column("sold_micros"),
        credits_column("given_micros"),
        credits_column("taken_back_micros"),
        credits_column("charged_micros"),
        credits_column("refunded_micros"),
        credits_column("expired_micros"),
        usd_column("revenue_nanousd"),
        credits_column("estimated_micros"),
    )


@admin.register(LatencyBucket)
class LatencyBucketAdmin(_RollupAdmin):
    """How long calls took."""

    list_display = (*_PLACE, "from_ms", "calls")
    fields = ("id", *_PLACE, "from_ms", "calls")


@admin.register(RefusalBucket)
class RefusalBucketAdmin(_RollupAdmin):
    """How many calls were refused, and why."""

    list_display = (*_PLACE, "code", "refusals")
    search_fields = (*_SEARCH, "code__exact")
    search_help_text = f"{_HELP}, or code"
    fields = ("id", *_PLACE, "code", "refusals")


@admin.register(CustomerDay)
class CustomerDayAdmin(ReadOnlyAdmin):
    """What keys did for end customers on a day."""

    list_display = (
        "day",
        "team",
        text_column("key_id"),
        text_column("user_id"),
        "calls_succeeded",
        credits_column("charged_micros"),
    )
    list_select_related = ("organization", "team")
    search_fields = (*_SEARCH, "key_id__exact", "user_id__exact")
    search_help_text = "team id, organization id, key id or end user, each whole"
    ordering = ("-id",)
    fields = (
        "id",
        "day",
        "organization",
        "team",
        text_column("key_id"),
        text_column("user_id"),
        "jobs_completed",
        "jobs_failed",
        "jobs_cancelled",
        "calls_succeeded",
        "calls_failed",
        "calls_cancelled",
        "calls_expired",
        "prompt_tokens",
        "completion_tokens",
        usd_column("provider_cost_nanousd"),
        credits_column("charged_micros"),
        credits_column("refunded_micros"),
    )


@admin.register(Watermark)
class WatermarkAdmin(ReadOnlyAdmin):
    """How far the rollups are filled."""

    list_display = ("name", "until", "filled_at")
    search_fields = ("name",)
    ordering = ("name",)
    fields = ("name", "until", "filled_at")
