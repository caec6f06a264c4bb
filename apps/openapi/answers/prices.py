"""Answers about prices and quotes."""

from typing_extensions import TypedDict

from apps.openapi.kinds import Credits, Exact, Id, Instant, Usd


class Price(TypedDict):
    """A price in dollars per million tokens, per request and per image. Null classes cost what their parent does."""

    price_id: Id
    model: str
    currency: str
    input: Usd
    cached_input: Usd | None
    cache_write: Usd | None
    cache_write_1h: Usd | None
    audio_input: Usd | None
    image_input: Usd | None
    output: Usd
    reasoning: Usd | None
    audio_output: Usd | None
    image_output: Usd | None
    per_request: Usd | None
    per_image: Usd | None
    valid_from: Instant
    in_force: bool
    scheduled: bool
    source: str | None
    created_by: str
    created_at: Instant


class QuoteCard(TypedDict):
    """The rate card that prices the job."""

    card_id: int
    version: int


class QuoteRefusal(TypedDict):
    """What would refuse the job."""

    code: str
    message: str
    certain: bool


class Quote(TypedDict):
    """What a job would cost. Null where there is no bound."""

    team_id: str
    job_type: str
    mode: str
    card: QuoteCard | None
    rounding: str | None
    credits_min: Credits
    credits_min_exact: Exact
    credits_expected: Credits | None
    credits_expected_exact: Exact | None
    credits_max: Credits | None
    credits_max_exact: Exact | None
    affordable: bool
    refused_by: list[QuoteRefusal]
    credits_remaining: Credits
    credits_held: Credits
    credits_exact: Exact
