"""Requests that a client library repeats by itself, without an Idempotency-Key: it only counts its tries.

Such a repeat stands for the earlier try's call, also for one that was answered: the answer may have been lost on its
way, and asking the model again would be paid a second time.
"""

from django.conf import settings
from django.db import transaction
from django.db.models import Q
from django.db.models.functions import Greatest

from apps.core import clock, crypto
from apps.core.ids import parse_uuid
from apps.jobs import statements
from apps.jobs.models import Call
from apps.jobs.services import Submitted
from apps.teams.models import Team

# Behind every hex digit: tells fingerprints that are looked for here from the others, which have no index (see Call).
MARK = "v"
_ALIVE = (*Call.OPEN_STATES, Call.State.SUCCEEDED)
# Of so many identical requests at a time the newest are enough to look at.
_LOOKED_AT = 32


def fingerprint(*parts: bytes) -> str:
    """A fingerprint for `services.CallRequest` under which a repeat is found here."""
    return MARK + crypto.fingerprint(*parts)[:63]


def attach(team: Team, wanted: str, *, job_id: str, wait_s: float, reply_to: str) -> Submitted | None:
    """The call of an earlier try of this request, given to this caller; None when a new one is to be made.

    A call that ended more than ATTACH_WINDOW_S ago is no longer an earlier try, nor is one that failed. One that is
    being admitted at this moment is waited for: by its job's lock where the request names a job, else by one of its
    own. `job_id` is empty for a job of its own.
    """
    with transaction.atomic():
        job = parse_uuid(job_id)
        if job is None:
            statements.await_admissions(wanted)
        else:
            statements.LOCKED_TEAM_JOB.first(id=job, team=team.pk)
        call = _earlier(team, wanted)
        if call is None:
            return None
        given = Call.objects.filter(pk=call.pk, state__in=_ALIVE, cancel_requested_at__isnull=True).update(
            unanswered_at=None, reply_to=reply_to, wait_until=Greatest("wait_until", clock.from_now(wait_s + 2))
        )
    return Submitted(call.job_id, call.pk, is_new=False) if given else None


def _earlier(team: Team, wanted: str) -> Call | None:
    """One that nobody was answered with, else the newest.

    An answer that was there before a later try was made (and failed) is an earlier question's.
    """
    calls = list(
        Call.objects.for_team(team)
        .filter(Q(ended_at__isnull=True) | Q(ended_at__gt=clock.from_now(-settings.ATTACH_WINDOW_S)))
        .filter(fingerprint=wanted, fingerprint__gte=MARK)
        .only("id", "job_id", "state", "created_at", "ended_at", "unanswered_at")
        .order_by("-created_at")[:_LOOKED_AT]
    )
    failed = [call.created_at for call in calls if call.state not in _ALIVE]
    candidates = [
        call
        for call in calls
        if call.state in _ALIVE and (call.ended_at is None or not failed or call.ended_at >= failed[0])
    ]
    unanswered = [call for call in candidates if call.unanswered_at is not None]
    return next(iter(unanswered or candidates), None)
