"""Access groups, model groups and their members in the admin: changed through the services, with audit rows."""

import pytest

from apps.catalog import access_groups, model_groups, services
from apps.catalog.models import (
    AccessGroup,
    AccessGroupMember,
    ModelGroup,
    ModelGroupMember,
    TeamAccessGroup,
    TeamDefaultModel,
    TeamModelGroup,
)
from apps.core.models import AuditEntry
from tests import make

ACCESS = "/admin/catalog/accessgroup/"
ACCESS_MEMBERS = "/admin/catalog/accessgroupmember/"
MODELS = "/admin/catalog/modelgroup/"
MODEL_MEMBERS = "/admin/catalog/modelgroupmember/"
BY_OPERATOR = "operator:owner@example.com"


@pytest.fixture(params=[ACCESS, MODELS])
def kind(request):
    """The page of a kind of group, its model, the word in its audit rows, and how to make one."""
    if request.param == ACCESS:
        return ACCESS, AccessGroup, "access_group", make.access_group
    return MODELS, ModelGroup, "model_group", make.model_group


def test_group_is_made_and_changed_with_audit_rows(site, kind):
    page, model, word, _ = kind
    site.post(f"{page}add/", {"name": "basic", "display_name": "Basic", "status": "active"})
    group = model.objects.get()
    site.post(f"{page}{group.pk}/change/", {"display_name": "Basic", "description": "all", "status": "inactive"})

    group = model.objects.get()
    assert (group.name, group.display_name, group.description, group.status) == ("basic", "Basic", "all", "inactive")
    audited = AuditEntry.objects.filter(object_kind=word).order_by("id")
    assert {row.actor for row in audited} == {BY_OPERATOR}
    assert audited.last().after == {"description": "all", "status": "inactive"}


@pytest.mark.parametrize("name", ["", "a/b", "create", "taken"])
def test_group_of_a_bad_or_taken_name_is_refused_on_the_form(site, kind, name):
    page, model, _, make_group = kind
    make_group("taken")
    answer = site.post(f"{page}add/", {"name": name, "status": "active"})
    assert answer.context["adminform"].form.errors["name"]
    assert model.objects.count() == 1


def test_name_of_a_group_stays(site, kind):
    page, model, _, make_group = kind
    group = make_group("basic")
    site.post(f"{page}{group.pk}/change/", {"name": "other", "display_name": "x", "status": "active"})
    assert model.objects.get().name == "basic"


def test_unused_group_is_deleted_with_an_audit_row(site, kind):
    page, model, word, make_group = kind
    make.alias("a")
    group = make_group("basic", "a")
    site.post(f"{page}{group.pk}/delete/", {"post": "yes"})
    assert not model.objects.exists()
    assert AuditEntry.objects.get(action=f"{word}.delete").object_id == "basic"


def test_used_group_is_not_deleted(site, kind):
    page, model, _, make_group = kind
    group = make_group("basic")
    make.customer(access_groups=["basic"])
    site.post(f"{page}{group.pk}/delete/", {"post": "yes"})
    site.post(page, {"action": "delete_selected", "_selected_action": [group.pk], "post": "yes"})
    assert model.objects.count() == 1


def test_group_that_a_team_takes_while_it_is_deleted_is_kept_with_a_message(site, monkeypatch):
    group = make.access_group("basic")
    customer = make.customer()
    find_teams = access_groups.teams_using

    def taken_meanwhile(groups):
        services.give(customer.team, group, actor=make.TESTER)
        return find_teams(groups)

    monkeypatch.setattr(access_groups, "teams_using", taken_meanwhile)
    page = site.post(f"{ACCESS}{group.pk}/delete/", {"post": "yes"}, follow=True)

    assert "still in use by teams" in page.content.decode()
    assert AccessGroup.objects.exists()


def test_alias_is_put_into_an_access_group_and_taken_out(site):
    alias, group = make.alias("a"), make.access_group("basic")
    site.post(f"{ACCESS_MEMBERS}add/", {"access_group": group.pk, "alias": alias.pk})
    member = AccessGroupMember.objects.get()
    site.post(f"{ACCESS_MEMBERS}{member.pk}/delete/", {"post": "yes"})

    assert not AccessGroupMember.objects.exists()
    rows = AuditEntry.objects.filter(action="access_group.update", actor=BY_OPERATOR).order_by("id")
    assert [row.after["model_aliases"] for row in rows] == [["a"], []]


def model_form(group, **changes):
    return {"group": group.pk, "provider_model": "", "route": "litellm", "priority": 0, "is_active": "on"} | changes


def test_models_are_put_into_a_group_moved_and_taken_out(site):
    alias, group = make.alias("a"), make.model_group("agent")
    site.post(f"{MODEL_MEMBERS}add/", model_form(group, alias=alias.pk))
    site.post(
        f"{MODEL_MEMBERS}add/",
        model_form(group, provider_model="gpt-9", route="openai", provider="openai", priority=1),
    )
    first, second = ModelGroupMember.objects.order_by("priority")
    assert (str(first.alias), second.provider_model) == ("a", "gpt-9")
    assert (second.route, second.provider) == ("openai", "openai")

    site.post(f"{MODEL_MEMBERS}{first.pk}/change/", {"route": "demo", "priority": 2})
    first.refresh_from_db()
    assert (first.priority, first.is_active) == (2, False)
    site.post(f"{MODEL_MEMBERS}{second.pk}/delete/", {"post": "yes"})

    assert [member.pk for member in model_groups.find("agent").members.all()] == [first.pk]
    rows = AuditEntry.objects.filter(action="model_group.update", actor=BY_OPERATOR).order_by("id")
    assert [[model["model_name"] for model in row.after["models"]] for row in rows] == [
        ["a"],
        ["a", "gpt-9"],
        ["gpt-9", "a"],
        ["a"],
    ]


def test_provider_model_of_nobody_is_refused_on_the_route_that_needs_a_key(site):
    group = make.model_group("agent")
    page = site.post(f"{MODEL_MEMBERS}add/", model_form(group, provider_model="gpt-9", route="openai"), follow=True)
    assert "takes the key of its provider" in page.content.decode()
    assert not ModelGroupMember.objects.exists()


def test_member_is_an_alias_or_a_provider_model(site):
    alias, group = make.alias("a"), make.model_group("agent")
    for changes in ({}, {"alias": alias.pk, "provider_model": "gpt-9"}):
        page = site.post(f"{MODEL_MEMBERS}add/", model_form(group, **changes))
        assert "Name an alias or a provider model, not both." in page.content.decode()
    assert not ModelGroupMember.objects.exists()


@pytest.mark.parametrize(
    ("model", "field", "make_group"),
    [(TeamAccessGroup, "access_group", make.access_group), (TeamModelGroup, "model_group", make.model_group)],
)
def test_team_is_given_a_group_and_loses_it_with_audit_rows(site, acme, model, field, make_group):
    list_url = f"/admin/catalog/{model._meta.model_name}/"
    group = make_group("basic")
    site.post(f"{list_url}add/", {"team": acme.team.pk, field: group.pk})
    row = model.objects.get(team=acme.team)
    site.post(f"{list_url}{row.pk}/delete/", {"post": "yes"})

    assert not model.objects.exists()
    rows = AuditEntry.objects.filter(action="team.models", actor=BY_OPERATOR).order_by("id")
    assert [row.after["models"] for row in rows] == [["basic"], []]


def test_group_given_twice_is_refused(site, acme):
    group = make.access_group("basic")
    data = {"team": acme.team.pk, "access_group": group.pk}
    site.post("/admin/catalog/teamaccessgroup/add/", data)
    page = site.post("/admin/catalog/teamaccessgroup/add/", data)
    assert page.context["adminform"].form.errors


def test_model_group_is_made_a_team_s_default_when_the_team_may_use_it(site, acme):
    group = make.model_group("agent")
    page = site.post("/admin/catalog/teamdefaultmodel/add/", {"team": acme.team.pk, "model_group": group.pk})
    assert "may not use agent" in page.content.decode()

    services.give(acme.team, group, actor=make.TESTER)
    site.post("/admin/catalog/teamdefaultmodel/add/", {"team": acme.team.pk, "model_group": group.pk})

    assert TeamDefaultModel.objects.get().model_group == group


def test_default_that_an_access_group_lends_is_taken(site, acme):
    alias = make.alias("a")
    services.give(acme.team, make.access_group("basic", "a"), actor=make.TESTER)

    site.post("/admin/catalog/teamdefaultmodel/add/", {"team": acme.team.pk, "alias": alias.pk})

    assert TeamDefaultModel.objects.get().alias == alias


def test_default_is_an_alias_or_a_group_and_not_both(site, acme):
    alias, group = make.alias("a", is_open=True), make.model_group("agent")
    for changes in ({}, {"alias": alias.pk, "model_group": group.pk}):
        page = site.post("/admin/catalog/teamdefaultmodel/add/", {"team": acme.team.pk, **changes})
        assert "Choose an alias or a model group, not both." in page.content.decode()
    assert not TeamDefaultModel.objects.exists()
