"""Django's cache in Redis: while Redis is away, each process remembers for itself and nobody notices."""

import socket

import pytest
import redis

from apps.core.cache import HintingRedisCache


@pytest.fixture
def away() -> HintingRedisCache:
    """A cache whose Redis refuses connections."""
    with socket.socket() as unused:
        unused.bind(("127.0.0.1", 0))
        port = unused.getsockname()[1]
    return HintingRedisCache(f"redis://127.0.0.1:{port}/0", {"KEY_PREFIX": "test", "OPTIONS": {"socket_timeout": 1}})


def test_without_redis_this_process_remembers(away: HintingRedisCache):
    assert away.add("key", 1, 60)
    assert not away.add("key", 2, 60)
    assert away.get("key") == 1
    away.set("key", [1, 2], 60)
    assert away.get_many(["key"]) == {"key": [1, 2]}
    assert away.has_key("key")
    assert away.touch("key", 60)
    away.set_many({"number": 1}, 60)
    assert away.incr("number") == 2
    away.delete_many(["number"])
    assert away.delete("key")
    assert away.get("key", "gone") == "gone"


def test_redis_is_asked_again_only_after_a_while(away: HintingRedisCache, monkeypatch: pytest.MonkeyPatch):
    asked = []

    def refuse(self: object, *args: object, **kwargs: object) -> None:
        asked.append(args)
        raise redis.ConnectionError

    monkeypatch.setattr("django.core.cache.backends.redis.RedisCache.get", refuse)
    for _ in range(5):
        away.get("key")
    assert len(asked) == 1
    away._away_until = 0
    away.get("key")
    assert len(asked) == 2


def test_clearing_leaves_what_others_keep_in_redis(away: HintingRedisCache, monkeypatch: pytest.MonkeyPatch):
    def never(*_: object) -> None:
        raise AssertionError("all of Redis would be emptied")

    monkeypatch.setattr("django.core.cache.backends.redis.RedisCache.clear", never)
    away.set("key", 1)
    away.clear()
    assert away.get("key") is None
