"""The ledger's list and an entry's page."""

from datetime import timedelta

import pytest
from django.db import connection
from django.test.utils import CaptureQueriesContext
from django.utils import timezone

from apps.core import append_only
from apps.credits import ledger, sealing
from apps.credits.models import Account, Entry
from tests import make
from tests.console.conftest import text_of

LEDGER = "/admin/credits/entry/"


@pytest.fixture
def acme(db):
    org = make.organization("acme-org")
    customer = make.customer(team_id="acme", credits=100, org=org)
    ledger.grant_to_pool(org, amount_micros=50_000_000, actor=make.TESTER, key="pool", reason="for the year")
    ledger.allocate(customer.team, amount_micros=20_000_000, actor=make.TESTER, key="1")
    ledger.charge(customer.team, job="job-1", amount_micros=12_000_000, actor=make.TESTER, reason="job")
    return customer


def shown(client, query=""):
    """Kinds of the listed entries, newest first."""
    page = client.get(LEDGER + query)
    return [{column.label: text for column, text in cells} for cells in page.context["table"]]


def kinds(client, query=""):
    return [row["Kind"] for row in shown(client, query)]


def wallet():
    return Account.objects.get(team__team_id="acme")


def test_newest_entries_come_first(ana, acme):
    assert kinds(ana) == ["charge", "allocate", "grant", "grant"]


@pytest.mark.parametrize(
    ("query", "found"),
    [
        ("?kind=charge", ["charge"]),
        ("?team=acme", ["charge", "allocate", "grant"]),
        ("?organization=acme-org", ["charge", "allocate", "grant", "grant"]),
        ("?account=revenue", ["charge"]),
        ("?actor=command", ["charge", "allocate", "grant", "grant"]),
        ("?actor=nobody", []),
        ("?amount_from=20&amount_to=60", ["allocate", "grant"]),
        ("?cause=job-1", ["charge"]),
        ("?cause=acme-org", ["allocate"]),
        ("?reversed=yes", []),
        ("?reversed=no", ["charge", "grant", "grant"]),
        ("?reversed=reversals", []),
        ("?q=job-1", ["charge"]),
        ("?q=acme", ["charge", "allocate", "grant"]),
        ("?q=nothing", []),
        ("?q=a%00b", []),
    ],
)
def test_filters_and_search(ana, acme, query, found):
    assert kinds(ana, query) == found


@pytest.mark.parametrize(
    "query",
    [
        "account=999",
        "account=x",
        "account=%00",
        "team=nobody",
        "team=%00",
        "organization=x",
        "kind=gift",
        "cause=%00",
    ],
)
def test_filter_that_means_nothing_is_a_red_chip_and_not_silent(ana, acme, query):
    page = ana.get(f"{LEDGER}?{query}")
    assert [chip.is_wrong for chip in page.context["chips"]] == [True]
    assert "Ignored" in text_of(page)


def test_reversed_entries_are_found_once_whatever_the_number_of_reversals(ana, acme):
    charge = Entry.objects.get(kind="charge")
    for number in range(3):
        ledger.reverse(charge, amount_micros=1_000_000, actor=make.TESTER, key=str(number), reason="sorry")
    assert kinds(ana, "?reversed=yes") == ["charge"]
    assert kinds(ana, "?reversed=reversals") == ["refund"] * 3


def test_one_account_shows_signed_amounts_numbers_and_balances(ana, acme):
    rows = shown(ana, f"?account={wallet().pk}")
    assert [(row["Credits"], row["Balance after"], row["No."]) for row in rows] == [
        ("\N{MINUS SIGN}12", "108", "3"),
        ("+20", "120", "2"),
        ("+100", "100", "1"),
    ]
    page = text_of(ana.get(f"{LEDGER}?team=acme"))
    assert "108 posted − 0 held = <strong>108 available</strong>" in page


def test_pool_has_a_ledger_too(ana, acme):
    pool = Account.objects.get(kind="pool")
    rows = shown(ana, f"?account={pool.pk}")
    assert [(row["Credits"], row["Balance after"]) for row in rows] == [("\N{MINUS SIGN}20", "30"), ("+50", "50")]


def test_team_with_several_wallets_is_shown_without_balances(ana, acme):
    ledger.grant(acme.team, amount_micros=1_000_000, actor=make.TESTER, key="r", job_types=["query"])
    assert "Balance after" not in shown(ana, "?team=acme")[0]


def test_balance_as_of_an_instant(ana, acme):
    later = (timezone.now() + timedelta(days=1)).date()
    page = text_of(ana.get(f"{LEDGER}?team=acme&at={later}"))
    assert "<strong>108 posted</strong>, after entry" in page
    assert "Nothing was held then." in page
    assert "<strong>0 posted</strong>, before the first entry" in text_of(
        ana.get(f"{LEDGER}?team=acme&at=2020-01-01")
    )
    page = text_of(ana.get(f"{LEDGER}?team=acme&at=yesterday"))
    assert "Not looked up: &#x27;yesterday&#x27; is no day such as 2026-11-24" in page


def test_open_holds_are_said_to_have_no_history(ana, acme):
    ledger.hold(acme.team, job="job-2", amount_micros=1_000_000)
    later = (timezone.now() + timedelta(days=1)).date()
    assert "Holds are not history" in text_of(ana.get(f"{LEDGER}?team=acme&at={later}"))


def test_export_has_signs_and_whole_ids(ana, acme):
    answer = ana.post(f"{LEDGER}?team=acme")
    lines = b"".join(answer.streaming_content).decode().splitlines()
    assert lines[0] == "Entry,Time,Kind,From → to,Credits,Balance after,No.,Cause,Actor,Reason"
    entry = Entry.objects.get(kind="charge")
    assert lines[1].startswith(f"{entry.pk},")
    assert ",charge,acme → revenue,-12,108,3,job:job-1,command:tests,job" in lines[1]


def test_hostile_reason_is_shown_harmless(ana, acme):
    ledger.grant(acme.team, amount_micros=1_000_000, actor=make.TESTER, key="x", reason="<img onerror=1>\u202e")
    entry = Entry.objects.get(idempotency_key="grant:acme:x")
    for url in (LEDGER, f"/admin/entry/{entry.pk}/"):
        page = text_of(ana.get(url))
        assert "<img" not in page
        assert "&lt;img onerror=1&gt;" in page


def test_empty_ledger_says_what_makes_an_entry(ana, db):
    assert "The first grant makes one." in text_of(ana.get(LEDGER))


@pytest.mark.parametrize("query", ["", "?team=acme", "?team=acme&at=2026-01-01&kind=grant&reversed=no&amount_from=1"])
def test_list_asks_a_fixed_number_of_queries(ana, acme, query):
    def queries():
        with CaptureQueriesContext(connection) as captured:
            assert ana.get(LEDGER + query).status_code == 200
        return len(captured)

    ana.get(LEDGER)
    few = queries()
    for number in range(20):
        ledger.grant(acme.team, amount_micros=1_000_000, actor=make.TESTER, key=f"n{number}")
    # Eight, beside session and operator; savepoint and its release are of the bounded statement, whose bound is one
    # more on PostgreSQL.
    assert queries() == few
    assert few <= (15 if connection.vendor == "postgresql" else 14)


def test_entry_says_what_it_did_with_both_sides_and_neighbours(ana, acme):
    entry = Entry.objects.get(kind="allocate")
    page = text_of(ana.get(f"/admin/entry/{entry.pk}/"))
    assert "20 credits were allocated from pool of acme-org to acme by command:tests." in page
    assert "100 → 120" in page
    assert "50 → 30" in page
    for other in Entry.objects.exclude(pk=entry.pk):
        assert f"/admin/entry/{other.pk}/" in page
    assert "allocate:acme:1" in page


def test_entry_names_its_reversals_and_they_name_it(ana, acme):
    charge = Entry.objects.get(kind="charge")
    refund = ledger.reverse(charge, amount_micros=2_500_000, actor=make.TESTER, key="1", reason="sorry")
    page = text_of(ana.get(f"/admin/entry/{charge.pk}/"))
    assert "12 credits were charged to acme by command:tests: “job”. 2.5 of it were refunded since." in page
    assert f"/admin/entry/{refund.pk}/" in page
    assert f"/admin/entry/{charge.pk}/" in text_of(ana.get(f"/admin/entry/{refund.pk}/"))
    assert "Reverse" in [button.label for button in ana.get(f"/admin/entry/{charge.pk}/").context["buttons"]]
    ledger.reverse(charge, amount_micros=None, actor=make.TESTER, key="2", reason="sorry")
    page = ana.get(f"/admin/entry/{charge.pk}/")
    assert "All of it was refunded since." in text_of(page)
    assert page.context["buttons"] == []


def test_entry_says_whether_it_is_as_it_was_sealed(ana, acme):
    entry = Entry.objects.get(kind="charge")
    url = f"/admin/entry/{entry.pk}/"
    assert "not yet: within minutes" in text_of(ana.get(url))
    sealing.seal_all()
    page = text_of(ana.get(url))
    assert "unchanged" in page
    assert "changed since it was sealed" not in page
    with append_only.lifted():
        Entry.objects.filter(pk=entry.pk).update(reason="something else")
    assert "changed since it was sealed" in text_of(ana.get(url))


def test_entry_page_asks_a_bounded_number_of_queries(ana, acme):
    sealing.seal_all()
    counts = {}
    ana.get(LEDGER)
    for entry in Entry.objects.all():
        with CaptureQueriesContext(connection) as captured:
            assert ana.get(f"/admin/entry/{entry.pk}/").status_code == 200
        counts[entry.kind] = len(captured)
    # Session and operator, the actor's name, then ten; three more for the second account of what has two.
    assert counts["charge"] <= 13
    assert counts["allocate"] <= 16


def test_plain_page_leads_to_the_entry(ana, acme):
    entry = Entry.objects.get(kind="charge")
    assert ana.get(f"/admin/credits/entry/{entry.pk}/change/").url == f"/admin/entry/{entry.pk}/"
    assert ana.get("/admin/credits/entry/x/change/").status_code == 404
