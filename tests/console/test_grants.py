"""Grants and vouchers: their lists and pages, a batch made once, the rest of it revoked."""

import csv
import io
from datetime import timedelta

import pytest
from django.db import connection
from django.test.utils import CaptureQueriesContext
from django.utils import timezone

from apps.core.models import AuditEntry
from apps.credits import ledger, vouchers
from apps.credits.models import Entry, Grant, Voucher
from tests import make
from tests.console.conftest import confirm, text_of
from tests.console.test_credits import form_of

GRANTS = "/admin/credits/grant/"
VOUCHERS = "/admin/credits/voucher/"
BATCH = {"count": "3", "credits": "25", "kind": "promotional", "max_uses": "1", "note": "spring fair"}


@pytest.fixture
def acme(db):
    customer = make.customer(team_id="acme", credits=100)
    for days, key in ((20, "b"), (3, "a"), (200, "c")):
        ledger.grant(
            customer.team,
            amount_micros=10_000_000,
            actor=make.TESTER,
            key=key,
            kind=Grant.Kind.PROMOTIONAL,
            expires_at=timezone.now() + timedelta(days=days),
        )
    ledger.charge(customer.team, job="job-1", amount_micros=12_000_000, actor=make.TESTER)
    return customer


def left(client, query=""):
    page = client.get(GRANTS + query)
    return [next(text for column, text in cells if column.label == "Left") for cells in page.context["table"]]


def test_soonest_expiry_comes_first_and_used_up_ones_are_left_out(ana, acme):
    assert left(ana) == ["8", "10", "100"]
    assert left(ana, "?state=all") == ["0", "8", "10", "100"]
    assert left(ana, "?state=used") == ["0"]


@pytest.mark.parametrize(
    ("query", "found"),
    [
        ("?kind=paid", ["100"]),
        ("?expiring=7", []),
        ("?expiring=30", ["8"]),
        ("?owner=acme", ["8", "10", "100"]),
        ("?owner=beta", []),
        ("?restricted=yes", []),
        ("?restricted=no", ["8", "10", "100"]),
        ("?expires_from=2020-01-01&expires_to=2021-01-01", []),
        ("?q=acme", ["8", "10", "100"]),
        ("?q=a%00", []),
    ],
)
def test_grants_are_filtered(ana, acme, query, found):
    assert left(ana, query) == found


@pytest.mark.parametrize("query", ["?expires_from=soon", "?state=x", "?expiring=8", "?account=x"])
def test_filter_without_a_meaning_is_said(ana, acme, query):
    assert [chip.is_wrong for chip in ana.get(GRANTS + query).context["chips"]] == [True]


def test_expiring_credits_by_week_lead_to_exactly_those(ana, acme):
    drawn = ana.get(GRANTS).context["chart"]
    assert drawn.summary == "8 credits expire in the next 12 weeks."
    [promotional] = drawn.series
    [week] = [number for number, value in enumerate(promotional.values) if value]
    assert left(ana, drawn.links[week].removeprefix(GRANTS)) == ["8"]


def test_grant_says_what_it_is_and_what_it_paid(ana, acme):
    lot = Grant.objects.get(remaining_micros=8_000_000)
    page = ana.get(f"/admin/grant/{lot.pk}/")
    assert "Promotional credits of acme. 8 of 10 credits are left. They expire in 19 d" in text_of(page)
    [use] = page.context["uses"]
    assert (use.entry.job, use.amount_micros) == ("job-1", 2_000_000)
    assert f"/admin/entry/{use.entry_id}/" in text_of(page)


def test_grant_of_the_pool_names_what_was_allocated_of_it(ana, db):
    customer = make.customer(team_id="acme", credits=0, org=make.organization("acme-org"))
    ledger.grant_to_pool(customer.organization, amount_micros=50_000_000, actor=make.TESTER, key="p")
    ledger.allocate(customer.team, amount_micros=20_000_000, actor=make.TESTER, key="1")
    pool, own = Grant.objects.get(source_grant=None), Grant.objects.get(source_grant__isnull=False)
    assert f"/admin/grant/{own.pk}/" in text_of(ana.get(f"/admin/grant/{pool.pk}/"))
    assert f"/admin/grant/{pool.pk}/" in text_of(ana.get(f"/admin/grant/{own.pk}/"))


def test_buttons_are_for_those_who_may(browser_of, acme):
    lot = Grant.objects.first()
    for role, labels in (("billing", ["Take back"]), ("support", []), ("viewer", [])):
        page = browser_of(role).get(f"/admin/grant/{lot.pk}/")
        assert [button.label for button in page.context["buttons"]] == labels


@pytest.mark.parametrize("url", ["/admin/grant/x/", "/admin/voucher/x/", "/admin/voucher/batch/x/revoke/"])
def test_what_is_unknown_is_not_found(ana, db, url):
    assert ana.get(url).status_code == 404


def test_lists_and_pages_ask_a_fixed_number_of_queries(ana, acme):
    lot = Grant.objects.get(remaining_micros=8_000_000)
    voucher, _ = vouchers.create(amount_micros=1_000_000, actor=make.TESTER)
    urls = [GRANTS, VOUCHERS, f"/admin/grant/{lot.pk}/", f"/admin/voucher/{voucher.pk}/"]

    def queries():
        counts = []
        for url in urls:
            with CaptureQueriesContext(connection) as captured:
                assert ana.get(url).status_code == 200
            counts.append(len(captured))
        return counts

    ana.get(GRANTS)
    few = queries()
    for number in range(10):
        ledger.grant(acme.team, amount_micros=1_000_000, actor=make.TESTER, key=f"n{number}")
        vouchers.create(amount_micros=1_000_000, actor=make.TESTER)
    assert queries() == few
    assert max(few) <= 10


def codes_of(page):
    rows = list(csv.reader(io.StringIO(page.context["secret"])))
    assert rows[0] == ["code", "credits"]
    return [code for code, credits in rows[1:] if credits == "25"]


def test_batch_shows_its_codes_once_and_they_work(ana, acme):
    form = form_of(ana, "/admin/voucher/new/", **BATCH)
    page = ana.post("/admin/voucher/new/", form)
    codes = codes_of(page)
    assert len(codes) == 3
    assert 'download="vouchers.csv"' in text_of(page)
    assert ana.post("/admin/voucher/new/", form).context["secret"] == page.context["secret"]
    assert Voucher.objects.count() == 3
    assert {each.note for each in Voucher.objects.all()} == {"spring fair"}
    vouchers.redeem(acme.team, codes[0], actor=make.TESTER)
    assert codes[1] not in text_of(ana.get(VOUCHERS))
    assert AuditEntry.objects.filter(action="voucher.create", actor="operator:ana@example.com").count() == 3


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("count", "501"),
        ("count", "0"),
        ("credits", "1.5"),
        ("organization", "nobody"),
        ("last_day", "2020-01-01"),
        ("max_uses", "0"),
        ("credits_last_days", "0"),
        ("note", "a\x00"),
    ],
)
def test_batch_that_cannot_be_is_refused_at_its_field(ana, db, field, value):
    page = ana.post("/admin/voucher/new/", form_of(ana, "/admin/voucher/new/", **BATCH | {field: value}))
    assert page.status_code == 422
    assert page.context["form"].errors[field]
    assert Voucher.objects.count() == 0


def test_rest_of_a_batch_is_revoked_and_what_was_redeemed_stays(ana, acme):
    batch, made = vouchers.create_batch(3, actor=make.TESTER, amount_micros=25_000_000)
    vouchers.redeem(acme.team, made[0][1], actor=make.TESTER)
    url = f"/admin/voucher/batch/{batch}/revoke/"
    assert "2 of 3 codes will be refused." in text_of(ana.get(url))
    assert confirm(ana, url).status_code == 303
    states = {voucher.pk: Voucher.objects.get(pk=voucher.pk).disabled_at is not None for voucher, _ in made}
    assert list(states.values()) == [False, True, True]
    assert ana.get(url).status_code == 409
    page = ana.get(f"{VOUCHERS}?batch={batch}&state=revoked")
    assert len(page.context["table"]) == 2


def test_one_voucher_is_revoked(ana, acme):
    voucher, _ = vouchers.create(amount_micros=25_000_000, actor=make.TESTER)
    url = f"/admin/voucher/{voucher.pk}/revoke/"
    assert confirm(ana, url).status_code == 303
    assert Voucher.objects.get().disabled_at is not None
    assert ana.get(url).status_code == 409


def test_voucher_redeemed_between_preview_and_confirmation_is_said(ana, acme):
    batch, made = vouchers.create_batch(2, actor=make.TESTER, amount_micros=25_000_000)
    url = f"/admin/voucher/batch/{batch}/revoke/"
    form = form_of(ana, url)
    vouchers.redeem(acme.team, made[0][1], actor=make.TESTER)
    assert ana.post(url, form).status_code == 409
    assert Voucher.objects.filter(disabled_at__isnull=False).count() == 0


@pytest.mark.parametrize("role", ["support", "viewer"])
def test_whoever_may_not_makes_and_revokes_no_vouchers(browser_of, ana, acme, role):
    client = browser_of(role)
    batch, made = vouchers.create_batch(1, actor=make.TESTER, amount_micros=25_000_000)
    before = Voucher.objects.count(), Entry.objects.count()
    for url in (
        "/admin/voucher/new/",
        f"/admin/voucher/batch/{batch}/revoke/",
        f"/admin/voucher/{made[0][0].pk}/revoke/",
    ):
        assert client.get(url).status_code == client.post(url, form_of(ana, url, **BATCH)).status_code == 403
    assert (Voucher.objects.count(), Entry.objects.count()) == before
    assert Voucher.objects.filter(disabled_at__isnull=False).count() == 0
    assert client.get(VOUCHERS).context["buttons"] == []
