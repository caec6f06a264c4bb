"""Jobs, calls and attempts to read. What was asked and answered is never shown: of a payload only its sizes and
when it is forgotten."""

from typing import Any

from django.contrib import admin
from django.db.models import Func, IntegerField, QuerySet
from django.http import HttpRequest

from apps.core.admin_base import PageLink, ReadOnlyAdmin, link_to_list
from apps.core.admin_columns import credits_column, json_column, text_column, usd_column
from apps.jobs.models import Attempt, Call, CallPayload, Job


@admin.register(Job)
class JobAdmin(ReadOnlyAdmin):
    """One business operation: its calls, what they cost, what was charged."""

    list_display = (
        "created_at",
        "id",
        "team",
        text_column("job_type"),
        "status",
        "charge_state",
        credits_column("charged_micros"),
        credits_column("held_micros"),
        "total_calls",
        "failed_calls",
        usd_column("provider_cost_nanousd"),
    )
    list_display_links = ("created_at", "id")
    list_filter = ("status", "charge_state", ("created_at", admin.DateFieldListFilter))
    list_select_related = ("team",)
    search_fields = ("team__team_id__exact", "organization__organization_id__exact", "user_id__exact")
    search_help_text = "job id, team id, organization id or end user, each whole"
    uuid_search_fields = ("id",)
    date_hierarchy = "created_at"
    fieldsets = (
        (
            None,
            {
                "fields": (
                    "id",
                    "organization",
                    "team",
                    "key_id",
                    "job_type",
                    "user_id",
                    "status",
                    "paused_reason",
                    "error_message",
                    json_column("model_groups_used", "models asked for"),
                    json_column("metadata"),
                )
            },
        ),
        (
            "Money",
            {
                "fields": (
                    "charge_state",
                    credits_column("charged_micros"),
                    credits_column("held_micros"),
                    credits_column("uncollected_micros"),
                    credits_column("max_micros"),
                    "reserves_ceiling",
                    "on_cap",
                    usd_column("provider_cost_nanousd"),
                    usd_column("lost_cost_nanousd", "cost of failed attempts"),
                    "unpriced_calls",
                    usd_column("billed_lost_nanousd", "of it beyond what the card includes"),
                    usd_column("open_bound_nanousd", "most that open calls can cost"),
                    json_column("terms", "pricing, frozen at the first call"),
                )
            },
        ),
        (
            "Work",
            {
                "fields": (
                    "total_calls",
                    "open_calls",
                    "successful_calls",
                    "failed_calls",
                    "prompt_tokens",
                    "completion_tokens",
                    "open_bound_tokens",
                    json_column("spend_windows", "spend windows it counts in"),
                    "pending_metadata_bytes",
                    "latency_total_ms",
                )
            },
        ),
        ("Times", {"fields": ("created_at", "started_at", "completed_at", "active_at", "deadline_at", "closed_by")}),
    )

    def page_links(self, obj: Job) -> list[PageLink]:
        return [
            link_to_list("Calls", "jobs.call", job__id__exact=obj.pk),
            link_to_list("Holds", "credits.hold", job__exact=obj.pk),
            link_to_list("Ledger entries", "credits.entry", cause=obj.pk, range="all"),
        ]


@admin.register(Call)
class CallAdmin(ReadOnlyAdmin):
    """One logical request to a model, and what the customer was told when it failed."""

    list_display = (
        "created_at",
        "id",
        "team",
        "state",
        text_column("model_group_used", "asked for"),
        text_column("provider_model"),
        "prompt_tokens",
        "completion_tokens",
        usd_column("provider_cost_nanousd"),
        "latency_ms",
        "error_code",
    )
    list_display_links = ("created_at", "id")
    list_filter = (
        "state",
        "price_source",
        "is_estimated",
        "usage_mismatch",
        "route",
        ("created_at", admin.DateFieldListFilter),
    )
    list_select_related = ("team",)
    search_fields = ("team__team_id__exact", "model_group_used__exact", "error_code__exact")
    search_help_text = "call id, job id, team id, model or error code, each whole"
    uuid_search_fields = ("id", "job")
    date_hierarchy = "created_at"
    ordering = ("-created_at", "-id")
    fieldsets = (
        (
            None,
            {
                "fields": (
                    "id",
                    "job",
                    "organization",
                    "team",
                    "state",
                    "purpose",
                    "completes_job",
                    "error_code",
                    "error_status",
                    "error_message",
                    "retry_after_s",
                )
            },
        ),
        (
            "Model and cost",
            {
                "fields": (
                    "model_group_used",
                    "model_used",
                    "route",
                    "provider",
                    "provider_model",
                    "resolved_model",
                    usd_column("input_nanousd_per_mtok", "input per million tokens"),
                    usd_column("output_nanousd_per_mtok", "output per million tokens"),
                    "price_source",
                    "price_id",
                    "prompt_tokens",
                    "completion_tokens",
                    json_column("usage_classes", "tokens by class"),
                    usd_column("provider_cost_nanousd"),
                    "is_estimated",
                    "usage_mismatch",
                    "max_output_tokens",
                    "bound_input_tokens",
                    "bound_output_tokens",
                    usd_column("bound_nanousd", "most that it can cost"),
                    "latency_ms",
                )
            },
        ),
        (
            "Delivery",
            {
                "fields": (
                    "claim",
                    "claimed_by",
                    "lease_until",
                    "deadline_at",
                    "wait_until",
                    "next_publish_at",
                    "publishes",
                    "reply_to",
                    "fingerprint",
                    "unanswered_at",
                    "created_at",
                    "started_at",
                    "ended_at",
                )
            },
        ),
    )

    def page_links(self, obj: Call) -> list[PageLink]:
        return [
            link_to_list("Attempts", "jobs.attempt", call__id__exact=obj.pk),
            link_to_list("Payload sizes", "jobs.callpayload", call__id__exact=obj.pk),
        ]


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


class _Bytes(Func):
    """The stored size of text in bytes, measured by the database so that the text never leaves it."""

    template = "LENGTH(CAST(%(expressions)s AS BLOB))"
    output_field = IntegerField()

    def as_postgresql(self, compiler: Any, connection: Any) -> Any:
        return self.as_sql(compiler, connection, template="OCTET_LENGTH(%(expressions)s)")


_CONTENTS = ("request", "response", "call_metadata")


@admin.register(CallPayload)
class CallPayloadAdmin(ReadOnlyAdmin):
    """That a payload exists, how large it is and when it is forgotten. Its text is not even read."""

    list_display = ("call", "request_bytes", "response_bytes", "call_metadata_bytes", "expires_at")
    list_filter = (("expires_at", admin.DateFieldListFilter), ("expires_at", admin.EmptyFieldListFilter))
    list_select_related = ("call",)
    search_fields = ("call__team__team_id__exact",)
    search_help_text = "call id, job id or team id, each whole"
    uuid_search_fields = ("call", "call__job")
    hidden_fields = _CONTENTS
    ordering = ("-call_id",)
    fields = ("call", "request_bytes", "response_bytes", "call_metadata_bytes", "expires_at")

    def get_queryset(self, request: HttpRequest) -> QuerySet[Any]:
        sizes = {f"{name}_bytes": _Bytes(name) for name in _CONTENTS}
        sized: QuerySet[Any] = super().get_queryset(request).defer(*_CONTENTS).annotate(**sizes)
        return sized

    @admin.display(description="request (bytes)")
    def request_bytes(self, payload: Any) -> int:
        return int(payload.request_bytes)

    @admin.display(description="response (bytes)")
    def response_bytes(self, payload: Any) -> int:
        return int(payload.response_bytes)

    @admin.display(description="call metadata (bytes)")
    def call_metadata_bytes(self, payload: Any) -> int:
        return int(payload.call_metadata_bytes)
