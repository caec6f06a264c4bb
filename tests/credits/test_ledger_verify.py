"""`manage.py ledger_verify`, the hourly task and the snapshot they look at."""

import json
import logging
from concurrent.futures import ThreadPoolExecutor
from io import StringIO

import pytest
from django.core.management import call_command
from django.db import DatabaseError, connection, transaction
from django.test.utils import CaptureQueriesContext

from apps.analytics import verification as analytics_checks
from apps.core import verification
from apps.core.models import Event
from apps.credits import tasks
from apps.credits import verification as credits_checks
from apps.credits.models import Account, Entry
from apps.jobs import spending
from apps.jobs import verification as jobs_checks
from apps.payments import verification as payments_checks
from tests import make
from tests.credits import books, racing

pytestmark = pytest.mark.django_db(transaction=True)


def run(*arguments: str) -> tuple[int, str]:
    """Exit code and output."""
    out = StringIO()
    try:
        call_command("ledger_verify", *arguments, stdout=out)
    except SystemExit as ended:
        return int(str(ended.code)), out.getvalue()
    return 0, out.getvalue()


def lose_a_credit(team) -> Account:
    """Plant a drift: a wallet that holds what no job does."""
    wallet = books.wallet(team)
    Account.objects.filter(pk=wallet.pk).update(held_micros=7)
    return wallet


def test_every_check_of_every_app_is_run(db):
    of_jobs = (*jobs_checks.CHECKS, spending.windows_follow_from_jobs)
    checks = (*credits_checks.CHECKS, *of_jobs, *payments_checks.CHECKS, *analytics_checks.CHECKS)
    registered = {check.__name__ for check in checks}

    assert {name.split(".")[1] for name in verification._CHECKS} == registered


def test_clean_ledger_ends_with_one_line_and_zero(acme):
    code, output = run()

    assert code == 0
    assert output.startswith(f"0 differences: {len(verification._CHECKS)} checks, 1 accounts, 1 entries, 0 jobs, ")
    assert output.count("\n") == 1


def test_empty_database_is_clean(db):
    assert run()[0] == 0


def test_drift_is_printed_and_exits_with_one(acme):
    wallet = lose_a_credit(acme.team)

    code, output = run()

    lines = output.splitlines()
    assert code == 1
    assert lines[0] == f"account.held_micros of account:{wallet.pk}: expected 0, found 7"
    assert lines[1].startswith("1 differences: ")
    assert len(lines) == 2


def test_json_is_one_document(acme):
    wallet = lose_a_credit(acme.team)

    code, output = run("--json")

    found = json.loads(output)
    assert code == 1
    assert found["differences"] == [
        {"check": "account.held_micros", "subject": f"account:{wallet.pk}", "expected": 0, "found": 7}
    ]
    checks = len(verification._CHECKS)
    assert (found["checks"], found["accounts"], found["entries"], found["jobs"]) == (checks, 1, 1, 0)
    assert found["seconds"] >= 0


def test_task_logs_each_difference_and_leaves_the_count(acme, caplog):
    lose_a_credit(acme.team)

    with caplog.at_level(logging.ERROR, logger="saasllm.verification"):
        tasks.verify()

    assert [record.levelname for record in caplog.records] == ["ERROR"]
    assert "account.held_micros" in caplog.text
    event = Event.objects.get(kind="ledger.verified")
    checks = len(verification._CHECKS)
    assert (event.data["differences"], event.data["checks"], event.data["entries"]) == (1, checks, 1)


def test_task_leaves_the_time_of_a_clean_run_too(acme, caplog):
    tasks.verify()

    assert caplog.records == []
    assert Event.objects.get(kind="ledger.verified").data["differences"] == 0


def test_task_has_the_name_that_the_schedule_calls(settings):
    scheduled = settings.CELERY_BEAT_SCHEDULE["verify"]["task"]

    assert tasks.verify.name == scheduled


def test_number_of_queries_does_not_grow_with_the_ledger(acme):
    before = queries_of_a_run()
    for number in range(5):
        team = make.customer(credits=3).team
        grant = books.give(team, 5, key=f"g{number}")
        books.reverse(grant, 1, key="r")

    assert queries_of_a_run() == before


def queries_of_a_run() -> int:
    with CaptureQueriesContext(connection) as captured:
        verification.verify()
    return len(captured)


def test_snapshot_refuses_to_write_on_postgresql(acme, is_postgresql):
    if not is_postgresql:
        pytest.skip("SQLite has no read-only transactions")

    with pytest.raises(DatabaseError, match="read-only"), verification.snapshot():
        Account.objects.update(credit_line_micros=1)


def test_snapshot_cannot_be_taken_inside_another_transaction(acme):
    with pytest.raises((RuntimeError, DatabaseError)), transaction.atomic(), verification.snapshot():
        pass


def test_checks_see_one_instant(acme, monkeypatch):
    """A grant that is committed between two checks is seen by both or by neither."""

    def grant_meanwhile():
        with ThreadPoolExecutor(1) as thread:
            thread.submit(racing.outcome, lambda: books.give(acme.team, 5, key="meanwhile")).result(20)
        return []

    in_between = dict(verification._CHECKS)
    first, *rest = in_between
    monkeypatch.setattr(
        verification,
        "_CHECKS",
        {first: in_between[first], "meanwhile": grant_meanwhile, **{name: in_between[name] for name in rest}},
    )

    report = verification.verify()

    assert report.differences == []
    assert report.figures["entries"] == 1
    assert Entry.objects.count() == 2


def test_verification_keeps_no_writer_out(acme):
    """On SQLite a transaction that begins as Django's do would hold the one write lock."""
    with verification.snapshot():
        assert Account.objects.exists()
        with ThreadPoolExecutor(1) as thread:
            granted = thread.submit(racing.outcome, lambda: books.give(acme.team, 5, key="k")).result(20)

    assert granted.amount_micros == 5 * books.CREDIT


def test_connection_is_usable_after_a_failed_check(acme, monkeypatch):
    def broken():
        raise ValueError("broken check")

    monkeypatch.setitem(verification._CHECKS, "broken", broken)
    with pytest.raises(ValueError, match="broken check"):
        verification.verify()
    monkeypatch.undo()

    assert connection.in_atomic_block is False
    assert books.give(acme.team, 1, key="after").amount_micros == books.CREDIT
    assert verification.verify().differences == []
