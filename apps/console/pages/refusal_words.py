"""Refusals in words: what refused, and what to tell the customer. No provider is named in either."""

from typing import Any

from apps.console import formats
from apps.limits.models import Decision

REASONS = {
    "insufficient_credits": "Not enough credits",
    "no_credit_account": "No credit account",
    "spend_limit_reached": "Spend limit reached",
    "rate_limited": "Over a rate limit",
    "team_not_active": "Team or organization not active",
    "model_not_allowed": "Model not open to the team",
    "model_group_unavailable": "Model group not available",
    "no_model_available": "No model available",
    "scope_missing": "Key lacks a scope",
    "address_not_allowed": "Key used from another network",
    "job_closed": "Job closed",
    "too_many_calls": "Too many calls in the job",
    "job_cap_reached": "Job's ceiling reached",
    "job_cost_cap": "Card's cost cap reached",
    "job_deadline_passed": "Job's deadline passed",
    "prices_missing": "Model without a price",
    "server_busy": "Server busy",
    "limits_unavailable": "Limits could not be checked",
}
# What an error with this code is sent as.
_STATUS = {"rate_limited": 429, "server_busy": 503, "limits_unavailable": 503, "insufficient_credits": 403}
_BAD_REQUEST = {"job_closed", "too_many_calls", "job_deadline_passed", "prices_missing", "max_credits_too_low"}
_CALLS = {
    "requests_per_minute": "requests a minute",
    "tokens_per_minute": "tokens a minute",
    "concurrent_calls": "calls at a time",
    "spend_per_day": "credits a day",
    "spend_per_week": "credits a week",
    "spend_per_month": "credits a month",
    "credits": "credits",
    "max_credits": "credits of the job",
}


def reason(code: str) -> str:
    return REASONS.get(code, code.replace("_", " ").capitalize())


def status(code: str) -> int:
    """The HTTP status that the refusal was sent with."""
    return _STATUS.get(code, 400 if code in _BAD_REQUEST else 403)


def refusing(decision: Decision) -> dict[str, Any] | None:
    """The limit that said no, if one did."""
    return next((each for each in decision.limits if each.get("verdict") == "refused"), None)


def metric(state: dict[str, Any]) -> str:
    name = str(state.get("limit") or "")
    return _CALLS.get(name, name.replace("_", " "))


def amount(state: dict[str, Any], value: Any) -> str:
    """A figure of a limit in its unit: credits, or a count."""
    if not isinstance(value, int):
        return formats.UNKNOWN
    return formats.credits(value) if state.get("unit") == "micros" else formats.count(value)


def whose(state: dict[str, Any]) -> str:
    return f"{state.get('scope') or ''} {state.get('id') or ''}".strip()


def sentence(decision: Decision) -> str:
    """When, why, and by what."""
    at = formats.clock(decision.created_at)
    state = refusing(decision)
    if state is None:
        return f"Refused {at}: {decision.message}"
    if state.get("limit") == "credits":
        left = left_of(state)
        return f"Refused {at}: {whose(state)} had {amount(state, left)} credits available. {decision.message}"
    allowed = amount(state, state.get("allowed"))
    return f"Refused {at}: {whose(state)} may use {allowed} {metric(state)}. {decision.message}"


def left_of(state: dict[str, Any]) -> int | None:
    figures = [state.get(name) for name in ("allowed", "used", "held")]
    if any(not isinstance(value, int) for value in figures[:2]):
        return None
    allowed, used, held = (value or 0 for value in figures)
    return int(allowed) - int(used) - int(held)


def to_customer(decision: Decision, *, passes: bool) -> str:
    """Three plain sentences to send to the customer."""
    at = f"{formats.instant_in_full(decision.created_at).split(' · ')[-1]}"
    asked = f" for the model “{formats.harmless(decision.model)}”" if decision.model else ""
    first = f"Your request{asked} at {at} was refused (reference {decision.pk})."
    return f"{first} {_why(decision)} {_what_next(decision, passes=passes)}"


def _why(decision: Decision) -> str:
    state = refusing(decision)
    if decision.code == "insufficient_credits":
        left = left_of(state) if state else None
        had = f" {formats.credits(left)} were available." if left is not None else ""
        return (
            f"Your team did not have enough credits.{had}".replace(". ", ": ", 1)
            if had
            else ("Your team did not have enough credits.")
        )
    if state is not None and decision.code in ("rate_limited", "spend_limit_reached"):
        return f"The limit of {amount(state, state.get('allowed'))} {metric(state)} was reached."
    words = reason(decision.code)
    return f"The reason: {words[0].lower()}{words[1:]}."


def _what_next(decision: Decision, *, passes: bool) -> str:
    if passes:
        return "The same request would pass now; please send it again."
    if decision.code == "rate_limited":
        return "Wait for the time in the Retry-After header and send it again, or ask us for a higher limit."
    if decision.code in ("insufficient_credits", "spend_limit_reached"):
        return "Add credits or ask us for a higher limit, then send the request again."
    return "We are looking into it and will tell you when you can send it again."
