"""What jobs hold and are charged, counted in the spend windows that they keep from their first call on."""

from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager

from apps.core.errors import DomainError
from apps.core.verification import Difference
from apps.jobs.models import Job
from apps.limits import spend
from apps.limits.gate import Passage
from apps.limits.models import SpendWindow


def begin(job: Job, window_ids: list[int], *, before: Passage) -> None:
    """Have a locked job count in these windows, from its first call on, with what it has reserved before.

    Raises: SpendLimitReached.
    """
    if window_ids:
        _count_in(job, window_ids, before)


def join(job: Job, window_ids: list[int], *, before: Passage) -> None:
    """Have a locked job count for the key and the model of a later call too. Else a limited one would spend without
    limit in jobs that another began. A query only for those with limits of spend.

    Raises: SpendLimitReached.
    """
    if any(each.scope in spend.OF_A_CALL for each in before.spends):
        more = spend.of_others(window_ids, than=job.spend_windows or [])
        if more:
            _count_in(job, more, before)


def _count_in(job: Job, window_ids: list[int], before: Passage) -> None:
    job.spend_windows = sorted({*(job.spend_windows or []), *window_ids})
    Job.objects.filter(pk=job.pk).update(spend_windows=job.spend_windows)
    if job.held_micros:
        # All of them, as they are locked in the order of their ids.
        windows = [window for window in spend.lock(job.spend_windows) if window.pk in window_ids]
        spend.require_room(windows, job.held_micros, before.states)
        spend.post(windows, held_micros=job.held_micros, used_micros=0)


@contextmanager
def counted(job: Job, *, before: Passage | None = None) -> Iterator[None]:
    """Count what the block changes of a locked job's hold and charge. The windows are locked before any account.

    With the passage of a call, the more that the block holds must have room.  Raises: SpendLimitReached.
    """
    if not job.spend_windows:
        yield
        return
    windows = spend.lock(job.spend_windows)
    held_micros, charged_micros = job.held_micros, job.charged_micros
    try:
        yield
    except DomainError:
        if before is not None:
            # How they stood, for the decision.
            spend.require_room(windows, 0, before.states)
        raise
    more_micros = job.held_micros - held_micros
    if before is not None:
        spend.require_room(windows, more_micros, before.states)
    spend.post(windows, held_micros=more_micros, used_micros=job.charged_micros - charged_micros)


def windows_follow_from_jobs() -> Iterator[Difference]:
    """What is held and used of a period is what the jobs that count in it hold and were charged."""
    held: Counter[int] = Counter()
    used: Counter[int] = Counter()
    counting = Job.objects.filter(spend_windows__isnull=False).order_by()
    rows = counting.values_list("spend_windows", "held_micros", "charged_micros")
    for ids, held_micros, charged_micros in rows.iterator():
        for window_id in ids or ():
            held[window_id] += held_micros
            used[window_id] += charged_micros
    for window in SpendWindow.objects.order_by().iterator():
        for name, expected, found in (
            ("held_micros", held.pop(window.pk, 0), window.held_micros),
            ("used_micros", used.pop(window.pk, 0), window.used_micros),
        ):
            if expected != found:
                yield Difference(f"spend_window.{name}", f"spend_window:{window.pk}", expected, found)
    for window_id, expected in (held + used).items():
        yield Difference("spend_window", f"spend_window:{window_id}", expected, None)
