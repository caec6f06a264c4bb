"""Teams in the admin: made with a key, renamed, suspended; every change audited."""

import pytest

from apps.catalog import services as catalog
from apps.core.models import AuditEntry
from apps.credits import billing
from apps.organizations import rights
from apps.teams.models import Team
from apps.virtual_keys import services as virtual_keys
from tests import make
from tests.admin.conftest import signed_in, staff

ADD = "/admin/teams/team/add/"
LIST = "/admin/teams/team/"


def new_team(**changes) -> dict[str, object]:
    org = make.organization()
    return {
        "organization": org.pk,
        "team_id": "initech",
        "metadata": "{}",
        "credits": "0",
        "budget_mode": "job_based",
    } | changes


def page_of(team: Team) -> str:
    return f"{LIST}{team.pk}/change/"


def secret_in(page) -> str:
    [found] = {word for word in page.content.decode().replace("<", ">").split(">") if word.startswith("sk-")}
    return found


def test_new_team_has_a_wallet_and_a_key_that_works(site):
    model = make.alias("gpt")

    page = site.post(ADD, new_team(credits="40", alias="Initech Inc.", models=[model.pk], default_model=model.pk))

    principal = virtual_keys.authenticate(secret_in(page))
    assert (principal.team.team_id, principal.team.alias) == ("initech", "Initech Inc.")
    assert billing.balance(principal.team).posted_micros == 40_000_000
    actions = set(AuditEntry.objects.filter(actor="operator:owner@example.com").values_list("action", flat=True))
    assert {"team.create", "team.models", "team.default_model", "key.issue"} <= actions


def test_new_team_is_given_groups_and_may_default_to_one(site):
    bundled, access = make.alias("bundled"), make.access_group("basic", "bundled")
    group = make.model_group("agent", "bundled")
    given = {"access_groups": [access.pk], "model_groups": [group.pk]}

    site.post(ADD, new_team(**given, default_group=group.pk))
    site.post(ADD, new_team(**given, team_id="other", default_model=bundled.pk))

    found = catalog.models_of(list(Team.objects.order_by("id"))).values()
    assert [(each.access_groups, each.model_groups, each.default_model) for each in found] == [
        (["basic"], ["agent"], "agent"),
        (["basic"], ["agent"], "bundled"),
    ]


def test_new_team_defaults_to_nothing_that_its_calls_would_not_reach(site):
    alias, group = make.alias("agent"), make.model_group("agent", "agent")
    other = make.model_group("other", "agent")
    for data, field in (
        ({"models": [alias.pk]}, "models"),
        ({"default_model": alias.pk}, "default_model"),
        ({"default_group": other.pk}, "default_group"),
        ({"model_groups": [group.pk], "default_group": group.pk}, "default_group"),
        ({"model_groups": [other.pk], "default_group": other.pk, "default_model": alias.pk}, "default_group"),
    ):
        page = site.post(ADD, new_team(**data))
        assert field in page.context["adminform"].form.errors
    assert not Team.objects.exists()


def test_key_of_a_new_team_is_shown_once_and_put_in_no_cookie_or_session(site):
    page = site.post(ADD, new_team())

    secret = secret_in(page)
    assert page.content.decode().count(secret) == 1
    assert "no-store" in page["Cache-Control"]
    assert secret not in str(site.cookies)
    assert secret not in str(dict(site.session))
    assert secret not in site.get(LIST).content.decode()


def test_new_team_is_priced_as_asked(site):
    site.post(ADD, new_team(budget_mode="consumption_usd", credits_per_dollar="4"))
    plan = billing.plan(Team.objects.get(team_id="initech"))
    assert (plan.budget_mode, plan.micros_per_usd) == ("consumption_usd", 4_000_000)


@pytest.mark.parametrize("team_id", ["", "me", "has space", "<script>", "a/b", "x" * 256, "\u202eevil", "a\x00b"])
def test_id_that_no_team_may_have_is_refused(site, team_id):
    page = site.post(ADD, new_team(team_id=team_id))
    assert page.context["adminform"].form.errors["team_id"]
    assert not Team.objects.exists()


def test_id_that_was_taken_is_refused_and_nothing_is_made(site, acme):
    page = site.post(ADD, new_team(team_id="acme", credits="5"))
    assert "Team &#x27;acme&#x27; already exists" in page.content.decode()
    assert Team.objects.count() == 1


def test_default_model_must_be_usable_by_the_team(site):
    model = make.alias("gpt")
    page = site.post(ADD, new_team(default_model=model.pk))
    assert page.context["adminform"].form.errors["default_model"]


@pytest.mark.parametrize("organization", ["", "999999", "abc", "-1"])
def test_unknown_organization_is_refused(site, organization):
    page = site.post(ADD, new_team(organization=organization))
    assert page.context["adminform"].form.errors["organization"]


def test_operator_without_the_right_to_grant_makes_a_team_without_credits(db, monkeypatch):
    monkeypatch.setitem(rights.FULL, rights.Right.CREDITS_WRITE, frozenset())
    monkeypatch.setitem(rights.FULL, rights.Right.CARDS_WRITE, frozenset())
    operator = signed_in(staff("admin"))
    operator.post(ADD, new_team(credits="1000", budget_mode="consumption_usd"))
    team = Team.objects.get(team_id="initech")
    assert billing.balance(team).posted_micros == 0
    assert billing.plan(team).budget_mode == "job_based"


def test_rename_is_audited(site, acme):
    site.post(page_of(acme.team), {"alias": "Acme Ltd", "metadata": '{"plan": "gold"}'})

    team = Team.objects.get(pk=acme.team.pk)
    assert (team.alias, team.metadata) == ("Acme Ltd", {"plan": "gold"})
    audited = AuditEntry.objects.get(action="team.update")
    assert audited.after == {"alias": "Acme Ltd", "metadata": {"plan": "gold"}}
    assert (audited.actor, audited.address) == ("operator:owner@example.com", "127.0.0.1")


def test_id_organization_and_status_cannot_be_changed_by_the_form(site, acme, globex):
    data = {"alias": "x", "metadata": "{}", "team_id": "other", "organization": globex.organization.pk}
    site.post(page_of(acme.team), data | {"status": "closed"})
    team = Team.objects.get(pk=acme.team.pk)
    assert (team.team_id, team.organization_id, team.status) == ("acme", acme.organization.pk, "active")


@pytest.mark.parametrize(
    "metadata",
    [
        "[1]",
        '"text"',
        "{",
        '{"a": NaN}',
        '{"a": 1e999}',
        '{"a": "\\u0000"}',
        '{"a": "\\ud800"}',
        '{"a": ' * 65 + "1" + "}" * 65,
        "[" * 100_000,
        '{"a": "' + "x" * 10_240 + '"}',
        "1" * 5000,
    ],
    ids=["list", "text", "cut", "nan", "infinite", "nul", "surrogate", "deep", "bomb", "large", "number"],
)
def test_metadata_that_cannot_be_stored_is_refused(site, acme, metadata):
    page = site.post(page_of(acme.team), {"alias": "", "metadata": metadata})
    assert page.context["adminform"].form.errors["metadata"]
    assert Team.objects.get(pk=acme.team.pk).metadata == {}


def test_page_shows_exact_balance_and_prices(site, acme):
    page = site.get(page_of(acme.team)).content.decode()
    assert "100 credits" in page
    assert "credits per dollar" in page


def test_history_button_leads_to_the_audit_rows_of_the_team(site, acme, globex):
    page = site.get(f"{LIST}{acme.team.pk}/history/", follow=True)
    rows = page.context["cl"].queryset
    assert {row.object_id for row in rows} == {"acme"}
