"""Monthly statements of a team (all its wallets) and of an organization (its pool and all its teams' wallets).

Opening balance + movements = closing balance, for every account and in all. All of it follows from entries, which
never change: of a closed month it is the same for ever.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import timedelta

from django.db.models import Count, Q, Sum

from apps.analytics.job_ids import job_key, of_job
from apps.credits import history
from apps.credits.billing import Posting
from apps.credits.history import Month, Movement, Span
from apps.credits.models import Account, Entry, Grant
from apps.organizations.models import Organization
from apps.teams.models import Team

# Rows read at a time for an export.
_PAGE = 1000


@dataclass(slots=True)
class Charged:
    """What jobs of one type were charged, and what of that was given back. In micros."""

    jobs: int = 0
    charged_micros: int = 0
    refunded_micros: int = 0


def of_team(team: Team, period: str) -> Month:
    """The team's wallets in a month. Raises: InvalidField."""
    return history.month(_accounts(Q(team=team)), period)


def of_organization(organization: Organization, period: str) -> Month:
    """The organization's accounts in a month. Raises: InvalidField."""
    return history.month(_accounts(Q(organization=organization) | Q(team__organization=organization)), period)


def by_kind(movements: list[Movement]) -> dict[str, Movement]:
    """Movements of several accounts as one. What moves between them cancels out."""
    found: dict[str, Movement] = {}
    for each in movements:
        known = found.get(each.kind, Movement(0, each.kind, 0, 0))
        found[each.kind] = Movement(0, each.kind, known.count + each.count, known.micros + each.micros)
    return dict(sorted(found.items()))


def charged_by_job_type(month: Month) -> dict[str, Charged]:
    """The month's charges and refunds by the type of the job, an empty one where there is no such job."""
    found: dict[str, Charged] = {}
    # A job may be charged to several wallets.
    jobs = Count("job", distinct=True)
    for side, sign, entries in history.sides(month.spans):
        kind = Entry.Kind.REFUND if sign > 0 else Entry.Kind.CHARGE
        of_jobs = entries.filter(kind=kind).annotate(job_key=job_key("job"), job_type=of_job("job_type"))
        for job_type, count, micros in of_jobs.values_list("job_type").annotate(jobs, Sum("amount_micros")):
            line = found.setdefault(job_type or "", Charged())
            if side == "credit":
                line.refunded_micros += micros
            else:
                line.jobs += count
                line.charged_micros += micros
    return dict(sorted(found.items()))


def expiring(month: Month) -> list[tuple[Grant, int]]:
    """Lots that expire in this month or the next, with what was left of them at the month's end (or is by now)."""
    following = (month.ends_at + timedelta(days=31)).replace(day=1)
    return history.expiring(month.spans, since=month.starts_at, until=following)


def all_postings(month: Month) -> Iterator[tuple[Span, Posting]]:
    """Every entry of the month, account by account and oldest first, read page by page."""
    for offset in range(0, month.entries, _PAGE):
        yield from history.postings(month.spans, limit=_PAGE, offset=offset)


def _accounts(owned: Q) -> list[Account]:
    found = Account.objects.filter(owned).exclude(kind=Account.Kind.SYSTEM).select_related("team")
    # The pool before the teams; a team's general wallet before its restricted ones.
    return list(found.order_by("kind", "team__team_id", "restriction", "id"))
