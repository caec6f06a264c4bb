"""A list read page by page shows each row once, whatever is added meanwhile; a cursor cannot be made up."""

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from django.db import connection
from django.test.utils import CaptureQueriesContext

from apps.core import keyset
from apps.core.keyset import CursorInvalid
from apps.core.models import AuditEntry, Event, IdempotencyKey

pytestmark = pytest.mark.django_db
NOON = datetime(2026, 3, 1, 12, tzinfo=UTC)


def event(at: datetime | None = None, kind: str = "job.completed") -> Event:
    """`at` is spelled by Django; without it the database writes the instant."""
    when = {"created_at": at} if at else {}
    return Event.objects.create(kind=kind, subject="job:1", **when)


def events(count: int) -> list[Event]:
    """Newest first; always two share an instant."""
    made = [event(NOON + timedelta(microseconds=each // 2)) for each in range(count)]
    return sorted(made, key=lambda each: (each.created_at, each.pk), reverse=True)


def walked(direction: Any, *, size: int) -> list[list[Event]]:
    pages, cursor = [], None
    while True:
        page = keyset.page(Event.objects.all(), cursor=cursor, size=size, direction=direction)
        pages.append(page.rows)
        cursor = page.next
        if cursor is None:
            return pages


@pytest.mark.parametrize("size", [1, 2, 3, 7, 8])
def test_every_row_comes_once_in_order(size: int):
    newest_first = events(7)

    assert [row for page in walked("desc", size=size) for row in page] == newest_first
    assert [row for page in walked("asc", size=size) for row in page] == newest_first[::-1]
    assert all(len(page) == size for page in walked("desc", size=size)[:-1])


def test_instants_that_the_database_wrote_itself_are_pages_too():
    made = [event() for _ in range(3)] + [event(NOON), event(datetime(2999, 1, 1, tzinfo=UTC))]
    # The same instant as a row of the database's own, in the spelling of Django.
    made.append(event(Event.objects.get(pk=made[0].pk).created_at))

    seen = [row.pk for page in walked("desc", size=1) for row in page]

    assert len(seen) == len(made)
    assert set(seen) == {each.pk for each in made}


def test_back_is_the_page_before():
    rows = events(7)
    first = keyset.page(Event.objects.all(), cursor=None, size=3)
    second = keyset.page(Event.objects.all(), cursor=first.next, size=3)
    third = keyset.page(Event.objects.all(), cursor=second.next, size=3)

    assert (first.prev, third.next) == (None, None)
    again = keyset.page(Event.objects.all(), cursor=third.prev, size=3)
    assert again.rows == second.rows == rows[3:6]
    top = keyset.page(Event.objects.all(), cursor=again.prev, size=3)
    assert (top.rows, top.prev) == (rows[:3], None)
    assert keyset.page(Event.objects.all(), cursor=top.next, size=3).rows == second.rows


def test_rows_added_meanwhile_move_nothing():
    rows = events(6)
    first = keyset.page(Event.objects.all(), cursor=None, size=3)

    event(NOON + timedelta(days=1))

    assert keyset.page(Event.objects.all(), cursor=first.next, size=3).rows == rows[3:]


def test_filters_hold_whatever_cursor_comes():
    events(4)
    mine = [event(NOON - timedelta(days=1), "team.created"), event(NOON - timedelta(days=2), "team.created")]
    elsewhere = keyset.page(Event.objects.all(), cursor=None, size=2).next

    page = keyset.page(Event.objects.filter(kind="team.created"), cursor=elsewhere, size=5)

    assert page.rows == mine


def test_a_list_whose_rows_are_gone_ends():
    rows = events(4)
    cursor = keyset.page(Event.objects.all(), cursor=None, size=2).next
    Event.objects.filter(pk__in=[each.pk for each in rows[2:]]).delete()

    assert keyset.page(Event.objects.all(), cursor=cursor, size=2) == keyset.Page([], None, None)


def test_ids_that_count_up_are_pages_too():
    made = [IdempotencyKey.objects.create(scope="s", key=str(each), fingerprint="f") for each in range(5)]
    first = keyset.page(IdempotencyKey.objects.all(), cursor=None, size=2, direction="asc")
    second = keyset.page(IdempotencyKey.objects.all(), cursor=first.next, size=9, direction="asc")

    assert first.rows + second.rows == made


def _changed(cursor: str) -> list[str]:
    head, tail = cursor[:-1], cursor[-1]
    return [head + ("A" if tail != "A" else "B"), "x" + cursor, cursor.split(":")[0], "\x00", "ü", "9" * 10_000]


def test_a_cursor_that_is_not_ours_is_refused():
    events(3)
    cursor = keyset.page(Event.objects.all(), cursor=None, size=1).next
    assert cursor is not None

    for forged in _changed(cursor):
        with pytest.raises(CursorInvalid, match="first page"):
            keyset.page(Event.objects.all(), cursor=forged, size=1)


def test_a_cursor_is_for_its_table_and_order():
    events(3)
    cursor = keyset.page(Event.objects.all(), cursor=None, size=1).next

    with pytest.raises(CursorInvalid):
        keyset.page(AuditEntry.objects.all(), cursor=cursor, size=1)
    with pytest.raises(CursorInvalid):
        keyset.page(Event.objects.all(), cursor=cursor, size=1, direction="asc")


def test_a_page_is_one_query_at_any_depth():
    events(9)
    second = keyset.page(Event.objects.all(), cursor=None, size=2)
    for _ in range(3):
        with CaptureQueriesContext(
            connection,
        ) as queries:
            second = keyset.page(Event.objects.all(), cursor=second.next, size=2)
        assert len(queries) == 1


def test_counting_stops():
    events(5)

    assert keyset.count(Event.objects.all(), most=5) == keyset.Count(5, True)
    assert keyset.count(Event.objects.all(), most=4) == keyset.Count(4, False)
    assert keyset.count(Event.objects.none()) == keyset.Count(0, True)
