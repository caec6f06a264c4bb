"""Access groups: bundles of aliases, changed as a whole or one by one, deleted when no team has them."""

import pytest
from django.db import IntegrityError, transaction

from apps.catalog import access_groups
from apps.catalog.errors import AccessGroupExists, AccessGroupNotFound, AliasNotFound, StillInUse
from apps.catalog.models import AccessGroup, TeamAccessGroup
from apps.core.errors import InvalidField
from apps.core.models import AuditEntry
from apps.teams import services as teams
from tests import make


@pytest.fixture(autouse=True)
def _aliases(db: None) -> None:
    for name in ("a", "b", "c"):
        make.alias(name)


def names(group: AccessGroup) -> list[str]:
    return [member.alias.name for member in group.members.all()]


def audited(action: str) -> list[tuple[dict, dict]]:
    return list(AuditEntry.objects.filter(action=action).order_by("id").values_list("before", "after"))


def test_group_is_made_with_its_aliases_in_their_order():
    group = access_groups.create("basic", aliases=["c", "a", "c"], description="For all", actor=make.TESTER)

    assert (group.display_name, group.description, group.status) == ("basic", "For all", "active")
    assert names(group) == ["c", "a"]
    ((before, after),) = audited("access_group.create")
    assert (before, after["model_aliases"]) == ({}, ["a", "c"])


def test_name_is_taken_once():
    access_groups.create("basic", actor=make.TESTER)

    with pytest.raises(AccessGroupExists, match="Model access group 'basic' already exists"):
        access_groups.create("basic", aliases=["a"], actor=make.TESTER)
    assert names(access_groups.find("basic")) == []


@pytest.mark.parametrize("name", ["", "a/b", "create", "x" * 101])
def test_name_is_part_of_urls(name: str):
    with pytest.raises(InvalidField) as caught:
        access_groups.create(name, actor=make.TESTER)
    assert caught.value.errors[0]["loc"] == ["body", "group_name"]


def test_unknown_alias_makes_and_changes_nothing():
    with pytest.raises(AliasNotFound, match="Model alias 'nope' not found"):
        access_groups.create("basic", aliases=["a", "nope"], actor=make.TESTER)
    assert not AccessGroup.objects.exists()

    make.access_group("basic", "a")
    for change in ({"aliases": ["b", "nope"]}, {"add": ["nope"]}, {"remove": ["a", "nope"]}):
        with pytest.raises(AliasNotFound):
            access_groups.update("basic", display_name="Changed", actor=make.TESTER, **change)
    group = access_groups.find("basic")
    assert (group.display_name, names(group), audited("access_group.update")) == ("basic", ["a"], [])


def test_aliases_are_replaced_added_and_removed():
    make.access_group("basic", "a", "b")

    assert names(access_groups.update("basic", aliases=["c", "b"], actor=make.TESTER)) == ["b", "c"]
    assert names(access_groups.update("basic", add=["a", "b"], actor=make.TESTER)) == ["b", "c", "a"]
    assert names(access_groups.update("basic", remove=["c", "a", "a"], actor=make.TESTER)) == ["b"]
    assert names(access_groups.update("basic", aliases=[], actor=make.TESTER)) == []

    assert [after["model_aliases"] for _, after in audited("access_group.update")] == [
        ["b", "c"],
        ["a", "b", "c"],
        ["b"],
        [],
    ]


def test_change_keeps_what_is_not_given_and_leaves_no_trace_when_it_changes_nothing():
    make.access_group("basic", "a", description="old")
    before = audited("access_group.update")

    group = access_groups.update("basic", description="old", add=["a"], actor=make.TESTER)
    assert (group.description, audited("access_group.update")) == ("old", before)

    group = access_groups.update("basic", status="inactive", actor=make.TESTER)
    assert (group.description, group.status, names(group)) == ("old", "inactive", ["a"])
    assert audited("access_group.update")[-1] == ({"status": "active"}, {"status": "inactive"})


def test_unknown_group_is_neither_found_nor_changed_nor_deleted():
    for act in (
        lambda: access_groups.find("nope"),
        lambda: access_groups.update("nope", add=["unheard-of"], actor=make.TESTER),
        lambda: access_groups.delete("nope", actor=make.TESTER),
    ):
        with pytest.raises(AccessGroupNotFound, match="Model access group 'nope' not found"):
            act()


def test_group_in_use_is_not_deleted():
    make.access_group("basic", "a")
    make.customer(team_id="two", access_groups=["basic"])
    make.customer(team_id="one", access_groups=["basic"])

    with pytest.raises(StillInUse) as caught:
        access_groups.delete("basic", actor=make.TESTER)

    assert str(caught.value) == "Cannot delete access group 'basic' - still in use by teams: one, two"
    assert names(access_groups.find("basic")) == ["a"]


def test_unused_group_is_deleted_also_when_a_closed_team_had_it():
    make.access_group("basic", "a")
    customer = make.customer(access_groups=["basic"])
    teams.set_status(customer.team, status="closed", actor=make.TESTER)

    access_groups.delete("basic", actor=make.TESTER)

    assert (AccessGroup.objects.count(), TeamAccessGroup.objects.count()) == (0, 0)
    ((before, _),) = audited("access_group.delete")
    assert before["model_aliases"] == ["a"]


def test_listing_takes_three_queries_whatever_its_length(django_assert_num_queries):
    make.access_group("inactive", status="inactive")
    for number in range(4):
        make.access_group(f"g{number}", "a", "b")

    with django_assert_num_queries(3):
        found = list(access_groups.matching(status="active")[1:4])
        assert [(group.name, names(group)) for group in found] == [(f"g{n}", ["a", "b"]) for n in (1, 2, 3)]


def test_database_knows_the_states():
    make.access_group("basic")
    with pytest.raises(IntegrityError), transaction.atomic():
        AccessGroup.objects.update(status="asleep")
