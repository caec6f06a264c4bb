"""What needs somebody, in sentences with links. Kept for a moment, since many look at once."""

from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime
from urllib.parse import urlencode

from django.urls import reverse

from apps.analytics import attention
from apps.analytics.attention import Item, Kind
from apps.console import formats
from apps.core import clock
from apps.core.short_cache import ShortCache

_KEPT_S = 20.0


@dataclass(frozen=True, slots=True)
class Line:
    """`look` is the state's look: bad or look. `names` are what others wrote."""

    look: str
    sentence: str
    names: tuple[str, ...]
    more: int
    url: str


@dataclass(frozen=True, slots=True)
class Needs:
    lines: tuple[Line, ...]
    checked_at: datetime


_kept: ShortCache[Needs] = ShortCache(seconds=_KEPT_S, size=1)


def forget_cached() -> None:
    """Forget what this process has found."""
    _kept.clear()


def needs() -> Needs:
    """All of it, the gravest first; at most 20 seconds old."""
    return _kept.get("all", _look)


def _look() -> Needs:
    return Needs(tuple(_line(item) for item in attention.needs_you()), clock.now())


def _line(item: Item) -> Line:
    look, word, url = _WORDS[item.kind]
    return Line(look, word(item), item.ids, max(item.count - len(item.ids), 0), url(item))


def _list(route: str, **query: str) -> Callable[[Item], str]:
    return lambda item: reverse(route) + (f"?{urlencode(query)}" if query else "")


def _first(route: str, name: str, **query: str) -> Callable[[Item], str]:
    """The list, narrowed to what the item names when that is one thing."""

    def url(item: Item) -> str:
        wanted = query | ({name: item.ids[0]} if item.count == 1 and item.ids else {})
        return reverse(route) + (f"?{urlencode(wanted)}" if wanted else "")

    return url


def _many(count: int, one: str, several: str) -> str:
    return f"{formats.count(count)} {one if count == 1 else several}"


_WORDS: dict[Kind, tuple[str, Callable[[Item], str], Callable[[Item], str]]] = {
    Kind.LEDGER_DIFFERS: (
        "bad",
        lambda item: f"The ledger has {_many(item.count, 'difference', 'differences')}.",
        _list("admin:system"),
    ),
    Kind.CALL_WAITS: (
        "bad",
        lambda item: (
            f"{_many(item.count, 'call waits', 'calls wait')} for a worker for too long, the oldest for"
            f" {formats.duration(item.amount * 1000)}."
        ),
        _list("admin:jobs_call_changelist", state="queued"),
    ),
    Kind.MODELS_UNPRICED: (
        "look",
        lambda item: (
            f"{_many(item.count, 'model', 'models')} in use without a price:"
            f" {_many(item.amount, 'call', 'calls')} in 7 days at an unknown cost."
        ),
        _list("admin:catalog_price_changelist"),
    ),
    Kind.TEAMS_CRITICAL: (
        "bad",
        lambda item: f"{_many(item.count, 'team has', 'teams have')} 10 % or less of their credits left.",
        _first("admin:teams_team_changelist", "q", state="active", order="available_micros"),
    ),
    Kind.TEAMS_LOW: (
        "look",
        lambda item: f"{_many(item.count, 'team has', 'teams have')} 20 % or less of their credits left.",
        _first("admin:teams_team_changelist", "q", state="active", order="available_micros"),
    ),
    Kind.UNCOLLECTED: (
        "look",
        lambda item: (
            f"{formats.credits_in_words(item.amount)} of jobs in 30 days could not be collected from"
            f" {_many(item.count, 'team', 'teams')}."
        ),
        _first("admin:jobs_job_changelist", "team", uncollected="yes", range="30d"),
    ),
    Kind.MARGIN_NEGATIVE: (
        "look",
        lambda item: (
            f"{_many(item.count, 'job type', 'job types')} cost {formats.usd_sum(item.amount)} more than they"
            " earned in 30 days."
        ),
        _first("admin:jobs_job_changelist", "type", range="30d"),
    ),
    Kind.GRANTS_EXPIRE: (
        "look",
        lambda item: (
            f"{formats.credits_in_words(item.amount)} of {_many(item.count, 'customer', 'customers')} expire within"
            " 14 days."
        ),
        _list("admin:credits_grant_changelist"),
    ),
    Kind.KEYS_EXPIRE: (
        "look",
        lambda item: f"{_many(item.count, 'key expires', 'keys expire')} within 7 days.",
        _list("admin:virtual_keys_virtualkey_changelist"),
    ),
}
