"""Jobs refunded and entries reversed, back to the lots that paid."""

from datetime import timedelta

import pytest
from django.db import connection
from django.test.utils import CaptureQueriesContext
from django.utils import timezone

from apps.core.models import AuditEntry
from apps.credits import billing, ledger
from apps.credits.models import Entry, Grant, GrantUse
from apps.jobs import services
from apps.jobs.models import Job
from tests import make
from tests.console.conftest import confirm, text_of
from tests.console.test_credits import form_of, rows, spendable

SORRY = {"reason": "wrong answer"}


@pytest.fixture
def acme(db):
    make.platform_model()
    return make.customer(team_id="acme", credits=100)


@pytest.fixture
def job(acme):
    """Charged 12 credits: 5 of a promotional lot and 7 of a paid one."""
    ledger.grant(acme.team, amount_micros=5_000_000, actor=make.TESTER, key="p", kind=Grant.Kind.PROMOTIONAL)
    made, _ = services.open_job(acme.principal, services.NewJob("query"))
    charge(acme, made, 12)
    return made


def charge(customer, job, credits):
    micros = credits * 1_000_000
    ledger.charge(customer.team, job=str(job.pk), amount_micros=micros, actor=make.TESTER, reason="job")


def url_of(job):
    return f"/admin/job/{job.pk}/refund/"


def test_refund_says_to_which_lots_and_gives_back_all(ana, acme, job):
    before = spendable(acme)
    page = text_of(ana.get(url_of(job)))
    promotional, paid = (str(Grant.objects.get(kind=kind).pk)[-8:] for kind in ("promotional", "paid"))
    assert "12 credits were charged. The refund goes back to: " in page
    assert f"lot {promotional} (does not expire) 5" in page
    assert f"lot {paid} (does not expire) 7" in page

    done = ana.post(url_of(job), form_of(ana, url_of(job), credits="12", **SORRY))

    entry = Entry.objects.get(kind=Entry.Kind.REFUND)
    assert (done.status_code, done.url) == (303, f"/admin/entry/{entry.pk}/")
    assert (entry.amount_micros, entry.actor, entry.reason) == (
        12_000_000,
        "operator:ana@example.com",
        "wrong answer",
    )
    assert spendable(acme) == before + 12_000_000
    assert AuditEntry.objects.get(action="credits.refund").reason == "wrong answer"
    assert GrantUse.objects.filter(entry=entry).count() == 2
    assert "All of it was refunded since." in text_of(ana.get(f"/admin/entry/{entry.reverses_id}/"))


def test_second_refund_says_who_did_the_first(ana, browser_of, acme, job):
    bo = browser_of("billing")
    confirm(bo, url_of(job), credits="12", **SORRY)
    page = ana.get(url_of(job))
    assert page.status_code == 409
    assert "Already refunded by Bo now." in text_of(page) or "Already refunded by Bo 1 s ago." in text_of(page)


def test_parts_together_give_back_at_most_the_charge(ana, acme, job):
    assert confirm(ana, url_of(job), credits="7.5", **SORRY).status_code == 303
    assert ana.get(url_of(job)).context["form"]["credits"].value() == "4.5"
    page = confirm(ana, url_of(job), credits="4.500001", **SORRY)
    assert page.status_code == 422
    [said] = page.context["form"].errors["credits"]
    assert said == "At most 4.5 credits can still be given back. You typed 4.500001."
    assert confirm(ana, url_of(job), credits="4.5", **SORRY).status_code == 303


def test_expired_lot_comes_back_as_goodwill_with_its_grace(ana, acme, job):
    # The clock cannot be turned, so the lot's end is moved.
    Grant.objects.filter(kind="promotional").update(expires_at=timezone.now() - timedelta(days=1))
    page = text_of(ana.get(url_of(job)))
    assert "a new goodwill lot in place of an expired one (expires " in page


def test_charge_meanwhile_makes_the_refunds_preview_untrue(ana, acme, job):
    form = form_of(ana, url_of(job), credits="12", **SORRY)
    other, _ = services.open_job(acme.principal, services.NewJob("query"))
    charge(acme, other, 3)
    before = rows()
    page = ana.post(url_of(job), form)
    assert page.status_code == 409
    assert "The balance changed while you looked: 93 → 90." in text_of(page)
    assert rows() == before


def test_refund_form_and_preview_change_nothing(ana, acme, job):
    before = rows(), spendable(acme), list(Grant.objects.order_by("pk").values_list("remaining_micros"))
    form = form_of(ana, url_of(job), credits="3", **SORRY)
    ana.post(url_of(job), form | {"preview": "1"})
    assert (rows(), spendable(acme), list(Grant.objects.order_by("pk").values_list("remaining_micros"))) == before


def test_refund_sent_twice_refunds_once(ana, acme, job):
    form = form_of(ana, url_of(job), credits="3", **SORRY)
    assert ana.post(url_of(job), form).url == ana.post(url_of(job), form).url
    assert Entry.objects.filter(kind=Entry.Kind.REFUND).count() == 1


def test_support_refunds_up_to_the_set_sum(browser_of, acme, job, settings):
    sam = browser_of("support")
    assert sam.get(url_of(job)).status_code == 403
    settings.SUPPORT_CREDITS_MAX = 5
    form = form_of(sam, url_of(job), credits="12", **SORRY)
    page = sam.post(url_of(job), form)
    assert page.status_code == 403
    assert "Your role (support) cannot refund jobs beyond your limit (refunds and goodwill up to a set sum)." in (
        text_of(page)
    )
    assert AuditEntry.objects.filter(action="refused", actor="operator:sam@example.com").count() == 2
    assert Entry.objects.filter(kind=Entry.Kind.REFUND).count() == 0
    assert confirm(sam, url_of(job), credits="4", **SORRY).status_code == 303
    # Parts count together.
    assert sam.post(url_of(job), form_of(sam, url_of(job), credits="2", **SORRY)).status_code == 403
    assert confirm(sam, url_of(job), credits="1", **SORRY).status_code == 303


@pytest.mark.parametrize("role", ["viewer"])
def test_whoever_may_not_refund_cannot_reverse_either(browser_of, ana, acme, job, role):
    client, entry = browser_of(role), Entry.objects.get(kind=Entry.Kind.CHARGE)
    before = rows()
    for url in (url_of(job), f"/admin/entry/{entry.pk}/reverse/"):
        form = form_of(ana, url, credits="1", **SORRY, typed=str(entry.pk)[-8:])
        assert client.get(url).status_code == client.post(url, form).status_code == 403
    assert rows() == before
    assert "Reverse" not in [each.label for each in client.get(f"/admin/entry/{entry.pk}/").context["buttons"]]


def test_nothing_charged_is_nothing_to_refund(ana, acme):
    made, _ = services.open_job(acme.principal, services.NewJob("query"))
    page = ana.get(url_of(made))
    assert page.status_code == 409
    assert "Nothing was charged for this job, so nothing can be refunded." in text_of(page)


@pytest.mark.parametrize("job_id", ["nothing", "0192e4a0-0000-7000-8000-000000000000", "a%00b"])
def test_unknown_job_and_entry_are_not_found(ana, db, job_id):
    for url in (f"/admin/job/{job_id}/refund/", f"/admin/entry/{job_id}/reverse/", f"/admin/entry/{job_id}/"):
        assert ana.get(url).status_code == 404


def test_reversed_grant_takes_from_its_lot_and_becomes_debt_where_spent(ana, acme, job):
    grant = Entry.objects.get(kind=Entry.Kind.GRANT, amount_micros=5_000_000)
    url = f"/admin/entry/{grant.pk}/reverse/"
    ledger.hold(acme.team, job="rest", amount_micros=92_000_000, job_type="query")
    page = text_of(ana.get(url))
    assert "debt 4, since it was spent" in page
    form = form_of(ana, url, credits="5", reason="a mistake", typed=str(grant.pk)[-8:])
    done = ana.post(url, form)
    assert done.status_code == 303
    assert billing.balance(acme.team).debt_micros == 4_000_000
    assert AuditEntry.objects.get(action="credits.take_back").reason == "a mistake"
    page = ana.get(url)
    assert (page.status_code, "Already reversed by Ana" in text_of(page)) == (409, True)


def test_reversal_needs_the_end_of_the_entrys_id(ana, acme, job):
    entry = Entry.objects.get(kind=Entry.Kind.CHARGE)
    url = f"/admin/entry/{entry.pk}/reverse/"
    page = ana.post(url, form_of(ana, url, credits="12", **SORRY, typed="acme"))
    assert page.context["form"].errors["typed"] == [f"Type exactly {str(entry.pk)[-8:]}."]
    assert confirm(ana, url, credits="12", **SORRY, typed=str(entry.pk)[-8:]).status_code == 303


def test_other_kinds_are_not_reversed(ana, acme, job):
    entry = ledger.adjust(acme.team, amount_micros=1_000_000, actor=make.TESTER, key="1", reason="")
    page = ana.get(f"/admin/entry/{entry.pk}/reverse/")
    assert page.status_code == 409
    assert "An entry of kind adjust is not reversed." in text_of(page)


def test_preview_asks_a_bounded_number_of_queries(ana, acme, job):
    """It does the refund and rolls it back, so it asks more than a form does."""
    ana.get(url_of(job))
    with CaptureQueriesContext(connection) as shown:
        assert ana.get(url_of(job)).status_code == 200
    assert len(shown) <= 36
    assert Job.objects.count() == 1
