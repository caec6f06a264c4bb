"""Counts of the last minute and of calls at a time: in Redis, or in memory where the platform is one process.

A take is all or nothing: what one limit refuses is counted by none. A minute is the sixty seconds before now, counted
by the second, so that no sixty seconds ever see more than is allowed. A lease of a concurrent call ends by itself.
"""

import math
import threading
import time
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import redis
from django.conf import settings
from redis.backoff import NoBackoff
from redis.retry import Retry

from apps.core.processes import of_this_process

# A second's count is left out once all of it is more than a minute old.
WINDOW_S = 61
SKIP_AFTER_FAILURE_S = 1.0


@dataclass(frozen=True, slots=True)
class Want:
    """What a call takes of a limit. `is_lease`: a place among those at a time, else a count of the last minute."""

    key: str
    own: int
    allowed: int
    is_lease: bool = False


@dataclass(frozen=True, slots=True)
class Figure:
    """How a limit stood before the take. In milliseconds: when what was wanted fits (None: never, or nobody knows),
    and when nothing is counted any more."""

    used: int
    fits_in_ms: int | None
    empty_in_ms: int

    def admits(self, want: Want) -> bool:
        """The rule of every limit."""
        return self.used + want.own <= want.allowed


@dataclass(frozen=True, slots=True)
class Taken:
    """The second in which a take was counted (None: refused), and how each limit stood."""

    at: int | None
    figures: list[Figure]


@dataclass(frozen=True, slots=True)
class Change:
    """What the count of a second becomes more or less by afterwards; with a lease, that it ends."""

    key: str
    at: int
    by: int = 0
    lease: str = ""


class CountersAway(Exception):
    """Redis cannot be asked."""


class Counters(Protocol):
    """Where rates are counted."""

    def take(self, wants: Sequence[Want], *, lease: str, lease_s: float) -> Taken:
        """Raises: CountersAway."""
        ...

    def change(self, changes: Sequence[Change]) -> None:
        """Correct what was taken, of however many calls. Raises: CountersAway."""
        ...

    def look(self, wants: Sequence[Want]) -> list[Figure]:
        """How limits stand. Raises: CountersAway."""
        ...


class MemoryCounters:
    """For one process that is web and worker at once."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._seconds: dict[str, dict[int, int]] = {}
        self._leases: dict[str, dict[str, float]] = {}

    def take(self, wants: Sequence[Want], *, lease: str, lease_s: float) -> Taken:
        with self._lock:
            now = time.time()
            figures = [self._figure(want, now) for want in wants]
            if not all(figure.admits(want) for figure, want in zip(figures, wants, strict=True)):
                return Taken(None, figures)
            for want in wants:
                if want.is_lease:
                    self._leases[want.key][lease] = now + lease_s
                else:
                    seconds = self._seconds[want.key]
                    seconds[int(now)] = seconds.get(int(now), 0) + want.own
            return Taken(int(now), figures)

    def change(self, changes: Sequence[Change]) -> None:
        with self._lock:
            for change in changes:
                if change.lease:
                    self._leases.get(change.key, {}).pop(change.lease, None)
                    continue
                seconds = self._seconds.get(change.key, {})
                if change.at in seconds:
                    seconds[change.at] += change.by
                    if seconds[change.at] <= 0:
                        del seconds[change.at]

    def look(self, wants: Sequence[Want]) -> list[Figure]:
        with self._lock:
            return [self._figure(want, time.time()) for want in wants]

    def forget(self) -> None:
        """Between tests."""
        with self._lock:
            self._seconds.clear()
            self._leases.clear()

    def _figure(self, want: Want, now: float) -> Figure:
        if want.is_lease:
            leases = {name: until for name, until in self._leases.get(want.key, {}).items() if until > now}
            self._leases[want.key] = leases
            return Figure(len(leases), None, _ms(max(leases.values(), default=now) - now))
        seconds = {at: count for at, count in self._seconds.get(want.key, {}).items() if at + WINDOW_S > now}
        self._seconds[want.key] = seconds
        used = sum(seconds.values())
        return Figure(
            used, _fits_in(want, used, seconds, now), _ms(max(seconds, default=now - WINDOW_S) + WINDOW_S - now)
        )


def _fits_in(want: Want, used: int, seconds: dict[int, int], now: float) -> int | None:
    if used + want.own <= want.allowed:
        return 0
    for at in sorted(seconds):
        used -= seconds[at]
        if used + want.own <= want.allowed:
            return _ms(at + WINDOW_S - now)
    return None


def _ms(seconds: float) -> int:
    return max(0, math.ceil(seconds * 1000))


_FIGURE = """
local WINDOW = 61
local t = redis.call('TIME')
local second = tonumber(t[1])
local ms = second * 1000 + math.floor(tonumber(t[2]) / 1000)

local function lease_figure(key)
    redis.call('ZREMRANGEBYSCORE', key, '-inf', ms)
    local last = redis.call('ZRANGE', key, -1, -1, 'WITHSCORES')
    local until_ms = last[2] and math.ceil(tonumber(last[2]) - ms) or 0
    return redis.call('ZCARD', key), -1, until_ms
end

local function count_figure(key, own, allowed)
    local fields = redis.call('HGETALL', key)
    local live, used, newest = {}, 0, nil
    for i = 1, #fields, 2 do
        local at = tonumber(fields[i])
        if (at + WINDOW) * 1000 > ms then
            local count = tonumber(fields[i + 1])
            used = used + count
            live[#live + 1] = {at, count}
            if newest == nil or at > newest then newest = at end
        else
            redis.call('HDEL', key, fields[i])
        end
    end
    local fits = 0
    if used + own > allowed then
        fits = -1
        table.sort(live, function(a, b) return a[1] < b[1] end)
        local left = used
        for _, one in ipairs(live) do
            left = left - one[2]
            if left + own <= allowed then
                fits = (one[1] + WINDOW) * 1000 - ms
                break
            end
        end
    end
    return used, fits, newest and (newest + WINDOW) * 1000 - ms or 0
end

local function figures(first)
    local out, all_fit = {}, true
    for i, key in ipairs(KEYS) do
        local at = first + (i - 1) * 3
        local own, allowed = tonumber(ARGV[at + 1]), tonumber(ARGV[at + 2])
        local used, fits, empty
        if ARGV[at] == 'lease' then
            used, fits, empty = lease_figure(key)
        else
            used, fits, empty = count_figure(key, own, allowed)
        end
        if used + own > allowed then all_fit = false end
        out[#out + 1] = used
        out[#out + 1] = fits
        out[#out + 1] = empty
    end
    return out, all_fit
end
"""
# ARGV: lease, milliseconds it lasts, then kind, own and allowed of each key. Its numbers are exact up to 2^53.
_TAKE = (
    _FIGURE
    + """
local out, all_fit = figures(3)
if not all_fit then
    table.insert(out, 1, -1)
    return out
end
for i, key in ipairs(KEYS) do
    local at = 3 + (i - 1) * 3
    if ARGV[at] == 'lease' then
        redis.call('ZADD', key, ms + tonumber(ARGV[2]), ARGV[1])
        redis.call('PEXPIRE', key, tonumber(ARGV[2]) + 1000)
    else
        redis.call('HINCRBY', key, second, ARGV[at + 1])
        redis.call('EXPIRE', key, WINDOW + 1)
    end
end
table.insert(out, 1, second)
return out
"""
)
_LOOK = (
    _FIGURE
    + """
local out = figures(1)
return out
"""
)
# ARGV: second, change and lease of each key.
_CHANGE = """
for i, key in ipairs(KEYS) do
    local second, by, lease = ARGV[i * 3 - 2], ARGV[i * 3 - 1], ARGV[i * 3]
    if lease ~= '' then
        redis.call('ZREM', key, lease)
    elseif redis.call('HEXISTS', key, second) == 1 then
        if redis.call('HINCRBY', key, second, by) <= 0 then
            redis.call('HDEL', key, second)
        end
    end
end
"""


class RedisCounters:
    """For all processes together, by Redis's clock: one script a take, so that it is one moment."""

    def __init__(self, url: str, prefix: str) -> None:
        # One hash tag for all, as a script's keys must lie on one node of a cluster.
        self._prefix = f"{prefix}:{{limits}}:"
        self._client: Any = redis.Redis.from_url(
            url,
            socket_timeout=settings.REDIS_TIMEOUT_S,
            socket_connect_timeout=settings.REDIS_TIMEOUT_S,
            health_check_interval=10,
            # Asked once: a take whose reply was lost would be counted twice, and its caller wait for longer.
            retry=Retry(NoBackoff(), 0),
        )
        self._take = self._client.register_script(_TAKE)
        self._look = self._client.register_script(_LOOK)
        self._change = self._client.register_script(_CHANGE)
        self._skip_until = 0.0

    def take(self, wants: Sequence[Want], *, lease: str, lease_s: float) -> Taken:
        at, *figures = self._run(self._take, wants, [lease, int(lease_s * 1000), *_arguments(wants)])
        return Taken(None if at < 0 else at, _figures(figures))

    def change(self, changes: Sequence[Change]) -> None:
        arguments = [argument for each in changes for argument in (each.at, each.by, each.lease)]
        self._run(self._change, changes, arguments)

    def look(self, wants: Sequence[Want]) -> list[Figure]:
        return _figures(self._run(self._look, wants, _arguments(wants)))

    def _run(self, script: Any, keyed: Sequence[Want] | Sequence[Change], arguments: Sequence[Any]) -> Any:
        if time.monotonic() < self._skip_until:
            raise CountersAway
        try:
            return script(keys=[self._prefix + each.key for each in keyed], args=arguments)
        except (redis.RedisError, OSError) as error:
            self._skip_until = time.monotonic() + SKIP_AFTER_FAILURE_S
            raise CountersAway(type(error).__name__) from error


def _arguments(wants: Sequence[Want]) -> list[Any]:
    return [
        argument for want in wants for argument in ("lease" if want.is_lease else "count", want.own, want.allowed)
    ]


def _figures(flat: Sequence[int]) -> list[Figure]:
    return [
        Figure(used, None if fits < 0 else fits, empty)
        for used, fits, empty in zip(flat[::3], flat[1::3], flat[2::3], strict=True)
    ]


def counters() -> Counters:
    """This process's."""
    if not settings.REDIS_URL:
        return of_this_process("counters in memory", MemoryCounters)
    url, prefix = settings.REDIS_URL, settings.REDIS_PREFIX
    return of_this_process(f"counters in {url}", lambda: RedisCounters(url, prefix))


def forget() -> None:
    """Empty what this process counted in memory: between tests."""
    of_this_process("counters in memory", MemoryCounters).forget()
