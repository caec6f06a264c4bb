"""A call's way past its limits: rates are taken before its admission, and given back if no call comes of it.

Every limit on the way applies, and the tightest wins. One rule: what is used and held and the call's own must not
exceed what is allowed. Spend is judged in the admission's transaction (`spend`), against the same limits.
"""

import logging
import math
import time
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from datetime import timedelta
from types import TracebackType
from typing import Any, Self

from django.conf import settings

from apps.core import clock
from apps.core.errors import DomainError
from apps.core.ids import new_id
from apps.limits import counters, index, services
from apps.limits.counters import Change, CountersAway, Figure, Taken, Want
from apps.limits.errors import LimitsUnavailable, RateLimitExceeded
from apps.limits.index import Applied
from apps.limits.models import SHARED, Metric
from apps.virtual_keys.services import Principal

# Longer than any call lives: the sweeper ends one a few seconds after its deadline.
LEASE_GRACE_S = 15.0
_SAID_EVERY_S = 60.0
# What an error tells of the limit that refused.
TOLD = ("limit", "scope", "id", "used", "held", "allowed", "unit", "resets_at")

log = logging.getLogger("saasllm.limits")


@dataclass(slots=True)
class Passage:
    """One call before its limits. As a block it gives back at its end what no call has kept.

    `taken` is what the call keeps of it, to be corrected at its end; `states` is how each limit stood, for people.
    """

    limits: tuple[Applied, ...] = ()
    model: str = ""
    user_id: str = ""
    time_zone: str = "UTC"
    taken: dict[str, Any] | None = None
    refusal: DomainError | None = None
    headers: dict[str, str] = field(default_factory=dict)
    states: list[dict[str, Any]] = field(default_factory=list)
    _is_kept: bool = False

    @property
    def spends(self) -> list[Applied]:
        """Those of its limits that are of credits."""
        return [each for each in self.limits if not each.is_rate]

    @property
    def is_plain(self) -> bool:
        """Whether nothing of it is decided in the admission's transaction."""
        return self.refusal is None and all(each.is_rate for each in self.limits)

    def require_passed(self) -> None:
        """Raises: RateLimitExceeded, LimitsUnavailable when the rates refused it.

        Said only here, as a repeat that is given an earlier call's answer takes nothing and is not refused.
        """
        if self.refusal is not None:
            raise self.refusal

    def keep(self) -> None:
        """The call was admitted."""
        self._is_kept = True

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None
    ) -> None:
        if self.taken is not None and not self._is_kept:
            give_back(self.taken)

    def described(self) -> list[dict[str, Any]]:
        """Every limit on its way and how it stood, also those that were not asked."""
        # As they were last asked: a call may be judged twice.
        known = {(state["limit"], state["scope"]): state for state in self.states}
        unasked = [
            state(each, used=None, held=None, resets_at=None, verdict="not_checked")
            for each in self.limits
            if (each.metric, each.scope) not in known
        ]
        return [*known.values(), *unasked]


def free() -> Passage:
    """The way of a call that meets no limit."""
    return Passage()


def enter(principal: Principal, *, model: str, user_id: str, tokens: int) -> Passage:
    """Take the rates of a call: one request, `tokens` of them, one place among those at a time. All or nothing.

    One trip to Redis where there is a rate, none else. Never in a transaction.
    """
    applied = index.current().applying(principal.team, key_id=principal.key_id, model=model, user_id=user_id)
    passage = Passage(applied, model, user_id, principal.organization.time_zone)
    rates = [each for each in applied if each.is_rate]
    if not rates:
        return passage
    lease = str(new_id())
    wants = [_want(each, tokens) for each in rates]
    lease_s = settings.CALL_DEADLINE_S + LEASE_GRACE_S
    try:
        taken = counters.counters().take(wants, lease=lease, lease_s=lease_s)
    except CountersAway as error:
        _say_away(error)
        if settings.RATE_LIMITS_WHEN_REDIS_IS_DOWN == "refuse":
            passage.refusal = LimitsUnavailable(retry_after_s=1)
        return passage
    _describe(passage, rates, wants, taken)
    if taken.at is None:
        passage.refusal = _refusal(rates, wants, taken.figures)
    else:
        passage.taken = {
            "at": taken.at,
            "lease": lease,
            "tokens": tokens,
            "of": [[each.metric, each.scope, each.subject] for each in rates],
        }
    return passage


def settle(ended: Iterable[tuple[Mapping[str, Any], int]]) -> None:
    """At the end of calls, each by what it took and the tokens that it used: its place is free, its tokens are these.

    One trip to Redis. A correction that is lost heals with the minute, a lease at its deadline. Never raises.
    """
    _change(
        [
            _changed(taken, metric, scope, subject, tokens - taken["tokens"])
            for taken, tokens in ended
            for metric, scope, subject in taken["of"]
            if metric == Metric.CALLS or (metric == Metric.TOKENS and tokens != taken["tokens"])
        ]
    )


def give_back(taken: Mapping[str, Any]) -> None:
    """All of it, when no call came of it. Never raises."""
    owns = {Metric.REQUESTS: 1, Metric.TOKENS: taken["tokens"]}
    _change([_changed(taken, metric, scope, subject, -owns.get(metric, 0)) for metric, scope, subject in taken["of"]])


def look(applied: list[Applied]) -> list[int | None]:
    """What of each rate is used now; None where it cannot be told."""
    try:
        return [figure.used for figure in counters.counters().look([_want(each, 0) for each in applied])]
    except CountersAway as error:
        _say_away(error)
        return [None] * len(applied)


def state(
    limit: Applied, *, used: int | None, held: int | None, resets_at: str | None, verdict: str
) -> dict[str, Any]:
    """A limit and how it stood, as errors and decisions tell it."""
    return {
        "limit": limit.metric,
        "scope": limit.scope,
        "id": limit.shown_id,
        "used": used,
        "held": held,
        "allowed": limit.allowed,
        "unit": services.unit(limit.metric),
        "resets_at": resets_at,
        "verdict": verdict,
    }


def to_customer(told: dict[str, Any]) -> dict[str, Any]:
    """A limit's state without what all customers together use of it, which is no customer's business."""
    return told | {"used": None, "held": None} if told.get("scope") in SHARED else told


def _changed(taken: Mapping[str, Any], metric: str, scope: str, subject: str, by: int) -> Change:
    lease = taken["lease"] if metric == Metric.CALLS else ""
    return Change(_key(metric, scope, subject), taken["at"], by, lease)


def _change(changes: list[Change]) -> None:
    if not changes:
        return
    try:
        counters.counters().change(changes)
    except CountersAway as error:
        _say_away(error)


def _want(limit: Applied, tokens: int) -> Want:
    own = tokens if limit.metric == Metric.TOKENS else 1
    return Want(_key(limit.metric, limit.scope, limit.subject), own, limit.allowed, limit.metric == Metric.CALLS)


def _key(metric: str, scope: str, subject: str) -> str:
    return f"{metric}:{scope}:{subject}"


def _describe(passage: Passage, rates: list[Applied], wants: list[Want], taken: Taken) -> None:
    """Tell how the rates stood, and in headers what the tightest of the customer's own leave."""
    tightest: dict[str, tuple[int, int, int]] = {}
    for limit, want, figure in zip(rates, wants, taken.figures, strict=True):
        admits = figure.admits(want)
        is_lease = limit.metric == Metric.CALLS
        passage.states.append(
            state(
                limit,
                used=0 if is_lease else figure.used,
                held=figure.used if is_lease else 0,
                resets_at=_resets_at(figure),
                verdict="passed" if admits else "refused",
            )
        )
        if is_lease or limit.is_shared:
            # A header goes to a customer.
            continue
        used, empty_in_ms = figure.used, figure.empty_in_ms
        if taken.at is not None:
            used, empty_in_ms = used + want.own, counters.WINDOW_S * 1000 - 1000
        left = max(0, limit.allowed - used)
        known = tightest.get(limit.metric)
        if known is None or (left, limit.allowed) < known[:2]:
            tightest[limit.metric] = (left, limit.allowed, empty_in_ms)
    for metric, (left, allowed, empty_in_ms) in tightest.items():
        name = services.unit(metric)
        passage.headers |= {
            f"x-ratelimit-limit-{name}": str(allowed),
            f"x-ratelimit-remaining-{name}": str(left),
            f"x-ratelimit-reset-{name}": _duration(empty_in_ms),
        }


def _refusal(rates: list[Applied], wants: list[Want], figures: list[Figure]) -> RateLimitExceeded:
    """For the limit that takes the longest to have room."""
    refused = [
        (limit, want, figure)
        for limit, want, figure in zip(rates, wants, figures, strict=True)
        if not figure.admits(want)
    ]
    limit, want, figure = max(refused, key=_wait_ms)
    told = to_customer(
        state(
            limit,
            used=0 if want.is_lease else figure.used,
            held=figure.used if want.is_lease else 0,
            resets_at=_resets_at(figure),
            verdict="refused",
        )
    )
    del told["verdict"]
    of = f" {limit.shown_id}" if limit.shown_id else ""
    text = f"Rate limit exceeded: {limit.allowed} {limit.metric.replace('_', ' ')} for {limit.scope}{of}."
    if want.own > limit.allowed:
        text += f" This call alone needs {want.own}."
        return RateLimitExceeded(text, needed=want.own, **told)
    wait_s = 1 if want.is_lease else max(1, math.ceil(_wait_ms((limit, want, figure)) / 1000))
    return RateLimitExceeded(text, retry_after_s=wait_s, **told)


def _wait_ms(refused: tuple[Applied, Want, Figure]) -> float:
    _, want, figure = refused
    if want.own > want.allowed:
        return math.inf
    return 1000 if figure.fits_in_ms is None else figure.fits_in_ms


def _resets_at(figure: Figure) -> str | None:
    """When what was wanted fits. Of calls at a time nobody knows."""
    if not figure.fits_in_ms:
        return None
    return clock.iso(clock.now() + timedelta(milliseconds=figure.fits_in_ms))


def _duration(ms: int) -> str:
    """As OpenAI writes it: 1s, 6m0s."""
    minutes, seconds = divmod(math.ceil(ms / 1000), 60)
    return f"{minutes}m{seconds}s" if minutes else f"{seconds}s"


_said_at = -_SAID_EVERY_S


def _say_away(error: CountersAway) -> None:
    global _said_at
    if time.monotonic() - _said_at < _SAID_EVERY_S:
        return
    _said_at = time.monotonic()
    does = "refused" if settings.RATE_LIMITS_WHEN_REDIS_IS_DOWN == "refuse" else "let through"
    log.warning("rates cannot be counted, calls with rate limits are %s: %s", does, error)
