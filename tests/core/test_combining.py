"""One thread does what several want; each gets its own."""

import threading
from collections.abc import Callable, Sequence
from concurrent.futures import Future, ThreadPoolExecutor

import pytest

from apps.core.combining import Combiner


class Doubling:
    """Doubles numbers, and refuses those below zero. Its groups can be held back until others have come."""

    def __init__(self) -> None:
        self.groups: list[list[int]] = []
        self.has_begun = threading.Event()
        self.may_go_on = threading.Event()
        self.may_go_on.set()

    def __call__(self, given: Sequence[int]) -> list[int]:
        self.groups.append(list(given))
        self.has_begun.set()
        assert self.may_go_on.wait(10)
        if min(given) < 0:
            raise ValueError(f"{min(given)} is below zero")
        return [2 * number for number in given]


def while_one_is_done(doubling: Doubling, combiner: Combiner[int, int], then: list[int]) -> list[Future[int]]:
    """Numbers that come, in this order, while a first one, 1, is being done."""
    doubling.may_go_on.clear()
    pool = ThreadPoolExecutor(max_workers=len(then) + 1)
    futures = [pool.submit(combiner, 1)]
    assert doubling.has_begun.wait(10)
    for number in then:
        waiting = len(combiner._waiting)
        futures.append(pool.submit(combiner, number))
        reached(lambda least=waiting + 1: len(combiner._waiting) == least)
    doubling.may_go_on.set()
    pool.shutdown(wait=True)
    return futures


def reached(condition: Callable[[], bool]) -> None:
    pause = threading.Event()
    for _ in range(10_000):
        if condition():
            return
        pause.wait(0.001)
    raise AssertionError("not reached")


def test_one_alone_waits_for_nobody():
    doubling = Doubling()

    assert [Combiner(doubling, most=8)(number) for number in (1, 2)] == [2, 4]


def test_who_comes_meanwhile_is_the_next_group_and_each_gets_its_own():
    doubling = Doubling()

    futures = while_one_is_done(doubling, Combiner(doubling, most=8), [2, 3, 4])

    assert [future.result() for future in futures] == [2, 4, 6, 8]
    assert doubling.groups == [[1], [2, 3, 4]]


def test_group_is_bounded_and_the_rest_comes_next():
    doubling = Doubling()

    futures = while_one_is_done(doubling, Combiner(doubling, most=2), [2, 3, 4])

    assert [future.result() for future in futures] == [2, 4, 6, 8]
    assert doubling.groups == [[1], [2, 3], [4]]


def test_group_is_bounded_by_weight_and_one_alone_may_weigh_what_it_will():
    doubling = Doubling()
    combiner = Combiner(doubling, most=8, weigh=lambda number: number, heaviest=10)

    futures = while_one_is_done(doubling, combiner, [4, 6, 1, 50, 9])

    assert [future.result() for future in futures] == [2, 8, 12, 2, 100, 18]
    assert doubling.groups == [[1], [4, 6], [1], [50], [9]]


def test_failure_of_one_is_nobody_else_s():
    doubling = Doubling()

    one, two, bad, four = while_one_is_done(doubling, Combiner(doubling, most=8), [2, -3, 4])

    assert [future.result() for future in (one, two, four)] == [2, 4, 8]
    with pytest.raises(ValueError, match="-3 is below zero"):
        bad.result()


def test_group_that_must_not_be_done_again_fails_as_a_whole_and_the_next_is_done():
    doubling = Doubling()
    combiner = Combiner(doubling, most=2, may_redo=lambda error: not isinstance(error, ValueError))

    one, two, bad, four = while_one_is_done(doubling, combiner, [2, -3, 4])

    assert [future.result() for future in (one, four)] == [2, 8]
    for future in (two, bad):
        with pytest.raises(ValueError, match="-3 is below zero"):
            future.result()
    assert doubling.groups == [[1], [2, -3], [4]]


def test_failure_alone_is_raised_and_the_next_one_is_done():
    combiner = Combiner(Doubling(), most=8)

    with pytest.raises(ValueError, match="-1 is below zero"):
        combiner(-1)
    assert combiner(2) == 4


def test_many_threads_all_get_their_own():
    combiner = Combiner(Doubling(), most=5)

    with ThreadPoolExecutor(max_workers=16) as pool:
        assert list(pool.map(combiner, range(2000))) == [2 * number for number in range(2000)]
