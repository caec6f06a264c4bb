"""What must hold of jobs: their totals follow from calls and attempts, their money from holds and charges.

Found by the database in a few joins over whole tables; only what differs, and what few jobs have, leaves it.
"""

from collections.abc import Iterator
from typing import Any

from django.db.models import (
    CharField,
    Count,
    Exists,
    F,
    Func,
    OuterRef,
    PositiveIntegerField,
    Q,
    QuerySet,
    Subquery,
    Sum,
    Value,
)
from django.db.models.expressions import Combinable
from django.db.models.functions import Cast, Coalesce, Concat, Replace, Substr

from apps.catalog.price_models import Price, PriceSource
from apps.core.db import is_postgresql
from apps.core.verification import Difference, compare, each
from apps.credits.models import Entry, Hold
from apps.jobs.models import Attempt, Call, CallPayload, Job

ChargeState = Job.ChargeState
_CLOSED = Q(status__in=[Job.Status.COMPLETED, Job.Status.FAILED, Job.Status.CANCELLED])
_OPEN_CALL = Q(calls__state__in=Call.OPEN_STATES)
_SERVED_CALL = Q(calls__state=Call.State.SUCCEEDED)
# Of a stream that broke off too: other calls that did not succeed have no tokens.
_DELIVERED_CALL = ~_OPEN_CALL & (Q(calls__prompt_tokens__gt=0) | Q(calls__completion_tokens__gt=0))


def totals_follow_from_calls() -> Iterator[Difference]:
    """Counts, tokens, cost, latency and bounds of a job are those of its calls."""
    return compare(
        Job.objects.all(),
        kind="job",
        derived={
            "total_calls": Count("calls"),
            "open_calls": Count("calls", filter=_OPEN_CALL),
            "successful_calls": Count("calls", filter=_SERVED_CALL),
            "failed_calls": Count("calls", filter=~(_OPEN_CALL | _SERVED_CALL) & Q(calls__isnull=False)),
            # Of streams that broke off too; other calls that did not succeed have none.
            "prompt_tokens": _total("calls__prompt_tokens", of=~_OPEN_CALL),
            "completion_tokens": _total("calls__completion_tokens", of=~_OPEN_CALL),
            "provider_cost_nanousd": _total("calls__provider_cost_nanousd", of=~_OPEN_CALL),
            "unpriced_calls": Count(
                "calls", filter=Q(calls__price_source=PriceSource.NONE) & (_SERVED_CALL | _DELIVERED_CALL)
            ),
            "latency_total_ms": _total("calls__latency_ms", of=_SERVED_CALL),
            "open_bound_nanousd": _total("calls__bound_nanousd", of=_OPEN_CALL),
            "open_bound_tokens": _total("calls__bound_input_tokens", of=_OPEN_CALL)
            + _total("calls__bound_output_tokens", of=_OPEN_CALL),
        },
    )


def lost_cost_follows_from_attempts() -> Iterator[Difference]:
    """What failed and abandoned tries cost, how many they were, and of it at most all is the customer's."""
    lost = Attempt.objects.filter(state__in=[Attempt.State.FAILED, Attempt.State.ABANDONED])
    yield from _sums_of_few("lost_cost_nanousd", lost.values_list("call__job").annotate(Sum("cost_nanousd")))
    costing = lost.exclude(cost_nanousd=0).values_list("call__job")
    yield from _sums_of_few("lost_tries", costing.annotate(tries=Count("pk")))
    yield from each(
        Job.objects.exclude(billed_lost_nanousd=0).exclude(
            billed_lost_nanousd__gt=0, billed_lost_nanousd__lte=F("lost_cost_nanousd")
        ),
        check="job.billed_lost_nanousd",
        kind="job",
        expected="at most lost_cost_nanousd",
        found="billed_lost_nanousd",
    )


def pending_metadata_is_of_open_calls() -> Iterator[Difference]:
    """Room that is kept in a job's metadata is what its open calls will merge."""
    pending = CallPayload.objects.filter(call__state__in=Call.OPEN_STATES)
    return _sums_of_few(
        "pending_metadata_bytes", pending.values_list("call__job").annotate(bytes=Sum(_Bytes("call_metadata")))
    )


def held_is_the_open_hold() -> Iterator[Difference]:
    """A job's held_micros is its team's open hold for it. Open holds are as few as jobs at work."""
    holds: dict[tuple[str, int], int] = {}
    open_holds = Hold.objects.filter(state=Hold.State.OPEN)
    for name, team, amount in open_holds.values_list("job", "account__team__pk", "amount_micros").iterator():
        holds[name, team] = holds.get((name, team), 0) + amount
    holding = Job.objects.filter(held_micros__gt=0)
    for pk, team, held in holding.order_by().values_list("pk", "team__pk", "held_micros").iterator():
        expected = holds.pop((str(pk), team), 0)
        if held != expected:
            yield Difference("job.held_micros", f"job:{pk}", expected, held)
    for (name, _), amount in holds.items():
        if amount:
            yield Difference("job.held_micros", f"job:{name}", amount, 0)


def charged_is_the_charge() -> Iterator[Difference]:
    """A job's charged_micros is what its team was charged for it, by one entry a wallet, and every charge is of a
    job."""
    charges = Entry.objects.filter(kind=Entry.Kind.CHARGE)
    charges_of_job = charges.filter(job=_spelled(OuterRef("pk")), debit_account__team=OuterRef("team"))
    charged = charges_of_job.order_by().values("job").annotate(total=Sum("amount_micros")).values("total")
    yield from each(
        Job.objects.filter(~Q(charged_micros=0)).exclude(charged_micros=Coalesce(Subquery(charged), 0)),
        check="job.charged_micros",
        kind="job",
        expected="its charge",
        found="charged_micros",
    )
    job_of_charge = _spelled_as(OuterRef("job")).filter(
        charged_micros__gte=OuterRef("amount_micros"), team=OuterRef("debit_account__team")
    )
    yield from each(
        charges.exclude(Exists(job_of_charge)),
        check="entry.job",
        kind="entry",
        expected="a job charged this amount",
        found="job",
    )


def jobs_are_settled_when_they_end() -> Iterator[Difference]:
    """A closed job owes nothing and holds nothing, unless it waits for open calls; an open one is not charged."""
    settled = Q(charge_state__in=[ChargeState.CHARGED, ChargeState.FREE], held_micros=0)
    waiting = Q(charge_state=ChargeState.PENDING, open_calls__gt=0)
    undecided = ~_CLOSED & Q(charge_state=ChargeState.NONE)
    served_for_nothing = Q(
        status=Job.Status.COMPLETED, charge_state=ChargeState.FREE, open_calls=0, successful_calls__gt=0
    )
    return each(
        Job.objects.exclude((_CLOSED & (settled | waiting) & ~served_for_nothing) | undecided),
        check="job.charge_state",
        kind="job",
        expected="settled when closed and done, else undecided",
        found="charge_state",
    )


def ceilings_hold() -> Iterator[Difference]:
    """A job holds and costs no more than its ceiling."""
    return each(
        Job.objects.filter(Q(held_micros__gt=F("max_micros")) | Q(charged_micros__gt=F("max_micros"))),
        check="job.max_micros",
        kind="job",
        expected="at least what it holds and was charged",
        found="max_micros",
    )


def paused_jobs_say_why() -> Iterator[Difference]:
    """A paused job has a reason, and no other has one."""
    is_paused, has_reason = Q(status=Job.Status.PAUSED), ~Q(paused_reason="")
    return each(
        Job.objects.filter((is_paused & ~has_reason) | (~is_paused & has_reason)),
        check="job.paused_reason",
        kind="job",
        expected="a reason while it is paused",
        found="paused_reason",
    )


def calls_and_attempts_agree() -> Iterator[Difference]:
    """An ended call says when; a served one has the try that served it; no try outlives its call."""
    ended = Call.objects.exclude(state__in=Call.OPEN_STATES)
    yield from each(
        ended.filter(ended_at__isnull=True),
        check="call.ended_at",
        kind="call",
        expected="an instant",
        found="ended_at",
    )
    tries = Attempt.objects.filter(call=OuterRef("pk"), claim=OuterRef("claim"))
    served = tries.filter(
        state=Attempt.State.SUCCEEDED,
        prompt_tokens=OuterRef("prompt_tokens"),
        completion_tokens=OuterRef("completion_tokens"),
        cost_nanousd=OuterRef("provider_cost_nanousd"),
    )
    yield from each(
        Call.objects.filter(state=Call.State.SUCCEEDED).exclude(Exists(served)),
        check="call.attempt",
        kind="call",
        expected="the attempt that served it",
        found="claim",
    )
    yield from each(
        Call.objects.filter(state=Call.State.RUNNING).exclude(Exists(tries.filter(state=Attempt.State.RUNNING))),
        check="call.attempt",
        kind="call",
        expected="a running attempt of its claim",
        found="claim",
    )
    yield from each(
        Attempt.objects.filter(state=Attempt.State.RUNNING).exclude(call__state__in=Call.OPEN_STATES),
        check="attempt.state",
        kind="attempt",
        expected="ended, as its call",
        found="state",
    )


def calls_keep_their_price() -> Iterator[Difference]:
    """A call with a dated price has its input and output prices frozen beside it; without one it names no price."""
    frozen = Price.objects.filter(
        pk=OuterRef("price_id"),
        input_nanousd_per_mtok=OuterRef("input_nanousd_per_mtok"),
        output_nanousd_per_mtok=OuterRef("output_nanousd_per_mtok"),
    )
    yield from each(
        Call.objects.filter(price_id__isnull=False).exclude(Exists(frozen)),
        check="call.price_id",
        kind="call",
        expected="a price with the call's frozen figures",
        found="price_id",
    )
    yield from each(
        Call.objects.filter(price_source=PriceSource.PRICE, price_id__isnull=True),
        check="call.price_source",
        kind="call",
        expected="the price that it rests on",
        found="price_source",
    )


CHECKS = (
    totals_follow_from_calls,
    lost_cost_follows_from_attempts,
    pending_metadata_is_of_open_calls,
    held_is_the_open_hold,
    charged_is_the_charge,
    jobs_are_settled_when_they_end,
    ceilings_hold,
    paused_jobs_say_why,
    calls_and_attempts_agree,
    calls_keep_their_price,
)


def jobs() -> int:
    return Job.objects.count()


class _Bytes(Func):
    """Length of a text in bytes of UTF-8."""

    function = "OCTET_LENGTH"
    output_field = PositiveIntegerField()

    def as_sqlite(self, compiler: Any, connection: Any, **context: Any) -> Any:
        return self.as_sql(compiler, connection, template="LENGTH(CAST(%(expressions)s AS BLOB))", **context)


def _sums_of_few(column: str, sums: QuerySet[Any, Any]) -> Iterator[Difference]:
    """Jobs whose column is not their sum, where nearly all have neither: only those that have leave the database."""
    expected = {pk: total for pk, total in sums.order_by().iterator() if total}
    for pk, found in Job.objects.exclude(**{column: 0}).order_by().values_list("pk", column).iterator():
        total = expected.pop(pk, 0)
        if found != total:
            yield Difference(f"job.{column}", f"job:{pk}", total, found)
    for pk, total in expected.items():
        yield Difference(f"job.{column}", f"job:{pk}", total, 0)


def _total(column: str, *, of: Q) -> Combinable:
    return Coalesce(Sum(column, filter=of), 0)


def _spelled(job_id: Any) -> Combinable:
    """A job's id as the ledger spells it. SQLite keeps a UUID as 32 hex digits."""
    if is_postgresql():
        return Cast(job_id, CharField())
    groups = [Substr(job_id, start, length) for start, length in ((1, 8), (9, 4), (13, 4), (17, 4), (21, 12))]
    parts = [part for group in groups for part in (Value("-"), group)]
    return Concat(*parts[1:])


def _spelled_as(name: Any) -> QuerySet[Job, Job]:
    """Jobs whose id is spelled so; on each database the side that keeps its index is left alone."""
    if is_postgresql():
        return Job.objects.annotate(spelled=Cast("pk", CharField())).filter(spelled=name)
    return Job.objects.filter(pk=Replace(name, Value("-"), Value("")))
