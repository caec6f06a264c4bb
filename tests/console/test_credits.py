"""Credits given, taken and moved by operators: previewed, once, with a reason, by those who may."""

from datetime import timedelta
from zoneinfo import ZoneInfo

import pytest
from django.db import connection
from django.test.utils import CaptureQueriesContext
from django.utils import timezone

from apps.core.models import AuditEntry
from apps.credits import billing, ledger
from apps.credits.models import Account, Entry, Grant
from tests import make
from tests.console.conftest import confirm, text_of

GRANT = "/admin/team/acme/grant/"
GIVEN = {"credits": "500", "kind": "paid", "reason": "Invoice 17"}
TEAM_ACTIONS = {
    "grant": GIVEN,
    "adjust": {"credits": "10", "reason": "given twice", "typed": "acme"},
    "credit-line": {"credits": "25", "reason": "agreed terms", "typed": "acme"},
    "allocate": {"credits": "5", "reason": "second quarter"},
    "reclaim": {"credits": "5", "reason": "second quarter"},
}


@pytest.fixture
def acme(db):
    """A team with 960 credits, 60 of them from its organization's pool, which has 40 left."""
    org = make.organization("acme-org")
    customer = make.customer(team_id="acme", credits=900, org=org)
    ledger.grant_to_pool(org, amount_micros=100_000_000, actor=make.TESTER, key="pool")
    ledger.allocate(customer.team, amount_micros=60_000_000, actor=make.TESTER, key="1")
    return customer


def spend(customer, credits, job="job-1"):
    """What a job does meanwhile."""
    micros = credits * 1_000_000
    ledger.hold(customer.team, job=job, amount_micros=micros, job_type="query")
    return ledger.charge(customer.team, job=job, amount_micros=micros, actor=make.TESTER, reason="job")


def form_of(client, url, **typed):
    page = client.get(url)
    return {"once": str(page.context["form"]["once"].value()), "seen": page.context["preview"].seen} | typed


def rows():
    return (Entry.objects.count(), Grant.objects.count(), AuditEntry.objects.exclude(action="refused").count())


def spendable(customer):
    return billing.balance(customer.team).spendable_micros


def test_grant_shows_what_will_be_available(ana, acme):
    page = ana.post(GRANT, form_of(ana, GRANT, **GIVEN, preview="1"))
    assert [(c.before, c.after) for c in page.context["preview"].changes] == [("960", "1,460")]
    assert "New lot: paid, does not expire, burns after promotional and goodwill lots." in text_of(page)
    assert spendable(acme) == 960_000_000


def test_preview_does_not_wait_for_the_reason(ana, acme):
    form = form_of(ana, GRANT, **GIVEN | {"reason": ""})
    for page in (ana.post(GRANT, form | {"preview": "1"}), ana.post(GRANT, form)):
        assert [(c.before, c.after) for c in page.context["preview"].changes] == [("960", "1,460")]
    assert spendable(acme) == 960_000_000


def test_grant_posts_one_entry_by_the_operator_with_an_audit_row(ana, acme):
    done = ana.post(GRANT, form_of(ana, GRANT, **GIVEN | {"kind": "promotional"}))

    entry = Entry.objects.get(reason="Invoice 17")
    assert (done.status_code, done.url) == (303, f"/admin/entry/{entry.pk}/")
    assert (entry.amount_micros, entry.actor) == (500_000_000, "operator:ana@example.com")
    assert Grant.objects.get(entry=entry).kind == Grant.Kind.PROMOTIONAL
    audited = AuditEntry.objects.get(action="team.credits", reason="Invoice 17")
    assert (audited.before, audited.after) == ({"credits_allocated": "960"}, {"credits_allocated": "1460"})
    page = text_of(ana.get(done.url))
    assert "500 credits given to acme." in page
    assert "500 credits were granted to acme by Ana: “Invoice 17”." in page
    assert "960 → 1,460" in page


def test_grant_lasts_to_the_end_of_its_last_day_in_the_operators_zone(ana, acme):
    ana.cookies["console_zone"] = "Europe/Berlin"
    day = (timezone.now() + timedelta(days=40)).date()
    ana.post(GRANT, form_of(ana, GRANT, **GIVEN, last_day=str(day)))
    lot = Grant.objects.get(entry__reason="Invoice 17")
    local = lot.expires_at.astimezone(ZoneInfo("Europe/Berlin"))
    assert (local.date(), local.hour) == (day + timedelta(days=1), 0)


def test_payment_gives_the_lot_its_price_and_arrives_once(ana, acme):
    paid = GIVEN | {"payment_reference": "INV-17", "payment_usd": "50.00"}
    ana.post(GRANT, form_of(ana, GRANT, **paid))
    entry = Entry.objects.get(external_id="INV-17")
    assert Grant.objects.get(entry=entry).price_nanousd_per_credit == 100_000_000
    assert entry.source == "payment:one_time"

    again = ana.post(GRANT, form_of(ana, GRANT, **paid))
    assert again.status_code == 422
    assert "This external id was used before" in text_of(again)
    assert spendable(acme) == 1_460_000_000


def test_payment_is_for_what_is_sold(ana, acme):
    page = ana.post(GRANT, form_of(ana, GRANT, **GIVEN | {"kind": "goodwill", "payment_usd": "5"}))
    assert page.context["form"].errors["payment_usd"] == [
        "A payment is for credits of the kind paid or subscription."
    ]


def test_restricted_credits_go_to_a_wallet_of_their_own(ana, acme):
    form = form_of(ana, GRANT, **GIVEN, job_types="resume, query")
    page = ana.post(GRANT, form | {"preview": "1"})
    assert page.context["preview"].changes[0].label == "Available for query, resume"
    ana.post(GRANT, form)
    assert Account.objects.get(restriction="query,resume").posted_micros == 500_000_000
    assert spendable(acme) == 960_000_000


@pytest.mark.parametrize(
    ("amount", "said"),
    [
        ("0", "Credits must be more than 0. You typed 0."),
        ("-5", "Credits must be more than 0. You typed -5."),
        ("1.5", "Credits has no decimals: whole ones alone. You typed 1.5."),
        ("", "This field is required."),
        ("x", "Credits is a number such as 1,500. You typed x."),
        ("1000000000001", "Credits can be at most 1,000,000,000,000. You typed 1000000000001."),
        ("NaN", "Credits can be at most 1,000,000,000,000. You typed NaN."),
        ("1e9999", "Credits can be at most 1,000,000,000,000. You typed 1e9999."),
    ],
)
def test_amount_that_is_none_is_said_with_what_was_typed(ana, acme, amount, said):
    page = ana.post(GRANT, form_of(ana, GRANT, **GIVEN | {"credits": amount}))
    assert page.status_code == 422
    assert page.context["form"].errors["credits"] == [said]
    assert spendable(acme) == 960_000_000


def test_grouping_is_understood(ana, acme):
    ana.post(GRANT, form_of(ana, GRANT, **GIVEN | {"credits": "1,500"}))
    assert spendable(acme) == 2_460_000_000


@pytest.mark.parametrize("reason", ["", "   ", "abc", "x" * 501, "a\x00bcdef"])
def test_grant_without_a_storable_reason_is_refused(ana, acme, reason):
    page = ana.post(GRANT, form_of(ana, GRANT, **GIVEN | {"reason": reason}))
    assert page.context["form"].errors["reason"]
    assert spendable(acme) == 960_000_000


def test_largest_grant_fits_the_ledger(ana, acme):
    customer = make.customer(team_id="beta", credits=0)
    url = "/admin/team/beta/grant/"
    ana.post(url, form_of(ana, url, **GIVEN | {"credits": "1000000000000"}))
    assert billing.balance(customer.team).posted_micros == 1_000_000_000_000_000_000


def test_what_the_ledger_refuses_is_said_on_the_form(ana, acme):
    page = ana.post(GRANT, form_of(ana, GRANT, **GIVEN | {"credits": "1000000000000"}))
    assert "at most 1000000000000 credits in all" in text_of(page)
    assert spendable(acme) == 960_000_000


def test_charge_meanwhile_makes_the_preview_untrue(ana, acme):
    form = form_of(ana, GRANT, **GIVEN)
    spend(acme, 20)
    before = rows()

    page = ana.post(GRANT, form)

    assert page.status_code == 409
    assert "The balance changed while you looked: 960 → 940. Nothing was done. Check again." in text_of(page)
    assert rows() == before
    done = ana.post(GRANT, form | {"seen": page.context["preview"].seen})
    assert done.status_code == 303
    assert spendable(acme) == 1_440_000_000


def test_same_form_sent_three_times_grants_once_also_after_more_happened(ana, acme):
    form = form_of(ana, GRANT, **GIVEN)
    first = ana.post(GRANT, form)
    spend(acme, 20)
    answers = {ana.post(GRANT, form).url for _ in range(2)}
    assert answers == {first.url}
    assert Entry.objects.filter(reason="Invoice 17").count() == 1
    assert AuditEntry.objects.filter(reason="Invoice 17").count() == 1


def test_same_form_with_another_amount_is_refused(ana, acme):
    form = form_of(ana, GRANT, **GIVEN)
    ana.post(GRANT, form)
    page = ana.post(GRANT, form | {"credits": "501"})
    assert page.status_code == 422
    assert "used before with something else typed" in text_of(page)
    assert Entry.objects.filter(reason="Invoice 17").count() == 1


@pytest.mark.parametrize("seen", ["x", "999:abc", "9" * 200, "960000000:" + "0" * 32])
def test_crafted_seen_does_nothing(ana, acme, seen):
    page = ana.post(GRANT, form_of(ana, GRANT, **GIVEN) | {"seen": seen})
    assert page.status_code == 409
    assert spendable(acme) == 960_000_000


@pytest.mark.parametrize("once", ["", "not-a-uuid"])
def test_form_without_its_id_does_nothing(ana, acme, once):
    assert ana.post(GRANT, form_of(ana, GRANT, **GIVEN) | {"once": once}).status_code == 422
    assert spendable(acme) == 960_000_000


def test_adjust_takes_out_and_names_the_lots(ana, acme):
    url = "/admin/team/acme/adjust/"
    form = form_of(ana, url, credits="200.5", reason="given twice", typed="acme")
    page = ana.post(url, form | {"preview": "1"})
    assert [(c.before, c.after) for c in page.context["preview"].changes] == [("960", "759.5")]
    lot = Grant.objects.filter(account__team=acme.team).first()
    assert f"Taken from lot {str(lot.pk)[-8:]} (paid) 200.5." in text_of(page)

    ana.post(url, form)

    entry = Entry.objects.get(kind=Entry.Kind.ADJUST)
    assert list(entry.uses.values_list("grant", "amount_micros")) == [(lot.pk, 200_500_000)]
    audited = AuditEntry.objects.get(reason="given twice")
    assert (audited.before, audited.after) == ({"credits_allocated": "960"}, {"credits_allocated": "759.5"})


def test_adjust_takes_at_most_what_is_available(ana, acme):
    url = "/admin/team/acme/adjust/"
    page = ana.post(url, form_of(ana, url, credits="961", reason="given twice", typed="acme"))
    assert page.status_code == 422
    assert "Insufficient credits" in text_of(page)
    assert spendable(acme) == 960_000_000


@pytest.mark.parametrize("action", ["adjust", "credit-line"])
def test_wide_actions_need_the_id_typed(ana, acme, action):
    url = f"/admin/team/acme/{action}/"
    page = ana.post(url, form_of(ana, url, **TEAM_ACTIONS[action] | {"typed": "acm"}))
    assert page.context["form"].errors["typed"] == ["Type exactly acme."]


def test_credit_line_is_set_and_audited(ana, acme, settings):
    url = "/admin/team/acme/credit-line/"
    assert confirm(ana, url, **TEAM_ACTIONS["credit-line"]).status_code == 303
    assert billing.balance(acme.team).credit_line_micros == 25_000_000
    assert AuditEntry.objects.get(action="team.credit_line").after == {"credit_line": "25"}
    settings.CREDIT_LINE_MAX_CREDITS = 30
    page = confirm(ana, url, credits="31", reason="agreed terms", typed="acme")
    assert page.context["form"].errors["credits"] == ["A credit line can have at most 30 credits."]


def test_allocate_and_reclaim_show_both_sides(ana, acme):
    url = "/admin/team/acme/allocate/"
    form = form_of(ana, url, credits="40", reason="second quarter")
    page = ana.post(url, form | {"preview": "1"})
    assert [(c.label, c.before, c.after) for c in page.context["preview"].changes] == [
        ("In the pool", "40", "0"),
        ("Available to acme", "960", "1,000"),
    ]
    ana.post(url, form)
    assert spendable(acme) == 1_000_000_000

    url = "/admin/team/acme/reclaim/"
    page = confirm(ana, url, credits="101", reason="second quarter")
    assert page.status_code == 422
    confirm(ana, url, credits="100", reason="second quarter")
    assert spendable(acme) == 900_000_000
    assert Account.objects.get(kind="pool").posted_micros == 100_000_000


def test_pool_too_small_is_said(ana, acme):
    url = "/admin/team/acme/allocate/"
    page = ana.post(url, form_of(ana, url, credits="41", reason="second quarter"))
    assert page.status_code == 422
    assert "pool has fewer credits" in text_of(page)


def test_organization_funds_allocates_and_reclaims(ana, acme):
    confirm(ana, "/admin/org/acme-org/grant/", credits="60", kind="paid", reason="Invoice 18")
    assert Account.objects.get(kind="pool").posted_micros == 100_000_000
    confirm(ana, "/admin/org/acme-org/allocate/", team="acme", credits="100", reason="second quarter")
    assert spendable(acme) == 1_060_000_000
    confirm(ana, "/admin/org/acme-org/reclaim/", team="acme", credits="10", reason="second quarter")
    assert Account.objects.get(kind="pool").posted_micros == 10_000_000


@pytest.mark.parametrize("team", ["beta", "nobody", ""])
def test_pool_is_for_teams_of_its_organization(ana, acme, team):
    make.customer(team_id="beta")
    page = confirm(ana, "/admin/org/acme-org/allocate/", team=team, credits="1", reason="second quarter")
    assert page.context["form"].errors["team"]


@pytest.mark.parametrize("action", TEAM_ACTIONS)
def test_get_and_preview_change_nothing(ana, acme, action):
    url = f"/admin/team/acme/{action}/"
    before = rows(), Account.objects.get(team=acme.team).credit_line_micros
    form = form_of(ana, url, **TEAM_ACTIONS[action])
    ana.post(url, form | {"preview": "1"})
    assert (rows(), Account.objects.get(team=acme.team).credit_line_micros) == before


@pytest.mark.parametrize("action", TEAM_ACTIONS)
@pytest.mark.parametrize("role", ["owner", "admin", "billing"])
def test_whoever_may_move_credits_can(browser_of, acme, role, action):
    done = confirm(browser_of(role), f"/admin/team/acme/{action}/", **TEAM_ACTIONS[action])
    assert done.status_code == 303


@pytest.mark.parametrize("action", TEAM_ACTIONS)
@pytest.mark.parametrize("role", ["support", "viewer"])
def test_whoever_may_not_is_told_and_nothing_happens(browser_of, ana, acme, role, action):
    url = f"/admin/team/acme/{action}/"
    form = form_of(ana, url, **TEAM_ACTIONS[action])
    before, client = rows(), browser_of(role)
    for page in (client.get(url), client.post(url, form)):
        assert page.status_code == 403
        assert "Owners, admins and billing can." in text_of(page)
    assert rows() == before
    assert AuditEntry.objects.filter(action="refused", object_id=url).count() == 2


def test_support_gives_goodwill_up_to_the_set_sum(browser_of, acme, settings):
    settings.SUPPORT_CREDITS_MAX = 5
    sam = browser_of("support")
    assert confirm(sam, GRANT, credits="5", kind="goodwill", reason="slow answers").status_code == 303
    for typed in ({"credits": "6", "kind": "goodwill"}, {"credits": "5", "kind": "paid"}):
        page = sam.post(GRANT, form_of(sam, GRANT, **typed, reason="slow answers"))
        assert page.status_code == 403
        assert "beyond your limit (refunds and goodwill up to a set sum)" in text_of(page)
    assert spendable(acme) == 965_000_000


@pytest.mark.parametrize("action", TEAM_ACTIONS)
def test_form_and_confirmation_ask_a_bounded_number_of_queries(ana, acme, action):
    url = f"/admin/team/acme/{action}/"
    ana.get(url)
    with CaptureQueriesContext(connection) as shown:
        form = form_of(ana, url, **TEAM_ACTIONS[action])
    with CaptureQueriesContext(connection) as previewed:
        ana.post(url, form | {"preview": "1"})
    assert (len(shown) <= 12, len(previewed) <= 12) == (True, True)


@pytest.mark.parametrize("action", TEAM_ACTIONS)
def test_unknown_team_is_not_found(ana, db, action):
    for team in ("nobody", "a%00b"):
        assert ana.get(f"/admin/team/{team}/{action}/").status_code == 404
