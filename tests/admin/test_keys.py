"""Keys in the admin: issued, rotated and revoked through the service, secrets shown once."""

import re
from datetime import timedelta

import pytest
from django.utils import timezone

from apps.core.models import AuditEntry, IdempotencyKey
from apps.virtual_keys import services
from apps.virtual_keys.errors import InvalidKey
from apps.virtual_keys.models import VirtualKey
from tests import make
from tests.admin.conftest import signed_in, staff

ADD = "/admin/virtual_keys/virtualkey/add/"
LIST = "/admin/virtual_keys/virtualkey/"
SECRET = re.compile(r"sk-[0-9A-Za-z]{33}")


def form_of(site, customer, **changes) -> dict[str, object]:
    page = site.get(ADD)
    token = re.search(r'name="once" value="([^"]+)"', page.content.decode())
    return {"once": token[1], "team": customer.team.pk, "name": "production"} | changes


def key_of(customer) -> VirtualKey:
    return VirtualKey.objects.get(team=customer.team)


def act(site, action, key, **more):
    return site.post(LIST, {"action": action, "_selected_action": [str(key.pk)], "confirmed": "yes"} | more)


def test_issued_key_works_and_is_shown_once(site, acme):
    page = site.post(ADD, form_of(site, acme))

    [secret] = SECRET.findall(page.content.decode())
    assert services.authenticate(secret).team.pk == acme.team.pk
    assert "no-store" in page["Cache-Control"]
    assert secret not in str(site.cookies)
    assert secret not in str(dict(site.session))
    assert not SECRET.search(site.get(LIST).content.decode())
    assert IdempotencyKey.objects.get(scope="admin:key").secret == ""


def test_issued_key_may_what_was_chosen(site, acme):
    model, group = make.alias("gpt"), make.model_group("agent", "gpt")
    ends = timezone.now() + timedelta(days=3)
    form = form_of(
        site,
        acme,
        scopes=["read", "chat"],
        models_allowed=[model.pk],
        groups_allowed=[group.pk],
        addresses_allowed="10.0.0.0/8\n 2001:db8::/32, 10.0.0.0/8",
        expires_at_0=ends.strftime("%Y-%m-%d"),
        expires_at_1=ends.strftime("%H:%M:%S"),
    )

    site.post(ADD, form)

    key = VirtualKey.objects.get(name="production")
    assert sorted(key.scopes) == ["chat", "read"]
    assert key.models_allowed == ["gpt", "agent"]
    assert key.addresses_allowed == ["10.0.0.0/8", "2001:db8::/32"]
    assert key.expires_at == ends.replace(microsecond=0)
    audited = AuditEntry.objects.get(action="key.issue", object_id=str(key.pk))
    assert (audited.actor, audited.address) == ("operator:owner@example.com", "127.0.0.1")


def test_same_page_submitted_twice_issues_one_key_and_shows_no_secret_again(site, acme):
    form = form_of(site, acme)
    site.post(ADD, form)

    page = site.post(ADD, form, follow=True)

    assert VirtualKey.objects.filter(name="production").count() == 1
    assert "was submitted before" in page.content.decode()
    assert not SECRET.search(page.content.decode())


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("team", ""),
        ("team", "abc"),
        ("team", "999999999999999999999999"),
        ("scopes", ["everything"]),
        ("models_allowed", ["0"]),
        ("addresses_allowed", "not-a-network"),
        ("name", "x" * 256),
        ("once", "again"),
    ],
)
def test_wrong_field_is_refused_and_no_key_is_issued(site, acme, field, value):
    page = site.post(ADD, form_of(site, acme, **{field: value}))
    assert page.context["adminform"].form.errors[field]
    assert VirtualKey.objects.count() == 1


def test_key_that_ends_in_the_past_is_refused(site, acme):
    page = site.post(ADD, form_of(site, acme, expires_at_0="2020-01-01", expires_at_1="00:00"))
    assert page.context["adminform"].form.errors["expires_at"]


@pytest.mark.parametrize("team", ["abc", "999999999999999999999999", "-1", "<script>"])
def test_add_page_opens_whatever_team_its_address_names(site, acme, team):
    assert site.get(ADD, {"team": team}).status_code == 200


def test_add_page_of_a_team_has_it_chosen(site, acme):
    assert "selected>acme</option>" in site.get(ADD, {"team": acme.team.pk}).content.decode()


def test_revoked_key_is_refused(site, acme):
    asked = site.post(LIST, {"action": "revoke", "_selected_action": [str(key_of(acme).pk)]})
    assert key_of(acme).prefix in asked.content.decode()
    assert services.authenticate(acme.secret)

    act(site, "revoke", key_of(acme))

    with pytest.raises(InvalidKey):
        services.authenticate(acme.secret)
    assert AuditEntry.objects.get(action="key.revoke").actor == "operator:owner@example.com"


def test_revoking_twice_leaves_one_audit_row(site, acme):
    for _ in range(2):
        act(site, "revoke", key_of(acme))
    assert AuditEntry.objects.filter(action="key.revoke").count() == 1


def test_rotated_key_works_beside_the_new_one(site, acme):
    page = act(site, "rotate", key_of(acme), overlap_h="24")

    [secret] = SECRET.findall(page.content.decode())
    assert services.authenticate(secret).team.pk == acme.team.pk
    assert services.authenticate(acme.secret).team.pk == acme.team.pk
    old = VirtualKey.objects.get(replaced_by__isnull=False)
    assert timedelta(hours=23) < old.expires_at - timezone.now() <= timedelta(hours=24)


def test_key_rotated_without_overlap_stops_at_once(site, acme):
    act(site, "rotate", key_of(acme), overlap_h="0")
    services.forget_cached()
    with pytest.raises(InvalidKey):
        services.authenticate(acme.secret)


def test_key_rotated_before_is_not_rotated_again(site, acme):
    old = key_of(acme)
    act(site, "rotate", old, overlap_h="24")
    page = act(site, "rotate", old, overlap_h="24")
    assert page.status_code == 302
    assert VirtualKey.objects.count() == 2


@pytest.mark.parametrize("overlap_h", ["", "-1", "x", "100000"])
def test_wrong_overlap_rotates_nothing(site, acme, overlap_h):
    page = act(site, "rotate", key_of(acme), overlap_h=overlap_h)
    assert page.context["form"].errors["overlap_h"]
    assert VirtualKey.objects.count() == 1


def test_digest_is_on_no_page_and_cannot_be_guessed_by_filters(site, acme):
    key = key_of(acme)
    pages = (LIST, f"{LIST}{key.pk}/change/")
    assert all(key.digest not in site.get(page).content.decode() for page in pages)
    guess = site.get(LIST, {"digest__startswith": key.digest[:4]})
    assert guess.status_code == 400


@pytest.mark.parametrize(
    ("role", "allowed"),
    [("viewer", []), ("billing", []), ("support", ["rotate", "revoke"]), ("admin", ["rotate", "revoke"])],
)
def test_actions_are_for_those_with_the_rights(acme, role, allowed):
    operator = signed_in(staff(role))
    offered = operator.get(LIST).context.get("action_form")
    names = [name for name, _ in offered.fields["action"].choices if name] if offered else []
    assert names == allowed
    if "revoke" not in allowed:
        act(operator, "revoke", key_of(acme))
        assert key_of(acme).revoked_at is None


def test_state_filter_tells_keys_apart(site, acme, globex):
    services.revoke(key_of(globex), actor=make.TESTER)
    found = {
        state: [key.team.team_id for key in site.get(LIST, {"state": state}).context["cl"].queryset]
        for state in ("usable", "revoked", "expired", "rotated")
    }
    assert found == {"usable": ["acme"], "revoked": ["globex"], "expired": [], "rotated": []}
