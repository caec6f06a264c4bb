"""Statements compiled once: they do what the queryset says, with the values of each run."""

import uuid
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta
from typing import Any

import pytest
from django.db import connection
from django.db.models import DateTimeField, DurationField, ExpressionWrapper, F
from django.db.models.functions import Now
from django.test.utils import CaptureQueriesContext

from apps.core import clock, prepared
from apps.core.models import AuditEntry, IdempotencyKey, Process
from apps.core.prepared import Insert, Param, Rows, Select, Together, Update, any_of, columns, param
from apps.teams.models import Team
from tests import make

pytestmark = pytest.mark.django_db


@pytest.fixture(autouse=True)
def _no_process_of_others(db: None) -> None:
    """The reader of replies that an earlier test of this process began says that it lives, now and then."""
    Process.objects.all().delete()


def by_name() -> Select[Process]:
    return Select(lambda: Process.objects.filter(name=param("name", Process)))


def test_row_is_found_by_each_run_s_value():
    for name in ("a", "b"):
        Process.objects.create(name=name, kind="web")
    statement = by_name()

    first, second, none = (statement.first(name=name) for name in ("a", "b", "c"))

    assert first is not None
    assert second is not None
    assert (first.name, second.name, none) == ("a", "b", None)
    assert first.seen_at == Process.objects.get(name="a").seen_at


def test_value_is_no_sql():
    Process.objects.create(name="a", kind="web")

    assert by_name().first(name="' OR '1'='1") is None
    assert by_name().first(name="%s") is None


def test_queryset_is_built_once(monkeypatch: pytest.MonkeyPatch):
    built: list[int] = []

    def build() -> Any:
        built.append(1)
        return Process.objects.filter(name=param("name", Process))

    statement: Select[Process] = Select(build)
    for _ in range(3):
        statement.first(name="a")

    assert len(built) == 1


def test_related_rows_and_annotations_come_along(acme: make.Customer, django_assert_num_queries: Any):
    statement: Select[Team] = Select(
        lambda: (
            Team.objects.select_related("organization")
            .filter(pk=param("id", Team))
            .annotate(asked_at=Now(), twice=F("id") * 2)
        )
    )
    with django_assert_num_queries(1):
        team = statement.first(id=acme.team.pk)

        assert team is not None
        assert team.organization == acme.organization

    assert team.twice == acme.team.pk * 2
    assert abs((team.asked_at - clock.db_now()).total_seconds()) < 5


def test_row_can_be_saved_as_any_other(acme: make.Customer):
    statement: Select[Team] = Select(lambda: Team.objects.filter(pk=param("id", Team)))
    team = statement.first(id=acme.team.pk)
    assert team is not None
    team.alias = "changed"

    team.save()

    assert Team.objects.get().alias == "changed"


def test_json_and_uuid_are_read_and_written_as_the_field_wants():
    row_id, after = uuid.uuid4(), {"a": [1, None, "é"]}
    names = ("id", "actor", "address", "action", "object_kind", "object_id", "before", "after", "reason")
    insert = Insert(AuditEntry, lambda: columns(AuditEntry, *names))

    insert.run(
        id=row_id,
        actor="a",
        address="",
        action="x",
        object_kind="k",
        object_id="i",
        before={},
        after=after,
        reason="",
    )

    entry = AuditEntry.objects.get(pk=row_id)
    assert (entry.after, entry.created_at is not None) == (after, True)
    found: Select[AuditEntry] = Select(lambda: AuditEntry.objects.filter(pk=param("id", AuditEntry)))
    again = found.first(id=row_id)
    assert again is not None
    assert (again.pk, again.after) == (row_id, after)


def test_update_tells_how_many_rows_its_guard_let_through():
    Process.objects.create(name="a", kind="web")
    update = Update(
        lambda: Process.objects.filter(name=param("name", Process), kind=param("was", Process, "kind")),
        lambda: {"kind": param("kind", Process)},
    )

    assert update.run(name="a", was="web", kind="worker") == 1
    assert update.run(name="a", was="web", kind="worker") == 0
    assert Process.objects.get().kind == "worker"


@pytest.mark.parametrize("seconds", [90, -90])
def test_duration_is_added_by_the_database(seconds: int):
    Process.objects.create(name="a", kind="web")
    update = Update(
        lambda: Process.objects.filter(name=param("name", Process)),
        lambda: {"seen_at": ExpressionWrapper(Now() + Param("later", DurationField()), output_field=DateTimeField())},
    )

    update.run(name="a", later=timedelta(seconds=seconds))

    assert abs((Process.objects.get().seen_at - clock.db_now()).total_seconds() - seconds) < 5


def test_what_is_no_column_is_no_parameter():
    with pytest.raises(TypeError):
        param("jobs", Team)


def both() -> Together:
    return Together(
        Insert(IdempotencyKey, lambda: columns(IdempotencyKey, "scope", "key", "fingerprint", "result", "secret")),
        Update(lambda: Process.objects.filter(name=param("name", Process)), lambda: {"kind": param("kind", Process)}),
    )


def key(text: str) -> dict[str, Any]:
    return {"scope": "team:acme", "key": text, "fingerprint": "f", "result": {}, "secret": ""}


def test_writes_sent_together_are_all_done_and_the_last_is_counted():
    Process.objects.create(name="a", kind="web")
    statements = both()

    assert statements.run(key("1"), {"name": "a", "kind": "worker"}) == 1
    assert statements.run(key("2"), {"name": "unheard-of", "kind": "worker"}) == 0

    assert Process.objects.get().kind == "worker"
    assert IdempotencyKey.objects.count() == 2


def test_writes_sent_together_need_a_value_for_each():
    with pytest.raises(ValueError, match="zip"):
        both().run(key("1"))


@pytest.mark.postgresql
def test_writes_sent_together_are_one_statement():
    with CaptureQueriesContext(connection) as queries:
        both().run(key("1"), {"name": "a", "kind": "worker"})

    assert len(queries) == 1


def test_threads_that_compile_at_the_same_time_all_get_the_whole_statement(monkeypatch: pytest.MonkeyPatch):
    """The SQL is there only once the places of its parameters are."""
    statement = by_name()
    with ThreadPoolExecutor(8) as pool:
        texts = list(pool.map(lambda name: statement.prepared({"name": name}), ["a", "b"] * 20))

    assert {text for text, _ in texts} == {texts[0][0]}
    assert [values for _, values in texts] == [["a"], ["b"]] * 20


def test_attributes_are_the_columns_own_values(acme: make.Customer):
    assert prepared.attributes(acme.team, ("organization", "team_id")) == {
        "organization": acme.organization.pk,
        "team_id": "acme",
    }


def test_column_that_the_database_filled_is_returned():
    statement = Insert(Process, lambda: columns(Process, "name", "kind"), returning="seen_at")

    returned = statement.run_returning(name="a", kind="web")

    assert returned == Process.objects.get().seen_at


# --- Many at once: PostgreSQL's alone -----------------------------------------------------------------------


@pytest.mark.postgresql
def test_list_is_one_parameter():
    for name in ("a", "b", "c"):
        Process.objects.create(name=name, kind="web")
    statement: Select[Process] = Select(lambda: Process.objects.filter(any_of("name", "names")).order_by("name"))

    found = [[row.name for row in statement.all(names=names)] for names in (["c", "a"], ["b"], [])]

    assert found == [["a", "c"], ["b"], []]


@pytest.mark.postgresql
def test_rows_come_in_the_types_of_their_columns():
    insert = Rows(
        IdempotencyKey,
        ("scope", "key", "fingerprint", "result"),
        """
        WITH given AS ({rows})
        INSERT INTO core_idempotencykey ({columns}, secret) SELECT {columns}, given.note FROM given RETURNING key
        """,
        more={"note": "text"},
    )
    results: list[Any] = [{"a": [1, None, "ü"]}, {}]

    made = insert.run(
        [
            {"scope": "s", "key": f"k{n}", "fingerprint": '"%s', "result": result, "note": ""}
            for n, result in enumerate(results)
        ]
    )

    assert made == [("k0",), ("k1",)]
    rows = IdempotencyKey.objects.order_by("key")
    assert [(row.fingerprint, row.result) for row in rows] == [('"%s', result) for result in results]


@pytest.mark.postgresql
def test_rows_assign_all_columns_but_their_keys():
    for name in ("a", "b", "c"):
        Process.objects.create(name=name, kind="web")
    update = Rows(
        Process,
        ("name", "kind"),
        "WITH given AS ({rows}) UPDATE core_process SET {assignments} FROM given"
        " WHERE core_process.name = given.name AND core_process.kind <> %s",
        keys=("name",),
    )

    assert update.run([{"name": "a", "kind": "x"}, {"name": "b", "kind": "y"}], "nothing") == []

    assert dict(Process.objects.values_list("name", "kind")) == {"a": "x", "b": "y", "c": "web"}
