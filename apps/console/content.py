"""Prompts and answers: which of them may be seen, and why not."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import timedelta

from django.utils import timezone

from apps.console import formats
from apps.jobs.models import Call, Job
from apps.organizations.models import Organization
from apps.organizations.services import content_kept_for


@dataclass(frozen=True, slots=True)
class Content:
    """Whether any of a job's content may be shown, and the sentence about it."""

    is_shown: bool
    sentence: str


def of(job: Job, calls: Sequence[Call]) -> Content:
    """Content is seen where the organization stores it, as long as it is kept."""
    organization = job.organization
    name = organization.organization_id
    if not organization.stores_content:
        return Content(False, f"Not stored: {name} does not let its content be seen.")
    if not calls:
        return Content(False, "No call was made, so there is no content.")
    kept = content_kept_for(organization)
    if not any(is_kept(call, organization) for call in calls):
        last = max(call.ended_at or call.created_at for call in calls)
        gone = formats.ago(last + kept)
        return Content(False, f"Not stored any more: {name} keeps content {_hours(kept)}, deleted {gone}.")
    return Content(True, f"{name} keeps content {_hours(kept)} after each call.")


def is_kept(call: Call, organization: Organization) -> bool:
    """Whether a call's content may still be seen."""
    return call.ended_at is None or call.ended_at + content_kept_for(organization) > timezone.now()


def _hours(length: timedelta) -> str:
    hours = length.total_seconds() / 3600
    return f"{hours:g} h"
