"""Model groups: ordered models behind one name, changed as a whole or one by one."""

import pytest
from django.db import IntegrityError, transaction

from apps.catalog import model_groups
from apps.catalog.errors import ModelGroupExists, ModelGroupNotFound, StillInUse
from apps.catalog.model_groups import Member
from apps.catalog.models import ModelAlias, ModelGroup, ModelGroupMember, TeamDefaultModel, TeamModelGroup
from apps.core.errors import InvalidField
from apps.core.models import AuditEntry
from apps.teams import services as teams
from tests import make


@pytest.fixture(autouse=True)
def _aliases(db: None) -> None:
    for name in ("a", "b"):
        make.alias(name)


def models(group: ModelGroup) -> list[str]:
    return [member.model_name for member in model_groups.members_of(group)]


def audited(action: str) -> list[tuple[dict, dict]]:
    return list(AuditEntry.objects.filter(action=action).order_by("id").values_list("before", "after"))


def test_members_are_ordered_by_priority_then_as_they_came():
    members = [Member("late", 5), Member("b"), Member("a"), Member("early", 1)]

    group = model_groups.create("agent", members=members, actor=make.TESTER)

    assert models(group) == ["b", "a", "early", "late"]
    assert group.display_name == "agent"
    ((_, after),) = audited("model_group.create")
    assert after["models"][0] == {"model_name": "b", "priority": 0, "is_active": True}


def test_member_is_an_alias_or_else_a_provider_model():
    make.model_group("agent", "a", "openai/gpt-9")

    first, second = ModelGroupMember.objects.order_by("priority")
    assert (str(first.alias), first.provider_model) == ("a", "")
    assert (second.alias, second.provider_model, second.route) == (None, "openai/gpt-9", "litellm")


def test_provider_model_in_the_demo_is_answered_by_the_demo_provider(settings):
    settings.EMBEDDED, settings.LITELLM_BASE_URL = True, ""

    make.model_group("agent", "gpt-9")

    assert ModelGroupMember.objects.get().route == "demo"


def test_inactive_alias_is_still_that_alias():
    ModelAlias.objects.filter(name="a").update(status="inactive")

    make.model_group("agent", "a")

    assert str(ModelGroupMember.objects.get().alias) == "a"


def test_members_that_stay_keep_their_ids_when_all_are_replaced():
    make.model_group("agent", "a", "raw", "b")
    ids = {member.model_name: member.pk for member in model_groups.find("agent").members.all()}

    group = model_groups.update(
        "agent", members=[Member("raw", 0), Member("new", 1), Member("a", 2, is_active=False)], actor=make.TESTER
    )

    found = {member.model_name: member for member in group.members.all()}
    assert models(group) == ["raw", "new", "a"]
    assert (found["raw"].pk, found["a"].pk, found["a"].is_active) == (ids["raw"], ids["a"], False)
    assert [model["model_name"] for model in audited("model_group.update")[-1][1]["models"]] == ["raw", "new", "a"]


def test_one_member_is_put_and_removed():
    make.model_group("agent", "a")

    assert models(model_groups.update("agent", put=[Member("b", 1)], actor=make.TESTER)) == ["a", "b"]
    assert models(model_groups.update("agent", put=[Member("a", 2)], actor=make.TESTER)) == ["b", "a"]
    assert models(model_groups.update("agent", remove=["b", "nope"], actor=make.TESTER)) == ["a"]


def test_change_keeps_what_is_not_given_and_leaves_no_trace_when_it_changes_nothing():
    make.model_group("agent", "a", description="old")
    before = audited("model_group.update")

    model_groups.update("agent", description="old", put=[Member("a", 0)], actor=make.TESTER)
    assert audited("model_group.update") == before

    group = model_groups.update("agent", status="inactive", actor=make.TESTER)
    assert (group.description, group.status, models(group)) == ("old", "inactive", ["a"])
    assert audited("model_group.update")[-1] == ({"status": "active"}, {"status": "inactive"})


def test_model_named_twice_makes_and_changes_nothing():
    with pytest.raises(InvalidField, match="Model 'a' is named twice"):
        model_groups.create("agent", members=[Member("a"), Member("a", 1)], actor=make.TESTER)
    assert not ModelGroup.objects.exists()

    make.model_group("agent", "b")
    with pytest.raises(InvalidField):
        model_groups.update("agent", members=[Member("x"), Member("x")], actor=make.TESTER)
    assert models(model_groups.find("agent")) == ["b"]


def test_name_is_taken_once():
    make.model_group("agent", "a")

    with pytest.raises(ModelGroupExists, match="Model group 'agent' already exists"):
        model_groups.create("agent", members=[Member("b")], actor=make.TESTER)
    assert models(model_groups.find("agent")) == ["a"]


@pytest.mark.parametrize("name", ["", "a/b", "create", "x" * 101])
def test_name_is_part_of_urls(name: str):
    with pytest.raises(InvalidField) as caught:
        model_groups.create(name, actor=make.TESTER)
    assert caught.value.errors[0]["loc"] == ["body", "group_name"]


def test_unknown_group_is_neither_found_nor_changed_nor_deleted():
    for act in (
        lambda: model_groups.find("nope"),
        lambda: model_groups.update("nope", actor=make.TESTER),
        lambda: model_groups.delete("nope", actor=make.TESTER),
    ):
        with pytest.raises(ModelGroupNotFound, match="Model group 'nope' not found"):
            act()


def test_group_in_use_is_not_deleted():
    make.model_group("agent", "a")
    make.customer(model_groups=["agent"], default_model="agent")
    make.customer(default_model="agent")

    with pytest.raises(StillInUse) as caught:
        model_groups.delete("agent", actor=make.TESTER)

    assert str(caught.value) == "Cannot delete model group 'agent'. It is assigned to 2 team(s)."
    assert models(model_groups.find("agent")) == ["a"]


def test_unused_group_is_deleted_also_when_a_closed_team_had_it():
    make.model_group("agent", "a", "raw")
    customer = make.customer(model_groups=["agent"], default_model="agent")
    teams.set_status(customer.team, status="closed", actor=make.TESTER)

    model_groups.delete("agent", actor=make.TESTER)

    counts = [model.objects.count() for model in (ModelGroup, ModelGroupMember, TeamModelGroup, TeamDefaultModel)]
    assert (counts, ModelAlias.objects.count()) == ([0, 0, 0, 0], 2)
    ((before, _),) = audited("model_group.delete")
    assert [model["model_name"] for model in before["models"]] == ["a", "raw"]


def test_listing_takes_three_queries_whatever_its_length(django_assert_num_queries):
    make.model_group("inactive", "a", status="inactive")
    for number in range(4):
        make.model_group(f"g{number}", "b", "raw")

    with django_assert_num_queries(3):
        found = list(model_groups.matching(status="active")[1:4])
        assert [(group.name, models(group)) for group in found] == [(f"g{n}", ["b", "raw"]) for n in (1, 2, 3)]


@pytest.mark.parametrize("columns", [{}, {"alias": "a", "provider_model": "raw"}], ids=["neither", "both"])
def test_database_wants_an_alias_or_a_provider_model(columns: dict):
    group = make.model_group("agent")
    given = {**columns, "alias": ModelAlias.objects.filter(name=columns.get("alias", "")).first()}

    with pytest.raises(IntegrityError), transaction.atomic():
        ModelGroupMember.objects.create(group=group, **given)


@pytest.mark.parametrize("name", ["a", "raw"])
def test_database_knows_a_member_once(name: str):
    group = make.model_group("agent", name)
    member = ModelGroupMember.objects.get()

    with pytest.raises(IntegrityError), transaction.atomic():
        ModelGroupMember.objects.create(group=group, alias=member.alias, provider_model=member.provider_model)
