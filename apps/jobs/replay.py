"""What closed jobs would have cost by a draft card: priced anew from their own columns. Reads only.

An estimate where a job's columns do not say everything: of failed tries the average cost, and jobs as they were
called under their own terms (a cost cap would have refused some calls; such jobs are counted).
"""

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any, NamedTuple

from django.db.models import Q, QuerySet

from apps.core import clock
from apps.credits import cards, pricing, settlement, worth
from apps.credits.models import RateCard, RateCardVersion
from apps.credits.pricing import Terms
from apps.credits.settlement import Verdict, Work
from apps.jobs import lifecycle
from apps.jobs.models import Job
from apps.organizations.models import Organization
from apps.teams.models import Team


@dataclass(frozen=True, slots=True)
class Draft:
    """Terms, and whose card they would be."""

    terms: Terms
    team: Team | None = None
    organization: Organization | None = None
    job_type: str = ""

    @classmethod
    def of_version(cls, version: RateCardVersion) -> "Draft":
        card = version.card
        return cls(pricing.terms_of(version), card.team, card.organization, card.job_type)


@dataclass(slots=True)
class Figures:
    """Sums over jobs. Money in nano-dollars; `cost` is the provider's, of served and of failed tries."""

    jobs: int = 0
    then_micros: int = 0
    draft_micros: int = 0
    then_nanousd: int = 0
    draft_nanousd: int = 0
    cost_nanousd: int = 0

    @property
    def moved_micros(self) -> int:
        return self.draft_micros - self.then_micros

    @property
    def moves_far(self) -> bool:
        """Whether the bill moves by more than a fifth."""
        return abs(self.moved_micros) * 5 > self.then_micros

    def as_json(self) -> dict[str, Any]:
        return {
            "jobs": self.jobs,
            "then_micros": self.then_micros,
            "draft_micros": self.draft_micros,
            "moved_micros": self.moved_micros,
            "then_revenue_nanousd": self.then_nanousd,
            "draft_revenue_nanousd": self.draft_nanousd,
            "cost_nanousd": self.cost_nanousd,
            "then_margin_nanousd": self.then_nanousd - self.cost_nanousd,
            "draft_margin_nanousd": self.draft_nanousd - self.cost_nanousd,
        }


@dataclass(slots=True)
class Replay:
    """All jobs that the draft would price, and each team's, those first that move most."""

    total: Figures = field(default_factory=Figures)
    teams: list[tuple[str, Figures]] = field(default_factory=list)
    jobs_of_nearer_cards: int = 0
    jobs_beyond_cost_cap: int = 0
    is_estimate: bool = False

    def as_json(self) -> dict[str, Any]:
        return {
            **self.total.as_json(),
            "teams": [{"team_id": team_id, **figures.as_json()} for team_id, figures in self.teams],
            "jobs_of_nearer_cards": self.jobs_of_nearer_cards,
            "jobs_beyond_cost_cap": self.jobs_beyond_cost_cap,
            "credits_at_list_price": self.is_estimate,
        }


class _Row(NamedTuple):
    team: int
    organization: int
    job_type: str
    status: str
    closed_by: str
    successful_calls: int
    failed_calls: int
    prompt_tokens: int
    completion_tokens: int
    provider_cost_nanousd: int
    lost_cost_nanousd: int
    lost_tries: int
    charged_micros: int


_COLUMNS = ("team_id", "organization_id", *_Row._fields[2:])
_SETTLED = (Job.ChargeState.CHARGED, Job.ChargeState.FREE)


def replay(draft: Draft, *, days: int, team: Team | None = None, organization: Organization | None = None) -> Replay:
    """Price the jobs that closed in the last `days` and that the draft would price, of one team or organization or
    of all. Four queries; one pass over the jobs, whose rows are never all in memory."""
    jobs = _jobs(draft, days=days, team=team, organization=organization)
    found, sums = Replay(), dict[int, Figures]()
    is_nearer = _nearer_cards(draft)
    for row in _rows(jobs):
        if is_nearer(row):
            found.jobs_of_nearer_cards += 1
            continue
        cost_nanousd = row.provider_cost_nanousd + row.lost_cost_nanousd
        cap_nanousd = draft.terms.cost_cap_nanousd
        found.jobs_beyond_cost_cap += cap_nanousd is not None and cost_nanousd > cap_nanousd
        figures = sums.get(row.team)
        if figures is None:
            figures = sums[row.team] = Figures()
        figures.jobs += 1
        figures.then_micros += row.charged_micros
        figures.draft_micros += settlement.due(draft.terms, _verdict(row), _work(row, draft.terms)).micros
        figures.cost_nanousd += cost_nanousd
    _tell_in_money(found, sums)
    return found


def size(draft: Draft, *, days: int, most: int) -> int:
    """How many jobs a replay would read, counted to `most` and one more. One query."""
    return _jobs(draft, days=days)[: most + 1].count()


def _jobs(
    draft: Draft, *, days: int, team: Team | None = None, organization: Organization | None = None
) -> QuerySet[Job]:
    settled = Job.objects.filter(charge_state__in=_SETTLED, completed_at__gte=clock.from_now(-days * 86_400))
    # Without those that were refused before their first call.
    jobs = settled.filter(total_calls__gt=0)
    for team_of in filter(None, (team, draft.team)):
        jobs = jobs.filter(team=team_of)
    for organization_of in filter(None, (organization, draft.organization)):
        jobs = jobs.filter(organization=organization_of)
    if draft.job_type:
        jobs = jobs.filter(job_type=draft.job_type)
    return jobs


def _rows(jobs: Any) -> Iterator[_Row]:
    return map(_Row._make, jobs.order_by().values_list(*_COLUMNS).iterator(chunk_size=5_000))


def _nearer_cards(draft: Draft) -> "_Nearer":
    owners = Q()
    if draft.team is not None:
        owners = Q(team=draft.team)
    elif draft.organization is not None:
        owners = Q(organization=draft.organization) | Q(team__organization=draft.organization)
    begun = RateCard.objects.filter(owners, pk__in=cards.begun().values("card"))
    return _Nearer(draft, {(card.team_id, card.organization_id, card.job_type) for card in begun})


class _Nearer:
    """Whether a job's price is another card's, nearer than the draft would be."""

    def __init__(self, draft: Draft, begun: set[tuple[int | None, int | None, str]]) -> None:
        self._draft, self._begun = draft, begun
        self._known: dict[tuple[int, str], bool] = {}

    def __call__(self, row: _Row) -> bool:
        key = (row.team, row.job_type)
        known = self._known.get(key)
        if known is None:
            known = self._known[key] = self._look(row)
        return known

    def _look(self, row: _Row) -> bool:
        scopes: tuple[tuple[int | None, int | None], ...] = (
            (row.team, None),
            (None, row.organization),
            (None, None),
        )
        order = [(*scope, job_type) for scope in scopes for job_type in (row.job_type, "")]
        draft = self._draft
        own = (
            draft.team.pk if draft.team else None,
            draft.organization.pk if draft.organization else None,
            draft.job_type,
        )
        return any(each in self._begun for each in order[: order.index(own)])


def _verdict(row: _Row) -> Verdict:
    return Verdict.ABANDONED if row.closed_by == lifecycle.CLOSED_BY_SWEEPER else Verdict(row.status)


def _work(row: _Row, terms: Terms) -> Work:
    beyond = 0 if terms.included_tries is None else max(0, row.lost_tries - terms.included_tries)
    return Work(
        successful_calls=row.successful_calls,
        failed_calls=row.failed_calls,
        tokens=row.prompt_tokens + row.completion_tokens,
        provider_nanousd=row.provider_cost_nanousd,
        billed_lost_nanousd=row.lost_cost_nanousd * beyond // row.lost_tries if beyond else 0,
    )


def _tell_in_money(found: Replay, sums: dict[int, Figures]) -> None:
    prices = worth.of_teams(sums)
    names = dict(Team.objects.filter(pk__in=sums).values_list("pk", "team_id"))
    total = found.total
    for team, figures in sums.items():
        figures.then_nanousd = prices[team].of(figures.then_micros)
        figures.draft_nanousd = prices[team].of(figures.draft_micros)
        found.is_estimate |= prices[team].is_estimate
        for name in Figures.__slots__:
            setattr(total, name, getattr(total, name) + getattr(figures, name))
    ordered = sorted(sums.items(), key=lambda item: (-abs(item[1].moved_micros), names[item[0]]))
    found.teams = [(names[team], figures) for team, figures in ordered]
