"""Answers about rate cards."""

from typing_extensions import TypedDict

from apps.openapi.answers.shared import Page
from apps.openapi.kinds import Exact, Instant


class CardTerms(TypedDict):
    """A rate card version's terms; amounts are exact decimal strings."""

    mode: str
    price_credits: Exact
    credits_per_dollar: Exact
    tokens_per_credit: int
    cost_markup_percentage: str
    minimum_credits: Exact
    ceiling_credits: Exact | None
    allowance_usd: str | None
    allowance_tokens: int | None
    cost_cap_usd: str | None
    included_tries: int | None
    rounding: str
    on_failed: str
    on_cancelled: str
    on_partly_failed: str
    on_abandoned: str
    policy_percent: int


class RateCardVersion(TypedDict):
    """A version of a rate card."""

    number: int
    state: str
    effective_from: Instant | None
    created_by: str | None
    created_at: Instant
    terms: CardTerms


class RateCard(TypedDict):
    """A rate card with all its versions, newest first."""

    card_id: int
    scope: str
    organization_id: str | None
    team_id: str | None
    job_type: str | None
    created_at: Instant
    in_force: int | None
    versions: list[RateCardVersion]


class VersionOfCard(TypedDict):
    """A version with the card it is of."""

    card_id: int
    scope: str
    organization_id: str | None
    team_id: str | None
    job_type: str | None
    number: int
    state: str
    effective_from: Instant | None
    created_by: str | None
    created_at: Instant
    terms: CardTerms


class PricingVersion(TypedDict):
    """A version that prices, or was passed over."""

    card_id: int
    scope: str
    organization_id: str | None
    team_id: str | None
    job_type: str | None
    number: int
    effective_from: Instant
    terms: CardTerms


class EffectiveRateCard(TypedDict):
    """What prices a team's job type at an instant, and why."""

    team_id: str
    job_type: str | None
    at: Instant
    why: str
    version: PricingVersion | None
    passed_over: list[PricingVersion]


class DraftDiscarded(TypedDict):
    """A draft that is no more."""

    card_id: str
    number: int
    message: str


class RateCards(Page):
    """A page of rate cards."""

    rate_cards: list[RateCard]
