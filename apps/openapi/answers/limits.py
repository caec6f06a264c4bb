"""Answers about limits and refused calls."""

from typing_extensions import TypedDict

from apps.openapi.answers.shared import LongPage
from apps.openapi.kinds import Id, Instant, Metric, Scope


class Limit(TypedDict):
    """A limit of rate or spend. `allowed` is what holds now, with a raise that has not ended."""

    limit_id: str
    scope: Scope
    id: str | None
    organization_id: str | None
    team_id: str | None
    metric: Metric
    amount: int
    allowed: int
    unit: str
    raised_to: int | None
    raised_until: Instant | None
    raise_reason: str | None
    created_at: Instant
    updated_at: Instant


class DecisionLimit(TypedDict):
    """A limit that a refused call met, and how it stood. What all customers use of a shared one is for operators."""

    limit: str
    scope: str
    id: str | None
    used: int | None
    held: int | None
    allowed: int | None
    unit: str | None
    resets_at: Instant | None
    verdict: str


class Decision(TypedDict):
    """A refused call and why it was refused."""

    decision_id: Id
    created_at: Instant
    organization_id: str
    team_id: str
    key_id: str | None
    job_id: str | None
    model: str | None
    user_id: str | None
    code: str
    detail: str
    limits: list[DecisionLimit]


class Decisions(LongPage):
    """A page of refused calls, newest first."""

    decisions: list[Decision]


class EffectiveLimit(TypedDict):
    """A limit that a call would meet, and how it stands. What all customers use of a shared one is for operators."""

    limit: str
    scope: str
    id: str | None
    used: int | None
    held: int | None
    allowed: int
    unit: str
    resets_at: Instant | None


class EffectiveLimits(TypedDict):
    """Every limit that a call would meet."""

    team_id: str
    key_id: Id | None
    limits: list[EffectiveLimit]
