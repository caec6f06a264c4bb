"""What single jobs earned: their charge and refunds, by the grants that paid. For a page of jobs, in two queries."""

from collections import defaultdict
from collections.abc import Iterable

from django.db.models import Sum

from apps.analytics.margin import Revenue, owed_at_list_price, paid_by
from apps.credits.models import Entry, GrantUse
from apps.jobs.models import Job

_KINDS = (Entry.Kind.CHARGE, Entry.Kind.REFUND)


def revenue_of(jobs: Iterable[Job]) -> dict[str, Revenue]:
    """By a job's id as text. Jobs that were not charged are not in it."""
    ids = [str(job.pk) for job in jobs if job.charged_micros]
    found: dict[str, Revenue] = defaultdict(Revenue)
    if not ids:
        return found
    entries = Entry.objects.filter(job__in=ids, kind__in=_KINDS).order_by()
    for job_id, kind, micros in entries.values_list("job", "kind").annotate(Sum("amount_micros")):
        is_charge = kind == Entry.Kind.CHARGE
        found[job_id].add(Revenue(charged_micros=micros) if is_charge else Revenue(refunded_micros=micros))
    uses = GrantUse.objects.filter(entry__job__in=ids, entry__kind__in=_KINDS).order_by()
    priced = uses.values_list("entry__job", "grant__kind", "grant__price_nanousd_per_credit")
    for job_id, grant_kind, price, micros in priced.annotate(Sum("amount_micros")):
        found[job_id].add(paid_by(grant_kind, price, micros))
    for revenue in found.values():
        revenue.add(owed_at_list_price(revenue))
    return found


def margin_nanousd(job: Job, revenue: Revenue | None) -> int:
    """What it earned less all that providers took for it."""
    earned = revenue.nanousd if revenue is not None else 0
    return earned - job.provider_cost_nanousd - job.lost_cost_nanousd
