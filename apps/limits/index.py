"""Which limits there are, known to every process within half a second of a change.

All of them are kept in memory and read again only when one changed, so that a call of a team without any costs
neither a query nor a trip to Redis.
"""

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime

from django.db.models import Count, Max, Sum
from django.db.models.functions import Now

from apps.core import clock
from apps.core.short_cache import ShortCache
from apps.limits.models import RATES, SHARED, Limit, Metric, Scope
from apps.teams.models import Team
from apps.virtual_keys.services import Principal

CACHE_S = 0.5


@dataclass(frozen=True, slots=True)
class Applied:
    """A limit that a call meets, and what it allows now. `subject` is what is counted together."""

    scope: str
    subject: str
    metric: str
    allowed: int

    @property
    def shown_id(self) -> str:
        """The subject as its team knows it: of an end user their own id."""
        return self.subject.partition("/")[2] if self.scope == Scope.USER else self.subject

    @property
    def is_shared(self) -> bool:
        """Whether it counts the calls of customers who know nothing of each other."""
        return self.scope in SHARED

    @property
    def is_rate(self) -> bool:
        return self.metric in RATES


@dataclass(frozen=True, slots=True)
class _Amount:
    amount: int
    raised_to: int | None
    raised_until: datetime | None

    def at(self, instant: datetime) -> int:
        if self.raised_to is not None and self.raised_until is not None and instant < self.raised_until:
            return self.raised_to
        return self.amount


Subject = tuple[str, str]
_Amounts = dict[Subject, dict[str, _Amount]]


@dataclass(frozen=True, slots=True)
class Index:
    """The limits by scope and subject, at an instant of the database's clock."""

    version: tuple[int, ...]
    amounts: _Amounts
    at: datetime
    has_models: bool
    teams_with_users: frozenset[str]

    def concerns(self, principal: Principal) -> bool:
        """Whether a call of this key can meet any limit."""
        if not self.amounts:
            return False
        team_id = principal.team.team_id
        return (
            self.has_models
            or team_id in self.teams_with_users
            or any(subject in self.amounts for subject in _subjects(principal.team, principal.key_id))
        )

    def applying(self, team: Team, *, key_id: str, model: str, user_id: str) -> tuple[Applied, ...]:
        """Every limit on the way of a call, from the platform's to its user's.

        An end user's own limit stands in the place of the one for each user.
        """
        found = [
            Applied(scope, subject, metric, amount.at(self.at))
            for scope, subject in (*_subjects(team, key_id), (Scope.MODEL, model))
            for metric, amount in self.amounts.get((scope, subject), {}).items()
        ]
        team_id = team.team_id
        if user_id and team_id in self.teams_with_users:
            subject = user_subject(team_id, user_id)
            found += [
                Applied(Scope.USER, subject, metric, allowed)
                for metric in Metric.values
                if (allowed := self.allowed(Scope.USER, subject, metric)) is not None
            ]
        return tuple(found)

    def allowed(self, scope: str, subject: str, metric: str) -> int | None:
        """What is allowed of a metric now; None when nothing limits it."""
        amount = self.amounts.get((scope, subject), {}).get(metric)
        if amount is None and scope == Scope.USER:
            everyone = user_subject(subject.partition("/")[0], "")
            amount = self.amounts.get((scope, everyone), {}).get(metric)
        return None if amount is None else amount.at(self.at)


def user_subject(team_id: str, user_id: str) -> str:
    """An end user of a team; without a user id, each of them. A team's id has no slash."""
    return f"{team_id}/{user_id}"


def _subjects(team: Team, key_id: str) -> Iterable[Subject]:
    return (
        (Scope.PLATFORM, ""),
        (Scope.ORGANIZATION, team.organization.organization_id),
        (Scope.TEAM, team.team_id),
        (Scope.KEY, key_id),
    )


_cache: ShortCache[Index] = ShortCache(seconds=CACHE_S)
_newest: Index | None = None


def current() -> Index:
    """The limits as they were at most half a second ago."""
    return _cache.get(None, _load)


def forget_cached() -> None:
    """After a change made here, and between tests."""
    global _newest
    _newest = None
    _cache.clear()


def _load() -> Index:
    global _newest
    known = _newest
    # Each change raises one of these, whatever the order in which changes are committed.
    told = Limit.objects.aggregate(count=Count("pk"), revisions=Sum("revision"), newest=Max("pk"), at=Max(Now()))
    version = (told["count"], told["revisions"] or 0, told["newest"] or 0)
    at = told["at"] or clock.now()
    if known is not None and known.version == version:
        _newest = Index(version, known.amounts, at, known.has_models, known.teams_with_users)
        return _newest
    amounts: _Amounts = {}
    rows = Limit.objects.order_by().values_list("scope", "subject", "metric", "amount", "raised_to", "raised_until")
    for scope, subject, metric, amount, raised_to, raised_until in rows.iterator():
        amounts.setdefault((scope, subject), {})[metric] = _Amount(amount, raised_to, raised_until)
    _newest = Index(
        version,
        amounts,
        at,
        has_models=any(scope == Scope.MODEL for scope, _ in amounts),
        teams_with_users=frozenset(subject.partition("/")[0] for scope, subject in amounts if scope == Scope.USER),
    )
    return _newest
