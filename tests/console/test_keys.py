"""Keys in the console: issued, rotated with overlap and revoked; secrets shown once."""

import re
from datetime import timedelta

import pytest
from django.utils import timezone

from apps.core.models import AuditEntry
from apps.virtual_keys import services
from apps.virtual_keys.errors import InvalidKey
from apps.virtual_keys.models import VirtualKey
from tests import make
from tests.console.conftest import text_of

ISSUE = "/admin/team/acme/issue-key/"
LIST = "/admin/virtual_keys/virtualkey/"
SECRET = re.compile(r"sk-[0-9A-Za-z]{33}")


def key_of(customer) -> VirtualKey:
    return VirtualKey.objects.filter(team=customer.team).order_by("created_at").first()


def url(customer, action) -> str:
    return f"/admin/key/{key_of(customer).pk}/{action}/"


def form_of(browser, address, **typed):
    page = browser.get(address)
    return {
        "once": str(page.context["form"]["once"].value()),
        "seen": page.context["preview"].seen,
        "reason": "asked by the customer",
        "name": "production",
        "overlap_h": "24",
    } | typed


def do(browser, address, **typed):
    return browser.post(address, form_of(browser, address, **typed))


def test_issued_key_works_and_is_shown_once(ana, acme):
    form = form_of(ana, ISSUE)
    page = ana.post(ISSUE, form)

    [secret] = set(SECRET.findall(text_of(page)))
    assert services.authenticate(secret).team.pk == acme.team.pk
    assert "no-store" in page["Cache-Control"]
    assert secret not in str(ana.cookies)
    assert secret not in str(dict(ana.session))
    assert not SECRET.search(text_of(ana.get(LIST)))
    assert set(SECRET.findall(text_of(ana.post(ISSUE, form)))) == {secret}
    assert VirtualKey.objects.filter(name="production").count() == 1


def test_issued_key_may_what_was_chosen(ana, acme):
    make.alias("gpt", is_open=True)
    ends = timezone.now() + timedelta(days=3)
    do(
        ana,
        ISSUE,
        scopes=["read", "chat"],
        models_allowed=["gpt"],
        addresses_allowed="10.0.0.0/8\n 2001:db8::/32, 10.0.0.0/8",
        expires_at=ends.strftime("%Y-%m-%dT%H:%M"),
    )
    key = VirtualKey.objects.get(name="production")
    assert sorted(key.scopes) == ["chat", "read"]
    assert key.models_allowed == ["gpt"]
    assert key.addresses_allowed == ["10.0.0.0/8", "2001:db8::/32"]
    assert key.expires_at == ends.replace(second=0, microsecond=0)
    row = AuditEntry.objects.get(action="key.issue", object_id=str(key.pk))
    assert (row.actor, row.address) == ("operator:ana@example.com", "127.0.0.1")


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("name", ""),
        ("name", "x" * 256),
        ("scopes", ["everything"]),
        ("models_allowed", ["nothing"]),
        ("addresses_allowed", "not-a-network"),
        ("expires_at", "2020-01-01T00:00"),
        ("once", "again"),
    ],
)
def test_wrong_field_is_refused_and_no_key_is_issued(ana, acme, field, value):
    page = do(ana, ISSUE, **{field: value})
    assert page.status_code == 422
    assert page.context["form"].errors[field]
    assert VirtualKey.objects.count() == 1


def test_closed_team_gets_no_key(ana, acme):
    type(acme.team).objects.update(status="closed")
    assert ana.get(ISSUE).status_code == 409


def test_rotated_key_works_beside_the_new_one(ana, acme):
    page = do(ana, url(acme, "rotate"))
    [secret] = set(SECRET.findall(text_of(page)))
    assert services.authenticate(secret).team.pk == acme.team.pk
    assert services.authenticate(acme.secret).team.pk == acme.team.pk
    old = VirtualKey.objects.get(replaced_by__isnull=False)
    assert timedelta(hours=23) < old.expires_at - timezone.now() <= timedelta(hours=24)
    row = AuditEntry.objects.get(action="key.rotate")
    assert (row.reason, row.object_id) == ("asked by the customer", str(old.pk))
    assert "Rotating: it works until" in text_of(ana.get(f"/admin/key/{old.pk}/"))


def test_key_rotated_without_overlap_stops_at_once(ana, acme):
    do(ana, url(acme, "rotate"), overlap_h="0")
    services.forget_cached()
    with pytest.raises(InvalidKey):
        services.authenticate(acme.secret)


def test_key_rotated_before_is_not_rotated_again(ana, acme):
    old = url(acme, "rotate")
    form = form_of(ana, old)
    do(ana, old)
    page = ana.post(old, form)
    assert page.status_code == 409
    assert VirtualKey.objects.count() == 2


@pytest.mark.parametrize("overlap_h", ["", "-1", "x", "100000"])
def test_wrong_overlap_rotates_nothing(ana, acme, overlap_h):
    page = do(ana, url(acme, "rotate"), overlap_h=overlap_h)
    assert page.context["form"].errors["overlap_h"]
    assert VirtualKey.objects.count() == 1


def test_revoked_key_is_refused_and_keeps_its_page(ana, acme):
    revoke = url(acme, "revoke")
    form = form_of(ana, revoke)
    assert "This cannot be undone" in text_of(ana.get(revoke))
    assert services.authenticate(acme.secret)

    first, second = ana.post(revoke, form), ana.post(revoke, form)

    assert first.status_code == second.status_code == 303
    with pytest.raises(InvalidKey):
        services.authenticate(acme.secret)
    row = AuditEntry.objects.get(action="key.revoke")
    assert (row.actor, row.reason) == ("operator:ana@example.com", "asked by the customer")
    assert "Revoked" in text_of(ana.get(first.url))
    assert ana.get(revoke).status_code == 409


def test_key_that_changed_meanwhile_is_not_revoked(ana, acme):
    revoke = url(acme, "revoke")
    form = form_of(ana, revoke)
    services.rotate(key_of(acme), actor=make.TESTER, overlap_s=60)
    page = ana.post(revoke, form)
    assert page.status_code == 409
    assert "What you saw has changed meanwhile" in text_of(page)
    assert key_of(acme).revoked_at is None


@pytest.mark.parametrize("role", ["viewer", "billing"])
def test_actions_are_for_those_with_the_right(ana, browser_of, acme, role):
    browser = browser_of(role)
    for address in (ISSUE, url(acme, "rotate"), url(acme, "revoke")):
        form = form_of(ana, address)
        assert browser.get(address).status_code == browser.post(address, form).status_code == 403
    assert browser.get(f"/admin/key/{key_of(acme).pk}/").context["buttons"] == []
    assert VirtualKey.objects.filter(revoked_at__isnull=True).count() == 1


def test_getting_changes_nothing(ana, acme):
    rows = AuditEntry.objects.count()
    for address in (ISSUE, url(acme, "rotate"), url(acme, "revoke")):
        assert ana.get(address).status_code == 200
    assert (VirtualKey.objects.count(), AuditEntry.objects.count()) == (1, rows)


def test_digest_is_on_no_page(ana, acme):
    key = key_of(acme)
    for address in (LIST, f"/admin/key/{key.pk}/", f"/admin/key/{key.pk}/activity/", "/admin/team/acme/keys/"):
        assert key.digest not in text_of(ana.get(address))


def prefixes(browser, **query):
    table = browser.get(LIST, query).context["table"]
    return {str(shown) for row in table for column, shown in row if column.label == "Key"}


def test_filters_tell_keys_apart(ana, acme, globex):
    services.revoke(key_of(globex), actor=make.TESTER)
    mine, other = f"{key_of(acme).prefix}…", f"{key_of(globex).prefix}…"
    soon = timezone.now() + timedelta(days=2)
    late, _ = services.issue(acme.team, actor=make.TESTER, scopes=["read"], expires_at=soon)
    late = f"{late.prefix}…"
    assert prefixes(ana, state="usable") == {mine, late}
    assert prefixes(ana, state="revoked") == {other}
    assert prefixes(ana, state="expiring") == {late}
    assert prefixes(ana, state="expired") == prefixes(ana, state="rotating") == set()
    assert prefixes(ana, scope="read") == {mine, other, late}
    assert prefixes(ana, scope="chat") == {mine, other}
    assert prefixes(ana, team="globex") == {other}
    assert prefixes(ana, unused="90d") == set()
    VirtualKey.objects.filter(team=acme.team).update(created_at=timezone.now() - timedelta(days=91))
    assert prefixes(ana, unused="90d") == {mine, late}


def test_whole_key_finds_its_row_and_is_not_written_back(ana, acme):
    page = ana.get(LIST, {"q": acme.secret}, follow=True)
    assert f"{acme.secret[:11]}…" in text_of(page)
    assert acme.secret not in text_of(page)
    assert acme.secret not in page.redirect_chain[-1][0]
