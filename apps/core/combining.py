"""What several threads want at the same moment, done for all of them by one: one round trip, one commit.

Without a thread of its own: who comes first does what is there when it begins, those who come meanwhile are the next
group. A thread that is alone waits for nobody, and the busier the process the larger the groups. The idea is flat
combining (Hendler, Incze, Shavit, Tzafrir 2010).
"""

import logging
import threading
from collections import deque
from collections.abc import Callable, Sequence
from typing import Any, Generic, TypeVar

from apps.core.db import release_connection

log = logging.getLogger("saasllm.combining")
# Of a group's texts, which become one parameter of one statement: several copies of it are in memory at once.
GROUP_BYTES = 8_000_000
Given = TypeVar("Given")
Result = TypeVar("Result")


class _Wish(Generic[Given, Result]):
    __slots__ = ("error", "given", "is_done", "must_do_alone", "result", "wake", "weight")

    def __init__(self, given: Given, weight: int) -> None:
        self.given = given
        self.weight = weight
        self.result: Any = None
        self.is_done = False
        self.must_do_alone = False
        self.error: BaseException | None = None
        # A lock taken at once is the cheapest thing to wait for.
        self.wake = threading.Lock()
        self.wake.acquire()


class Combiner(Generic[Given, Result]):
    """Calls `do` with what up to `most` threads gave, and gives each its own result, in the same order.

    When `do` raises for a group, each of its threads does its own part alone, so that one bad wish fails nobody
    else's. That repeats what `do` may have done; where that must not be, `may_redo` judges the error, and without its
    consent all of the group have it.

    With `weigh` a group ends before it would weigh more than `heaviest`; one alone may weigh what it will.

    A thread that waits gives its database connection back first: those who wait must not have what the one that
    works for them needs. So never inside a transaction.
    """

    def __init__(
        self,
        do: Callable[[Sequence[Given]], Sequence[Result]],
        *,
        most: int,
        may_redo: Callable[[BaseException], bool] = lambda error: True,
        weigh: Callable[[Given], int] = lambda given: 0,
        heaviest: int = GROUP_BYTES,
    ) -> None:
        self._do = do
        self._most = most
        self._weigh = weigh
        self._heaviest = heaviest
        self._may_redo = may_redo
        self._mutex = threading.Lock()
        self._waiting: deque[_Wish[Given, Result]] = deque()
        self._is_busy = False

    def __call__(self, given: Given) -> Result:
        """The result of `given`. Raises: what `do` raises for it alone."""
        wish: _Wish[Given, Result] = _Wish(given, self._weigh(given))
        with self._mutex:
            self._waiting.append(wish)
            leads = not self._is_busy
            self._is_busy = True
        if not leads:
            try:
                release_connection()
            except Exception:  # noqa: BLE001 - whatever it is, this thread has a turn to take.
                log.warning("a connection could not be given back")
            wish.wake.acquire()
        if not wish.is_done:
            self._lead()
        if wish.error is not None:
            raise wish.error
        if wish.must_do_alone:
            return self._do([given])[0]
        result: Result = wish.result
        return result

    def _lead(self) -> None:
        """Do the group whose first one this thread's is, then let the next group's first one lead."""
        with self._mutex:
            group = [self._waiting.popleft()]
            weight = group[0].weight
            while self._waiting and len(group) < self._most:
                weight += self._waiting[0].weight
                if weight > self._heaviest:
                    break
                group.append(self._waiting.popleft())
        try:
            results = self._do([wish.given for wish in group])
            for wish, result in zip(group, results, strict=True):
                wish.result = result
        except BaseException as error:  # noqa: BLE001 - raised by each whose it is.
            # One that was alone has the error in any case.
            redo = len(group) > 1 and self._may_redo(error)
            for wish in group:
                wish.must_do_alone = redo
                wish.error = None if redo else error
        finally:
            with self._mutex:
                following = self._waiting[0] if self._waiting else None
                self._is_busy = following is not None
            for wish in group:
                wish.is_done = True
            for wish in group[1:]:
                wish.wake.release()
            if following is not None:
                following.wake.release()
