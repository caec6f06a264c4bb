"""Values kept for a moment."""

import pytest

from apps.core import short_cache
from apps.core.short_cache import ShortCache


class Loader:
    """Gives a new number each time."""

    def __init__(self) -> None:
        self.times = 0

    def __call__(self) -> int:
        self.times += 1
        return self.times


@pytest.fixture
def now(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    found = [1_000.0]
    monkeypatch.setattr(short_cache.time, "monotonic", lambda: found[0])
    return found


def test_value_is_loaded_once_in_its_time(now: list[float]):
    cache: ShortCache[int] = ShortCache(seconds=0.5)
    load = Loader()

    cache.get("a", load)
    now[0] += 0.49
    assert cache.get("a", load) == 1
    now[0] += 0.01
    assert cache.get("a", load) == 2


def test_each_key_has_its_own(now: list[float]):
    cache: ShortCache[int] = ShortCache(seconds=0.5)
    load = Loader()

    assert [cache.get(key, load) for key in ("a", "b", "a")] == [1, 2, 1]


def test_failure_is_not_kept(now: list[float]):
    cache: ShortCache[int] = ShortCache(seconds=0.5)

    def fail() -> int:
        raise LookupError

    with pytest.raises(LookupError):
        cache.get("a", fail)
    assert cache.get("a", lambda: 7) == 7


def test_what_is_forgotten_is_loaded_again(now: list[float]):
    cache: ShortCache[int] = ShortCache(seconds=0.5)
    load = Loader()
    cache.get("a", load)

    cache.clear()

    assert cache.get("a", load) == 2


def test_it_does_not_grow_without_end(now: list[float]):
    cache: ShortCache[int] = ShortCache(seconds=0.5, size=3)

    for key in range(10):
        cache.get(key, lambda: 0)

    assert len(cache._kept) <= 3
