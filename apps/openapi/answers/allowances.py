"""Answers about credits to come."""

from typing_extensions import TypedDict

from apps.openapi.answers.shared import Page
from apps.openapi.kinds import Credits, Exact, Id, Instant, LotKind


class AutoRefill(TypedDict):
    """A team's recurring allowance."""

    team_id: str
    auto_refill_enabled: bool
    auto_refill: bool
    refill_amount: Credits | None
    refill_period: str | None
    refill_rolls_over: bool
    next_refill_at: Instant | None
    last_refill_at: Instant | None
    message: str


class ScheduledGrant(TypedDict):
    """A grant that is dated ahead."""

    id: Id
    status: str
    kind: LotKind
    credits: Credits
    credits_exact: Exact
    effective_at: Instant
    expires_at: Instant | None
    reason: str | None
    transaction_id: Id | None
    created_at: Instant


class ScheduledGrants(Page):
    """A page of a team's scheduled grants."""

    team_id: str
    scheduled_grants: list[ScheduledGrant]
