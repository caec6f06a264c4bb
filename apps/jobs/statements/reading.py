"""What answers show."""

from apps.core.prepared import Select, any_of, param
from apps.jobs.models import Call

TEAM_CALL: Select[Call] = Select(
    lambda: (
        Call.objects.select_related("payload", "job")
        .defer("payload__request", "payload__call_metadata")
        .filter(pk=param("id", Call), job=param("job", Call), team=param("team", Call))
    )
)

_SHOWN_OF_CALL = (
    "id",
    "job_id",
    "team_id",
    "kind",
    "state",
    "model_group_used",
    "prompt_tokens",
    "completion_tokens",
    "latency_ms",
    "error_code",
    "error_status",
    "error_message",
    "retry_after_s",
    "created_at",
    "payload__response",
)
# For many callers at once, on PostgreSQL; whose each call is, is compared afterwards.
ANSWERS: Select[Call] = Select(
    lambda: Call.objects.filter(any_of("pk", "ids")).select_related("payload").only(*_SHOWN_OF_CALL)
)
ANSWERS_WITH_JOBS: Select[Call] = Select(
    lambda: (
        Call.objects.filter(any_of("pk", "ids"))
        .select_related("payload", "job")
        .defer("payload__request", "payload__call_metadata")
    )
)

_KEPT_OF_STREAMED = ("id", "job_id", "team_id", "model_group_used", "created_at", "wait_until")
STREAMED: Select[Call] = Select(lambda: Call.objects.filter(pk=param("id", Call)).only(*_KEPT_OF_STREAMED))
STREAMED_MANY: Select[Call] = Select(lambda: Call.objects.filter(any_of("pk", "ids")).only(*_KEPT_OF_STREAMED))

CALLS_OF_JOB: Select[Call] = Select(
    lambda: (
        Call.objects.filter(job=param("job", Call))
        .order_by("created_at", "id")
        .only(
            "id",
            "state",
            "purpose",
            "model_group_used",
            "prompt_tokens",
            "completion_tokens",
            "provider_cost_nanousd",
            "latency_ms",
            "error_message",
            "created_at",
        )
    )
)

STILL_OPEN: Select[Call] = Select(
    lambda: Call.objects.filter(pk=param("id", Call), state__in=Call.OPEN_STATES).only("id")
)
