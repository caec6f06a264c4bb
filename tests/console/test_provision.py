"""Provisioning: one form, one transaction, a key that works; sent twice it is made once."""

import re

import pytest

from apps.catalog import services as catalog
from apps.core.models import AuditEntry, IdempotencyKey
from apps.credits import billing
from apps.credits.models import Entry, Grant
from apps.organizations import rights
from apps.organizations.models import Organization
from apps.teams.models import Team
from apps.virtual_keys import services as virtual_keys
from apps.virtual_keys.models import VirtualKey
from tests import make
from tests.console.conftest import text_of

URL = "/admin/provision/"
SECRET = re.compile(r"sk-[0-9A-Za-z]{33}")


def form_of(browser, **typed):
    """The form as a browser would send it, filled in."""
    page = browser.get(URL)
    shown = {
        name: page.context["form"][name].value()
        for name in page.context["form"].fields
        if page.context["form"][name].value() not in (None, [], False)
    }
    filled = {"name": "Initech", "organization_id": "initech", "team_id": "initech-main"}
    return {**shown, "seen": "", "has_key": "on"} | filled | typed


def made() -> tuple[int, int, int]:
    return Organization.objects.count(), Team.objects.count(), VirtualKey.objects.count()


def test_get_shows_the_form_and_makes_nothing(ana):
    page = ana.get(URL)
    assert page.status_code == 200
    assert made() == (0, 0, 0)


def test_everything_is_made_at_once_and_the_key_works(ana):
    make.platform_model()
    model = make.alias("gpt")
    make.access_group("basic", "gpt")

    page = ana.post(
        URL,
        form_of(ana, access_groups=["basic"], default_model="gpt", credits="40", kind="promotional", scopes=["jobs"]),
    )

    [secret] = set(SECRET.findall(text_of(page)))
    principal = virtual_keys.authenticate(secret)
    assert (principal.team.team_id, principal.organization.name) == ("initech-main", "Initech")
    assert principal.scopes == ("jobs",)
    assert billing.balance(principal.team).posted_micros == 40_000_000
    assert Grant.objects.get().kind == "promotional"
    assert catalog.resolve(principal.team, None).alias == model.name
    actions = set(AuditEntry.objects.filter(actor="operator:ana@example.com").values_list("action", flat=True))
    assert {"organization.create", "team.create", "team.models", "team.default_model", "key.issue"} <= actions
    assert "no-store" in page["Cache-Control"]
    assert secret not in str(ana.cookies)
    assert secret not in str(dict(ana.session))


def test_result_has_commands_and_environment_filled_in(ana):
    text = text_of(ana.post(URL, form_of(ana)))
    assert "api=http://testserver/api" in text
    assert "&quot;team_id&quot;: &quot;initech-main&quot;" in text or '"team_id": "initech-main"' in text
    assert "SAAS_LITELLM_VIRTUAL_KEY=sk-" in text
    assert 'href="/admin/team/initech-main/"' in text


def test_sent_twice_makes_one_customer_and_shows_the_same_key(ana):
    form = form_of(ana)
    first, second = ana.post(URL, form), ana.post(URL, form)
    assert first.status_code == second.status_code == 200
    assert SECRET.findall(text_of(first)) == SECRET.findall(text_of(second)) != []
    assert made() == (1, 1, 1)
    assert Entry.objects.count() == 1


def test_after_ten_minutes_the_prefix_alone_is_shown(ana):
    form = form_of(ana)
    [secret] = set(SECRET.findall(text_of(ana.post(URL, form))))
    IdempotencyKey.objects.update(created_at="2026-01-01T00:00:00Z")
    text = text_of(ana.post(URL, form))
    assert not SECRET.search(text)
    assert f"<code>{secret[:11]}…</code>" in text
    assert made() == (1, 1, 1)


def test_another_operator_is_not_shown_the_key_by_the_same_form(ana, browser_of):
    form = form_of(ana)
    ana.post(URL, form)
    page = browser_of("admin").post(URL, form)
    assert not SECRET.search(text_of(page))
    assert page.context["form"].errors["team_id"]


def test_team_is_added_to_an_organization_that_exists(ana, acme):
    page = ana.get(URL, {"organization": acme.organization.organization_id})
    assert page.context["form"]["organization"].value() == "existing"
    form = form_of(ana, organization="existing", organization_id=acme.organization.organization_id, name="")
    ana.post(URL, form)
    assert Team.objects.get(team_id="initech-main").organization_id == acme.organization.pk


def test_payment_is_kept_with_the_credits(ana):
    ana.post(URL, form_of(ana, credits="100", payment_id="INV-17", payment_usd="25.00"))
    lot = Grant.objects.select_related("entry").get()
    assert (lot.entry.external_id, lot.price_nanousd_per_credit) == ("INV-17", 250_000_000)


def test_payment_that_came_before_makes_nothing(ana):
    ana.post(URL, form_of(ana, payment_id="INV-17"))
    again = form_of(ana, payment_id="INV-17", organization_id="other", team_id="other-main")
    page = ana.post(URL, again)
    assert page.status_code == 422
    assert made() == (1, 1, 1)


@pytest.mark.parametrize(
    ("typed", "field"),
    [
        ({"name": ""}, "name"),
        ({"organization_id": ""}, "organization_id"),
        ({"organization_id": "has space"}, "organization_id"),
        ({"organization": "existing", "organization_id": "nobody"}, "organization_id"),
        ({"team_id": ""}, "team_id"),
        ({"team_id": "<script>"}, "team_id"),
        ({"team_id": "me"}, "team_id"),
        ({"team_id": "a\x00b"}, "team_id"),
        ({"default_model": "nothing"}, None),
        ({"credits": "-1"}, "credits"),
        ({"credits": "1.5"}, "credits"),
        ({"credits": "0", "payment_usd": "5"}, "credits"),
        ({"credits_expire_at": "2020-01-01T00:00"}, "credits_expire_at"),
        ({"payment_usd": "NaN"}, "payment_usd"),
        ({"key_expires_at": "2020-01-01T00:00"}, "key_expires_at"),
        ({"scopes": ["everything"]}, "scopes"),
    ],
)
def test_wrong_field_is_said_and_nothing_is_made(ana, typed, field):
    page = ana.post(URL, form_of(ana, **typed))
    assert page.status_code == 422
    assert page.context["form"].errors[field or "__all__"]
    assert "There is a problem" in text_of(page)
    assert made() == (0, 0, 0)
    assert not AuditEntry.objects.exclude(action="refused").filter(action__startswith="team").exists()


def test_taken_ids_are_said_while_typing(ana, acme):
    form = form_of(ana, team_id="acme", organization_id=acme.organization.organization_id)
    text = text_of(ana.post(URL, form | {"preview": "1"}))
    assert "The team id acme is taken." in text
    assert f"The organization id {acme.organization.organization_id} is taken." in text
    assert made() == (1, 1, 1)


def test_preview_says_what_will_be_made(ana):
    make.platform_model("house")
    text = text_of(ana.post(URL, form_of(ana, credits="1500") | {"preview": "1"}))
    for words in ("initech-main", "1,500 paid", "house", "those open to all"):
        assert words in text


def test_without_a_key_the_team_page_opens(ana):
    form = form_of(ana)
    del form["has_key"]
    done = ana.post(URL, form)
    assert (done.status_code, done.url) == (303, "/admin/team/initech-main/")
    assert made() == (1, 1, 0)


@pytest.mark.parametrize("role", ["billing", "support", "viewer"])
def test_whoever_may_not_is_refused(browser_of, ana, role):
    form = form_of(ana)
    browser = browser_of(role)
    assert browser.get(URL).status_code == browser.post(URL, form).status_code == 403
    assert made() == (0, 0, 0)


def test_who_may_not_grant_makes_a_customer_without_credits(browser_of, monkeypatch):
    monkeypatch.setitem(rights.FULL, rights.Right.CREDITS_WRITE, frozenset())
    ali = browser_of("admin")
    ali.post(URL, form_of(ali, credits="1000"))
    assert billing.balance(Team.objects.get(team_id="initech-main")).posted_micros == 0


def test_without_csrf_token_nothing_is_made(browser_of, ana):
    assert browser_of("owner", enforce_csrf_checks=True).post(URL, form_of(ana)).status_code == 403
    assert made() == (0, 0, 0)
