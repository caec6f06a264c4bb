"""POST /api/quotes: what a job would cost, before it runs."""

from typing import Annotated, Any

from pydantic import Field, model_validator
from rest_framework.request import Request
from rest_framework.response import Response

from apps.api.authentication import EitherView
from apps.api.calls import CallInput, ModelName, Tokens
from apps.api.jobs import JobType
from apps.api.parsing import Input, JSONObject, parse
from apps.core.errors import InvalidField
from apps.core.money import MICROS, exact_credits, whole_credits
from apps.jobs import quotes
from apps.jobs.quotes import Quote, QuotedCall
from apps.organizations.rights import Right

_InputTokens = Annotated[int, Field(ge=0, le=10_000_000)]
_Choices = Annotated[int, Field(ge=1, le=128)]


class QuotedCallInput(CallInput):
    """A call to be: as it will be made, or with the tokens of its input in the place of `messages`."""

    messages: Annotated[list[JSONObject], Field(max_length=10_000)] = []
    input_tokens: _InputTokens | None = None
    n: _Choices | None = None

    @model_validator(mode="after")
    def _says_its_input(self) -> "QuotedCallInput":
        if bool(self.messages) == (self.input_tokens is not None):
            raise ValueError("Give messages or input_tokens, one of them")
        return self

    def as_call(self) -> QuotedCall:
        body = self.body() | ({} if self.n is None else {"n": self.n})
        if self.input_tokens is not None:
            del body["messages"]
        return QuotedCall(self.wanted(), body, input_tokens=self.input_tokens)


class EstimateInput(Input):
    """Calls that are alike: tokens of each, and how many."""

    input_tokens: _InputTokens
    output_tokens: Tokens
    calls: Annotated[int, Field(ge=1, le=1_000_000)] = 1
    model: ModelName | None = None
    model_group: ModelName | None = None
    max_tokens: Tokens | None = None

    def as_call(self) -> QuotedCall:
        return QuotedCall(
            self.model or self.model_group or None,
            {"max_tokens": self.max_tokens} if self.max_tokens else {},
            input_tokens=self.input_tokens,
            expected_output_tokens=self.output_tokens,
            times=self.calls,
        )


class QuoteInput(Input):
    """A job to be."""

    job_type: JobType
    team_id: str | None = None
    calls: Annotated[list[QuotedCallInput], Field(max_length=1000)] = []
    estimate: EstimateInput | None = None

    @model_validator(mode="after")
    def _says_its_calls_once(self) -> "QuoteInput":
        if self.calls and self.estimate is not None:
            raise ValueError("Give calls or an estimate, not both")
        return self

    def quoted(self) -> list[QuotedCall]:
        return [self.estimate.as_call()] if self.estimate else [call.as_call() for call in self.calls]


class Quotes(EitherView):
    """POST /api/quotes: a key for its own team, an operator for any. Holds nothing, writes nothing."""

    rights = {"POST": Right.VIEW}

    def post(self, request: Request) -> Response:
        body = parse(QuoteInput, request)
        principal = self.caller.principal
        team_id = body.team_id or (principal.team.team_id if principal else None)
        if team_id is None:
            raise InvalidField("team_id", "Field required", kind="missing")
        team = self.team(team_id, refusal=f"API key does not belong to team '{team_id}'")
        found = quotes.quote(
            team,
            job_type=body.job_type,
            calls=body.quoted(),
            models_allowed=principal.models_allowed if principal else (),
        )
        return Response({"team_id": team_id, "job_type": body.job_type, **_presented(found)})


def _presented(quote: Quote) -> dict[str, Any]:
    """Least rounded down to whole credits, the others up, each with its exact figure. No costs, no models, no
    currency: the mode is flat, metered or hybrid."""
    version = quote.version
    return {
        "mode": quote.terms.mode.split("_")[0],
        "card": {"card_id": version.card_id, "version": version.number} if version else None,
        "rounding": quote.terms.rounding if quote.terms.is_metered else None,
        "credits_min": whole_credits(quote.least_micros),
        "credits_min_exact": exact_credits(quote.least_micros),
        **_rounded_up("credits_expected", quote.expected_micros),
        **_rounded_up("credits_max", quote.most_micros),
        "affordable": quote.is_affordable,
        "refused_by": [
            {"code": refusal.code, "message": refusal.message, "certain": refusal.is_certain}
            for refusal in quote.refusals
        ],
        **{name: quote.balance.as_wire()[name] for name in ("credits_remaining", "credits_held", "credits_exact")},
    }


def _rounded_up(name: str, micros: int | None) -> dict[str, Any]:
    if micros is None:
        return {name: None, f"{name}_exact": None}
    return {name: -(-micros // MICROS), f"{name}_exact": exact_credits(micros)}
