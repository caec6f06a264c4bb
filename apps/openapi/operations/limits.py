"""Limits of rate and spend, and the calls that they refused."""

from apps.api.limits import PutLimitInput, RaiseInput
from apps.limits.models import Metric, Scope
from apps.openapi import parameters
from apps.openapi.answers.limits import Decision, Decisions, EffectiveLimits, Limit
from apps.openapi.answers.shared import Message
from apps.openapi.operation import Operation
from apps.openapi.responses import ARRAY_HEADERS

TAG = "Limits"

OPERATIONS = {
    "GET /api/limits": Operation(
        "List limits",
        answer=list[Limit],
        query=(
            parameters.ORGANIZATION_ID,
            parameters.choice("metric", "Only limits of this.", Metric.values),
            parameters.order("scope", "metric", "amount", "created_at"),
            parameters.choice("scope", "Only limits of this scope.", Scope.values),
            parameters.text("id", "Only limits of what has this id."),
            parameters.text("team_id", "Only limits of this team."),
            *parameters.page(100),
        ),
        headers=ARRAY_HEADERS,
    ),
    "PUT /api/limits": Operation("Set a limit", answer=Limit, body=PutLimitInput, errors=(404,)),
    "GET /api/limits/effective": Operation(
        "Show every limit that a call would meet",
        answer=EffectiveLimits,
        query=(
            parameters.TEAM_ID,
            parameters.text("key_id", "The virtual key that would call."),
            parameters.text("model", "The model that would be called."),
            parameters.text("user_id", "The end user that the call would be for."),
        ),
        errors=(404,),
    ),
    "GET /api/limits/{limit_id}": Operation("Show a limit", answer=Limit),
    "DELETE /api/limits/{limit_id}": Operation("Remove a limit", answer=Message),
    "POST /api/limits/{limit_id}/raise": Operation(
        "Raise a limit for a time", answer=Limit, body=RaiseInput, idempotent=True
    ),
    "GET /api/decisions": Operation(
        "List refused calls",
        answer=Decisions,
        query=(
            *parameters.OWNERS,
            parameters.text("code", "Only those refused with this code.", example="rate_limited"),
            parameters.text("job_id", "Only those in this job."),
            parameters.text("model", "Only those for this model."),
            *parameters.SPAN,
            *parameters.long_page(),
        ),
        errors=(400, 404),
    ),
    "GET /api/decisions/{decision_id}": Operation("Show why a call was refused", answer=Decision),
}
