"""B12: refunds and take-backs of named entries over HTTP, in parts that never exceed them."""

from datetime import timedelta

import pytest

from apps.core import clock
from apps.core.ids import new_id
from apps.core.models import AuditEntry, IdempotencyKey
from apps.credits import ledger
from apps.credits.models import Entry
from tests import make
from tests.api.calling import located
from tests.credits import books


@pytest.fixture
def charge(acme) -> str:
    """The id of a charge of 6 credits."""
    return str(books.spend(acme.team, 6).pk)


@pytest.fixture
def grant(acme) -> str:
    return str(Entry.objects.get(idempotency_key="grant:acme:initial").pk)


def refund(operator, entry: str, *, key: str | None = None, **body):
    return operator.post(f"/api/credits/entries/{entry}/refund", {"reason": "it failed", **body}, key=key)


def reverse(operator, entry: str, **body):
    return operator.post(f"/api/credits/entries/{entry}/reverse", {"reason": "dispute", **body})


def test_b12_refund_shows_entry_lots_and_balance(operator, charge):
    answer = refund(operator, charge, credits=2.5, external_id="refund-1").json()

    assert answer["reverses"] == charge
    assert (answer["credits_reversed"], answer["credits_reversible"], answer["credits_to_debt"]) == (
        "2.5",
        "3.5",
        "0",
    )
    entry = answer["transaction"]
    assert (entry["transaction_type"], entry["job_id"], entry["reason"]) == ("refund", "job", "it failed")
    assert [(lot["kind"], lot["credits"]) for lot in answer["lots"]] == [("paid", "2.5")]
    assert (answer["credits_exact"], answer["credits_remaining"], answer["external_id"]) == ("96.5", 96, "refund-1")
    audited = AuditEntry.objects.get(action="credits.refund")
    assert (audited.object_id, audited.before["reversible"], audited.after["reversible"]) == (charge, "6", "3.5")


def test_b12_refunds_sum_to_at_most_the_charge(operator, charge):
    refund(operator, charge, credits=4)

    answer = refund(operator, charge, credits=3)

    assert (answer.status_code, answer.json()["code"]) == (400, "reversal_exceeds_entry")
    assert answer.json()["reversible_micros"] == 2_000_000
    assert refund(operator, charge, all=True).json()["credits_reversed"] == "2"
    assert refund(operator, charge, all=True).json()["code"] == "reversal_exceeds_entry"


@pytest.mark.parametrize("body", [{"credits": 4}, {"all": True}])
def test_b7_repeated_refund_refunds_once_even_when_the_request_was_forgotten(acme, operator, charge, body):
    first = refund(operator, charge, key="k", **body).json()
    again = refund(operator, charge, key="k", **body)
    assert (again.json(), again["Idempotency-Replayed"]) == (first, "true")

    IdempotencyKey.objects.all().delete()

    assert refund(operator, charge, key="k", **body).json() == first
    assert Entry.objects.filter(kind="refund").count() == 1
    assert AuditEntry.objects.filter(action="credits.refund").count() == 1


def test_b7_external_id_refunds_once(operator, charge):
    refund(operator, charge, credits=1, external_id="refund-1")

    answer = refund(operator, charge, credits=1, external_id="refund-1")

    assert (answer.status_code, answer.json()["code"]) == (422, "idempotency_conflict")


def test_b12_take_back_of_what_was_spent_says_what_became_debt(acme, operator, charge, grant):
    answer = reverse(operator, grant, all=True).json()

    assert (answer["credits_reversed"], answer["credits_to_debt"]) == ("100", "6")
    assert [lot["credits"] for lot in answer["lots"]] == ["94"]
    assert (answer["credits_remaining"], answer["transaction"]["transaction_type"]) == (-6, "adjustment")
    back = refund(operator, charge, all=True).json()
    assert (back["credits_to_debt"], back["lots"], back["credits_remaining"]) == ("6", [], 0)


def test_refund_to_an_expired_lot_shows_its_grace(acme, operator, settings):
    books.give(acme.team, 6, key="promo", kind="promotional", expires_at=clock.now() + timedelta(days=1))
    charge = str(books.spend(acme.team, 6).pk)
    books.pass_days(1)

    (lot,) = refund(operator, charge, all=True).json()["lots"]

    assert (lot["kind"], lot["credits"]) == ("goodwill", "6")
    assert lot["expires_at"][:10] == (clock.now() + timedelta(days=settings.REFUND_GRACE_DAYS)).date().isoformat()


def test_entries_of_restricted_wallets_and_pools_are_reversed_too(acme, operator):
    books.give(acme.team, 5, key="reports", job_types=["report"])
    ledger.charge(acme.team, job="report", amount_micros=3_000_000, job_type="report")
    charge = Entry.objects.get(job="report")
    answer = refund(operator, str(charge.pk), all=True).json()
    assert (answer["job_types"], answer["credits_remaining"], answer["transaction"]["team_id"]) == (
        ["report"],
        5,
        "acme",
    )

    granted = ledger.grant_to_pool(acme.organization, amount_micros=10**7, actor=make.TESTER, key="k")
    answer = reverse(operator, str(granted.pk), credits=4).json()
    assert (answer["account"], answer["credits_remaining"], answer["transaction"]["team_id"]) == ("pool", 6, None)


def test_each_endpoint_takes_its_kind_of_entry(operator, charge, grant):
    for answer in (refund(operator, grant, all=True), reverse(operator, charge, all=True)):
        assert (answer.status_code, answer.json()["code"]) == (400, "entry_not_reversible")


@pytest.mark.parametrize(
    ("body", "where"),
    [
        ({}, ["body"]),
        ({"credits": 1, "all": True}, ["body"]),
        ({"credits": 0}, ["body", "credits"]),
        ({"credits": -1}, ["body", "credits"]),
        ({"credits": 0.0000001}, ["body", "credits"]),
        ({"credits": "1"}, ["body", "credits"]),
        ({"all": True, "reason": ""}, ["body", "reason"]),
    ],
)
def test_wrong_bodies_are_named(operator, charge, body, where):
    assert located(refund(operator, charge, **body)) == [where]
    assert Entry.objects.filter(kind="refund").count() == 0


@pytest.mark.parametrize("entry", ["nothing", str(new_id())], ids=["malformed", "unknown"])
def test_unknown_entry_is_not_found(db, operator, entry):
    answer = refund(operator, entry, all=True)

    assert (answer.status_code, answer.json()["code"]) == (404, "entry_not_found")


def test_entries_are_put_right_by_operators(team_key, charge):
    assert refund(team_key, charge, all=True).status_code == 401
