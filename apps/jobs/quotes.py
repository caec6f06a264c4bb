"""What a job would cost before it runs, by the same terms, bounds and refusals as its admission. Holds and writes
nothing."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

from django.conf import settings

from apps.catalog import limits
from apps.catalog import services as catalog
from apps.catalog.services import ResolvedModel
from apps.core.errors import DomainError
from apps.credits import billing, ledger, pricing
from apps.credits.billing import Balance
from apps.credits.errors import PricesMissing
from apps.credits.models import RateCardVersion
from apps.credits.pricing import Terms
from apps.jobs import bounds, validity
from apps.jobs.bounds import Bound
from apps.jobs.errors import JobCostCap, TooManyCalls
from apps.teams.models import Team
from apps.teams.services import require_active


@dataclass(frozen=True, slots=True)
class QuotedCall:
    """A call to be, `times` over: OpenAI's body as far as it is known, or tokens in the place of its messages.

    `expected_output_tokens` is what each answer will really have, None when nobody knows.
    """

    model: str | None
    body: dict[str, Any]
    input_tokens: int | None = None
    expected_output_tokens: int | None = None
    times: int = 1


@dataclass(frozen=True, slots=True)
class Refusal:
    """What would refuse the job or one of its calls. Not certain: it depends on what its calls really use."""

    code: str
    message: str
    is_certain: bool


@dataclass(frozen=True, slots=True)
class Quote:
    """Micros that a completed job may cost: at least; as expected; and at most, which is what it holds with all its
    calls open at once. None: not known, without calls or what their answers will have."""

    terms: Terms
    version: RateCardVersion | None
    least_micros: int
    expected_micros: int | None
    most_micros: int | None
    balance: Balance
    is_affordable: bool
    refusals: list[Refusal]


@dataclass(frozen=True, slots=True)
class _Use:
    nanousd: int = 0
    tokens: int = 0

    def plus(self, other: "_Use", *, times: int = 1) -> "_Use":
        return _Use(self.nanousd + times * other.nanousd, self.tokens + times * other.tokens)

    def price(self, terms: Terms) -> int:
        return pricing.price(terms, provider_nanousd=self.nanousd, tokens=self.tokens)


def quote(
    team: Team, *, job_type: str, calls: Sequence[QuotedCall] = (), models_allowed: tuple[str, ...] = ()
) -> Quote:
    """Price a job of these calls by the card in force now. `team.organization` is loaded; `models_allowed` is a
    key's own list."""
    version = pricing.card_in_force(team, job_type)
    terms = pricing.terms_of(version)
    refusals = _Refusals()
    with refusals.caught():
        require_active(team.status, team.organization.status)
    if sum(call.times for call in calls) > settings.CALLS_PER_JOB_MAX:
        refusals.add(TooManyCalls(f"A job may have {settings.CALLS_PER_JOB_MAX} calls. Open another job."))
    most, first, expected = _Use(), _Use(), _Use()
    is_expected = bool(calls)
    for call in calls:
        model = None
        with refusals.caught():
            model = _model(team, call, models_allowed, terms)
        if model is None:
            is_expected = False
            continue
        use = _use(_bound(call, model))
        if terms.cost_cap_nanousd is not None and use.nanousd > terms.cost_cap_nanousd:
            refusals.add(JobCostCap())
        most, first = most.plus(use, times=call.times), first if most.tokens else use
        if call.expected_output_tokens is None:
            is_expected = False
        else:
            expected = expected.plus(_expected(call, model), times=call.times)
    if terms.cost_cap_nanousd is not None and most.nanousd > terms.cost_cap_nanousd:
        refusals.add(JobCostCap(), is_certain=False)
    most_micros = most.price(terms) if calls or not terms.is_metered else terms.ceiling_micros
    balance = billing.balance(team)
    available = billing.spendable_on(team, job_type, balance)
    to_begin = first.price(terms)
    is_affordable = available >= (to_begin if most_micros is None else most_micros)
    if not is_affordable:
        needed = to_begin if available < to_begin or most_micros is None else most_micros
        refusals.add(ledger.insufficient(team, needed_micros=needed), is_certain=available < to_begin)
    return Quote(
        terms=terms,
        version=version,
        least_micros=_Use().price(terms),
        expected_micros=expected.price(terms) if is_expected else None,
        most_micros=most_micros,
        balance=balance,
        is_affordable=is_affordable,
        refusals=refusals.all,
    )


def _model(team: Team, call: QuotedCall, models_allowed: tuple[str, ...], terms: Terms) -> ResolvedModel:
    validity.require_usable(call.body)
    model = limits.able(catalog.resolve_cached(team, call.model, only=models_allowed), call.body)
    if terms.needs_prices and not model.has_prices:
        raise PricesMissing(f"Model '{model.asked}' has no price, so a job that is priced by cost cannot use it.")
    return model


def _bound(call: QuotedCall, model: ResolvedModel) -> Bound:
    if call.input_tokens is None:
        return bounds.of_call(call.body, model)
    return bounds.of_tokens(model, input_tokens=call.input_tokens, body=call.body)


def _use(bound: Bound) -> _Use:
    return _Use(bound.nanousd, bound.input_tokens + bound.output_tokens)


def _expected(call: QuotedCall, model: ResolvedModel) -> _Use:
    bound = _bound(call, model)
    output = {"max_tokens": call.expected_output_tokens, "n": call.body.get("n")}
    within = _use(bounds.of_tokens(model, input_tokens=bound.input_tokens, body=output))
    return min(within, _use(bound), key=lambda use: use.tokens)


class _Refusals:
    """Each refusal once, however many calls meet it."""

    def __init__(self) -> None:
        self.all: list[Refusal] = []

    def add(self, error: DomainError, *, is_certain: bool = True) -> None:
        if all((known.code, known.message) != (error.code, error.message) for known in self.all):
            self.all.append(Refusal(error.code, error.message, is_certain))

    @contextmanager
    def caught(self) -> Iterator[None]:
        try:
            yield
        except DomainError as error:
            self.add(error)
