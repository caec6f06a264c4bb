"""What needs somebody: a few structured items, the gravest first, for a page to word and to link."""

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from datetime import timedelta
from enum import StrEnum

from django.db.models import Count, F, Min, Sum
from django.db.models.functions import Now

from apps.analytics import figures, ranges
from apps.analytics.figures import Filters
from apps.analytics.machine_room import ledger_state
from apps.analytics.ranges import Preset
from apps.core import clock
from apps.credits.models import Account, Grant
from apps.jobs.models import Call, Job
from apps.teams.models import Team
from apps.virtual_keys.models import VirtualKey

WAITS_TOO_LONG = timedelta(seconds=30)
GRANTS_EXPIRE_WITHIN = timedelta(days=14)
KEYS_EXPIRE_WITHIN = timedelta(days=7)
UNCOLLECTED_WITHIN = timedelta(days=30)
# Named in an item; `count` tells of all.
_NAMED = 5
# Of what was given, in whole parts: at or under a tenth critical, a fifth low (the thresholds of alerts).
_CRITICAL, _LOW = 10, 5


class Kind(StrEnum):
    """In the order of gravity. What `amount` is: differences, seconds, calls, nothing, micros, nano-USD."""

    LEDGER_DIFFERS = "ledger_differs"
    CALL_WAITS = "call_waits"
    MODELS_UNPRICED = "models_unpriced"
    TEAMS_CRITICAL = "teams_critical"
    TEAMS_LOW = "teams_low"
    UNCOLLECTED = "uncollected"
    MARGIN_NEGATIVE = "margin_negative"
    GRANTS_EXPIRE = "grants_expire"
    KEYS_EXPIRE = "keys_expire"


@dataclass(frozen=True, slots=True)
class Item:
    """`count` of them there are, and the ids of the first few: team ids, models, job types, or the call's id."""

    kind: Kind
    count: int
    amount: int
    ids: tuple[str, ...]


def needs_you() -> list[Item]:
    """All that needs somebody now; empty if nothing does. Each check is one or two queries."""
    return [item for check in CHECKS for item in check()]


def ledger_differs() -> Iterator[Item]:
    """The last `ledger_verify` found differences."""
    state = ledger_state()
    if state is not None and state.differences:
        yield Item(Kind.LEDGER_DIFFERS, state.differences, state.differences, ())


def call_waits() -> Iterator[Item]:
    """A call has been waiting for a worker for long: seconds of the one that waits longest."""
    late = Call.objects.filter(
        state=Call.State.QUEUED, created_at__lt=clock.from_now(-WAITS_TOO_LONG.total_seconds())
    ).order_by()
    count = late.aggregate(count=Count("pk"))["count"]
    if count:
        oldest = late.annotate(now=Now()).order_by("created_at").values_list("pk", "created_at", "now").first()
        if oldest is not None:
            pk, created_at, now = oldest
            yield Item(Kind.CALL_WAITS, count, int((now - created_at).total_seconds()), (str(pk),))


def models_unpriced() -> Iterator[Item]:
    """Models that served calls of the last week at a cost that nobody knows, with the number of those calls."""
    groups = figures.groups("model", ranges.of_preset(Preset.WEEK, "UTC"), Filters())
    unpriced = {model: sums.unpriced_calls for model, sums in groups.items() if sums.unpriced_calls}
    yield from _largest(Kind.MODELS_UNPRICED, unpriced)


def teams_run_low() -> Iterator[Item]:
    """Teams that have a tenth, or a fifth, or less of what their general wallet was given."""
    wallets = (
        Account.objects.filter(kind=Account.Kind.WALLET, restriction="", allocated_micros__gt=0)
        .exclude(team__status=Team.Status.CLOSED)
        .annotate(left_micros=F("posted_micros") - F("held_micros"))
        .filter(allocated_micros__gte=F("left_micros") * _LOW)
        .order_by("left_micros", "team__team_id")
    )
    critical: list[str] = []
    low: list[str] = []
    for team_id, allocated, left in wallets.values_list("team__team_id", "allocated_micros", "left_micros"):
        (critical if left * _CRITICAL <= allocated else low).append(team_id)
    for kind, teams in ((Kind.TEAMS_CRITICAL, critical), (Kind.TEAMS_LOW, low)):
        if teams:
            yield Item(kind, len(teams), 0, tuple(teams[:_NAMED]))


def uncollected() -> Iterator[Item]:
    """What jobs owed and could not be taken, of those that closed in the last month: micros, by teams."""
    since = clock.from_now(-UNCOLLECTED_WITHIN.total_seconds())
    jobs = Job.objects.filter(uncollected_micros__gt=0, completed_at__gte=since).order_by()
    yield from _largest(Kind.UNCOLLECTED, dict(jobs.values_list("team__team_id").annotate(Sum("uncollected_micros"))))


def margin_is_negative() -> Iterator[Item]:
    """Job types that cost more than they earned in the last month: nano-dollars lost."""
    groups = figures.groups("job_type", ranges.of_preset(Preset.MONTH, "UTC"), Filters())
    lost = {name: -sums.margin_nanousd for name, sums in groups.items() if name and sums.margin_nanousd < 0}
    yield from _largest(Kind.MARGIN_NEGATIVE, lost)


def grants_expire() -> Iterator[Item]:
    """Credits that expire within two weeks: micros, by teams and, of pools, organizations."""
    soon = clock.from_now(GRANTS_EXPIRE_WITHIN.total_seconds())
    lots = Grant.objects.filter(
        account__next_expiry_at__lte=soon, remaining_micros__gt=0, expires_at__gt=Now(), expires_at__lte=soon
    ).order_by()
    found: dict[str, int] = {}
    owners = lots.values_list("account__team__team_id", "account__organization__organization_id")
    for team_id, organization_id, micros in owners.annotate(Sum("remaining_micros")):
        found[team_id or organization_id] = micros
    yield from _largest(Kind.GRANTS_EXPIRE, found)


def keys_expire() -> Iterator[Item]:
    """Keys that work today and not in a week: how many, by teams."""
    soon = clock.from_now(KEYS_EXPIRE_WITHIN.total_seconds())
    keys = VirtualKey.objects.filter(revoked_at__isnull=True, expires_at__gt=Now(), expires_at__lte=soon).order_by()
    by_team = keys.values_list("team__team_id").annotate(Count("pk"), Min("expires_at")).order_by("expires_at__min")
    rows = list(by_team)
    if rows:
        count = sum(row[1] for row in rows)
        yield Item(Kind.KEYS_EXPIRE, count, count, tuple(row[0] for row in rows[:_NAMED]))


CHECKS: tuple[Callable[[], Iterable[Item]], ...] = (
    ledger_differs,
    call_waits,
    models_unpriced,
    teams_run_low,
    uncollected,
    margin_is_negative,
    grants_expire,
    keys_expire,
)


def _largest(kind: Kind, amounts: dict[str, int]) -> Iterator[Item]:
    """One item of all amounts, naming the largest; none of nothing."""
    if amounts:
        ordered = sorted(amounts, key=lambda name: (-amounts[name], name))
        yield Item(kind, len(amounts), sum(amounts.values()), tuple(ordered[:_NAMED]))
