"""Where rates are counted, in memory and in Redis alike."""

import threading
import uuid
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest
import redis

from apps.limits import counters
from apps.limits.counters import Change, CountersAway, Figure, MemoryCounters, RedisCounters, Want, _fits_in
from tests.harness import services


@pytest.fixture(scope="module")
def redis_url() -> Iterator[str]:
    """A Redis database of this module's own."""
    with services.free_redis_db() as url:
        yield url


@pytest.fixture(params=["memory", pytest.param("redis", marks=pytest.mark.services)])
def counting(request: pytest.FixtureRequest) -> Any:
    if request.param == "memory":
        return MemoryCounters()
    return RedisCounters(request.getfixturevalue("redis_url"), uuid.uuid4().hex)


def requests(allowed: int, key: str = "rpm", own: int = 1) -> Want:
    return Want(key, own, allowed)


def places(allowed: int, key: str = "calls") -> Want:
    return Want(key, 1, allowed, is_lease=True)


def take(counting: Any, *wants: Want, lease: str = "", lease_s: float = 60) -> Any:
    return counting.take(wants, lease=lease or uuid.uuid4().hex, lease_s=lease_s)


def used(counting: Any, *wants: Want) -> list[int]:
    return [figure.used for figure in counting.look(wants)]


def test_as_many_are_taken_as_are_allowed(counting):
    taken = [take(counting, requests(3)) for _ in range(5)]
    assert [each.at is not None for each in taken] == [True, True, True, False, False]
    assert [each.figures[0].used for each in taken] == [0, 1, 2, 3, 3]
    fits_in_ms = taken[-1].figures[0].fits_in_ms
    assert 50_000 < fits_in_ms <= 61_000


def test_nothing_is_allowed_where_the_limit_is_nought(counting):
    assert take(counting, requests(0)).at is None
    assert take(counting, places(0)).at is None


def test_b19_a_refused_take_consumes_nothing_of_any_limit(counting):
    take(counting, requests(1, "full"))
    wide, tokens, calls = requests(100, "wide"), requests(1000, "tokens", own=500), places(5)
    for _ in range(3):
        assert take(counting, wide, tokens, calls, requests(1, "full")).at is None
    assert used(counting, wide, tokens, calls) == [0, 0, 0]


def test_what_is_given_back_can_be_taken_again(counting):
    at = take(counting, requests(1), requests(100, "tokens", own=100), places(1), lease="a").at
    counting.change([Change("rpm", at, -1), Change("tokens", at, -100), Change("calls", at, lease="a")])
    assert used(counting, requests(1), requests(1, "tokens"), places(1)) == [0, 0, 0]
    assert take(counting, requests(1), requests(100, "tokens", own=100), places(1)).at is not None


def test_tokens_are_corrected_down_and_up(counting):
    at = take(counting, requests(1000, "tokens", own=500)).at
    counting.change([Change("tokens", at, -400)])
    assert used(counting, requests(0, "tokens")) == [100]
    counting.change([Change("tokens", at, 50)])
    assert used(counting, requests(0, "tokens")) == [150]


def test_a_correction_of_a_second_that_is_over_changes_nothing(counting):
    take(counting, requests(1000, "tokens", own=500))
    counting.change([Change("tokens", 1_000, 400), Change("tokens", 1_000, -400)])
    counting.change([Change("unknown", 1_000, 400)])
    assert used(counting, requests(0, "tokens"), requests(0, "unknown")) == [500, 0]


def test_a_place_is_free_when_its_lease_is_ended_by_its_holder_alone(counting):
    assert take(counting, places(1), lease="a").at is not None
    counting.change([Change("calls", 0, lease="b")])
    assert take(counting, places(1), lease="c").at is None
    counting.change([Change("calls", 0, lease="a")])
    assert take(counting, places(1), lease="c").at is not None


def test_b19_a_lease_that_nobody_ends_expires(counting):
    assert take(counting, places(1), lease="lost", lease_s=0.001).at is not None
    pause = threading.Event()
    for _ in range(200):
        if take(counting, places(1), lease="next").at is not None:
            break
        pause.wait(0.01)
    assert used(counting, places(1)) == [1]


def test_b19_many_at_once_take_exactly_what_is_allowed(counting):
    with ThreadPoolExecutor(32) as pool:
        futures = [pool.submit(take, counting, requests(10), places(7)) for _ in range(200)]
    assert sum(future.result().at is not None for future in futures) == 7
    assert used(counting, requests(10), places(7)) == [7, 7]


def test_large_figures_are_exact(counting):
    large = 10**12
    assert take(counting, requests(large, own=large - 1)).at is not None
    assert take(counting, requests(large, own=2)).at is None
    assert take(counting, requests(large, own=1)).at is not None
    assert used(counting, requests(large)) == [large]


def test_no_sixty_seconds_see_more_than_is_allowed(clock_of_counters):
    counting = MemoryCounters()
    start = clock_of_counters.now
    admitted: list[float] = []
    for tenth in range(3000):
        clock_of_counters.now = start + tenth / 10
        if take(counting, requests(5)).at is not None:
            admitted.append(clock_of_counters.now)
    assert all(later - earlier >= 60 for earlier, later in zip(admitted, admitted[5:], strict=False))
    # And no more is kept back than a second's worth.
    assert len(admitted) == 5 * 5


def test_figures_tell_when_there_is_room(clock_of_counters):
    counting = MemoryCounters()
    start = clock_of_counters.now
    for second in (0, 10, 20):
        clock_of_counters.now = start + second
        take(counting, requests(10, own=4) if second < 20 else requests(10, own=2))
    refused = take(counting, requests(10, own=5)).figures[0]
    # 4 + 4 + 2 are used: the first four go after 61 s, and 5 fit when the second four have gone too.
    assert (refused.used, refused.fits_in_ms, refused.empty_in_ms) == (10, 51_000, 61_000)
    clock_of_counters.now = start + 20 + 51
    assert take(counting, requests(10, own=5)).at is not None


def test_what_never_fits_has_no_time(clock_of_counters):
    assert _fits_in(requests(10, own=11), 3, {1: 3}, 2.0) is None
    assert Figure(0, None, 0).admits(requests(10, own=11)) is False


@pytest.mark.services
def test_redis_forgets_its_keys_by_itself(redis_url):
    prefix = uuid.uuid4().hex
    counting, client = RedisCounters(redis_url, prefix), redis.Redis.from_url(redis_url)
    take(counting, requests(5), places(5), lease_s=30)
    found = {key.decode(): client.ttl(key) for key in client.scan_iter(match=f"{prefix}:*")}
    assert set(found) == {f"{prefix}:{{limits}}:rpm", f"{prefix}:{{limits}}:calls"}
    assert all(0 < ttl <= 62 for ttl in found.values())


@pytest.mark.services
def test_redis_leaves_old_seconds_out(redis_url):
    prefix = uuid.uuid4().hex
    counting, client = RedisCounters(redis_url, prefix), redis.Redis.from_url(redis_url)
    key = f"{prefix}:{{limits}}:rpm"
    now = client.time()[0]
    client.hset(key, mapping={now - 65: 5, now - 30: 3})
    client.expire(key, 60)
    taken = take(counting, requests(3))
    assert (taken.at, taken.figures[0].used) == (None, 3)
    assert 29_000 < taken.figures[0].fits_in_ms <= 31_000
    assert set(client.hkeys(key)) == {str(now - 30).encode()}


def test_redis_that_is_away_is_not_asked_again_at_once(settings, monkeypatch):
    settings.REDIS_TIMEOUT_S = 0.2
    counting = RedisCounters("redis://127.0.0.1:1/0", "nobody")
    with pytest.raises(CountersAway):
        take(counting, requests(1))
    monkeypatch.setattr(counting, "_take", lambda **_: pytest.fail("asked again"))
    with pytest.raises(CountersAway):
        take(counting, requests(1))


def test_one_process_counts_in_memory_and_several_in_redis(settings):
    settings.REDIS_URL = ""
    assert isinstance(counters.counters(), MemoryCounters)
    settings.REDIS_URL = "redis://127.0.0.1:1/0"
    assert isinstance(counters.counters(), RedisCounters)
