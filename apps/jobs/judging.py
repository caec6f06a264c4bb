"""Whether a refused call would pass now, by the rules that its admission follows. Holds and writes nothing."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from apps.core.clock import now
from apps.core.ids import parse_uuid
from apps.jobs import quotes
from apps.jobs.models import Job
from apps.jobs.quotes import QuotedCall
from apps.limits import effective
from apps.limits.models import Decision, Metric
from apps.virtual_keys.models import VirtualKey


@dataclass(frozen=True, slots=True)
class Judgement:
    """What would refuse it now: codes and messages, none when it would pass. `limits` is how each on its way stands,
    `needed_micros` what such a job holds at least, `available_micros` what its team can hold now."""

    refusals: Sequence[tuple[str, str]]
    limits: Sequence[dict[str, Any]]
    needed_micros: int
    available_micros: int

    @property
    def passes(self) -> bool:
        return not self.refusals


def now_of(decision: Decision) -> Judgement:
    """A call of the same key, model and end user, as small as a call can be: what is not kept of a refused call is
    how long it was. `decision` is loaded with team and organization."""
    team, refusals = decision.team, []
    team.organization = decision.organization
    key = VirtualKey.objects.filter(pk=parsed).first() if (parsed := parse_uuid(decision.key_id)) else None
    if key is not None and key.revoked_at is not None:
        refusals.append(("key_revoked", "Its key is revoked."))
    elif key is not None and key.expires_at is not None and key.expires_at <= now():
        refusals.append(("key_expired", "Its key has expired."))
    quote = quotes.quote(
        team,
        job_type=_job_type(decision),
        calls=[QuotedCall(model=decision.model or None, body={}, input_tokens=1)],
        models_allowed=tuple(key.models_allowed) if key is not None else (),
    )
    refusals += [(each.code, each.message) for each in quote.refusals if each.is_certain]
    needed = max(quote.least_micros, 0 if quote.terms.is_metered else quote.terms.price_micros)
    states = _judged(decision, needed)
    refusals += [(_code(each), _in_words(each)) for each in states if each["verdict"] == "refused"]
    return Judgement(refusals, states, needed, quote.balance.spendable_micros + quote.balance.credit_line_micros)


def _job_type(decision: Decision) -> str:
    parsed = parse_uuid(decision.job_id)
    job = Job.objects.filter(pk=parsed, team=decision.team_id).only("job_type").first() if parsed else None
    return job.job_type if job is not None else ""


def _judged(decision: Decision, needed_micros: int) -> list[dict[str, Any]]:
    """Each limit on its way with the verdict for one call more."""
    states = effective.limits(decision.team, key_id=decision.key_id, model=decision.model, user_id=decision.user_id)
    judged = []
    for state in states:
        own = needed_micros if state["unit"] == "micros" else 1
        used = (state["used"] or 0) + (state["held"] or 0)
        is_known = state["used"] is not None
        verdict = "refused" if is_known and used + own > state["allowed"] else "passed"
        judged.append(state | {"verdict": verdict})
    return judged


def _code(state: dict[str, Any]) -> str:
    return "spend_limit_reached" if state["limit"] not in _RATES else "rate_limited"


_RATES = frozenset({Metric.REQUESTS, Metric.TOKENS, Metric.CALLS})


def _in_words(state: dict[str, Any]) -> str:
    return f"{state['limit'].replace('_', ' ')} of {state['scope']} {state['id'] or ''}".rstrip() + " is used up."
