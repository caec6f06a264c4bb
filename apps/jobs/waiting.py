"""A caller's wait for its call, and how it is told of the end, whatever edge it came by. No edge's protocol here."""

import time
from collections.abc import Mapping
from typing import Any

from django.conf import settings
from django.db import DatabaseError, InterfaceError

from apps.core.db import patiently
from apps.core.errors import DomainError, Failed, InvalidRequest, RateLimited, Unavailable
from apps.jobs import dispatch, replies, services
from apps.jobs.errors import CallStillRunning
from apps.jobs.models import Call
from apps.teams.models import Team

# How long past its wait a caller is kept when the database is away just then.
DATABASE_PATIENCE_S = 2.0


def wait(team: Team, submitted: services.Submitted, wait_s: float, *, with_job: bool = False) -> Call:
    """The call once it has ended, well or not; published first when it is new. With its job if asked for.

    In one of the mailbox's places.  Raises: CallStillRunning.
    """
    publish = (lambda: dispatch.publish_new(submitted.call_id)) if submitted.is_new else None
    ends_at = time.monotonic() + wait_s
    left_s = wait_s
    while True:
        woken = replies.mailbox().wait(submitted.call_id, timeout_s=left_s, publish=publish)
        call = _found(team, submitted, until=ends_at + DATABASE_PATIENCE_S, with_job=with_job)
        if not call.is_open:
            return call
        publish = None
        left_s = ends_at - time.monotonic()
        if not woken or left_s <= 0:
            services.mark_unanswered(call.pk)
            raise still_running(call)


def _found(team: Team, submitted: services.Submitted, *, until: float, with_job: bool) -> Call:
    """The call as it is now. A caller who must be sent away because the database is gone is remembered."""
    job_id, call_id = str(submitted.job_id), str(submitted.call_id)
    try:
        return patiently(lambda: services.find_answered(team, job_id, call_id, with_job=with_job), until=until)
    except (DatabaseError, InterfaceError):
        replies.mailbox().owe(call_id)
        raise


def wanted_wait(meta: Mapping[str, Any], *, default_s: float) -> float:
    """Seconds to wait: `Prefer: wait=N` (RFC 7240) up to CALL_WAIT_MAX_S, else the edge's own."""
    for preference in str(meta.get("HTTP_PREFER", "")).split(","):
        name, _, value = preference.strip().partition("=")
        value = value.strip().strip('"')
        if name.strip().lower() == "wait" and value.isdecimal() and len(value) < 7:
            return float(min(int(value), settings.CALL_WAIT_MAX_S))
    return default_s


def still_running(call: Call) -> CallStillRunning:
    """The wait is over, the call is not."""
    url = f"/api/jobs/{call.job_id}/calls/{call.pk}"
    return CallStillRunning(
        f"The call is still running. Its answer will be at {url}.",
        retry_after_s=2,
        job_id=str(call.job_id),
        call_id=str(call.pk),
        url=url,
    )


_KINDS: dict[int, type[DomainError]] = {400: InvalidRequest, 429: RateLimited, 500: Failed, 503: Unavailable}


def failure(call: Call, *, headers: Mapping[str, str] | None = None) -> DomainError:
    """A failed call as the error its caller gets: 400, 429, 500 or 503, never 502 or 504."""
    error = _KINDS.get(call.error_status or 500, Failed)(
        call.error_message or "LLM call failed",
        retry_after_s=call.retry_after_s,
        job_id=str(call.job_id),
        call_id=str(call.pk),
    )
    error.code = call.error_code or error.code
    error.headers |= headers or {}
    return error
