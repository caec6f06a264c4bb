"""Aliases: made, changed and deleted, and which of them is the platform's default."""

import pytest
from django.db import IntegrityError, transaction

from apps.catalog import aliases
from apps.catalog.errors import AccessGroupNotFound, AliasExists, AliasNotFound, StillInUse
from apps.catalog.models import (
    AccessGroup,
    AccessGroupMember,
    ModelAlias,
    ModelGroupMember,
    TeamAlias,
    TeamDefaultModel,
)
from apps.core.errors import DomainError, InvalidField, InvalidRequest
from apps.core.models import AuditEntry
from apps.teams import services as teams
from tests import make

PRICES = {"input_nanousd_per_mtok": 150_000_000, "output_nanousd_per_mtok": 600_000_000}


def audited(action: str) -> list[tuple[dict, dict]]:
    return list(AuditEntry.objects.filter(action=action).order_by("id").values_list("before", "after"))


def create(name: str = "gpt", **columns: object) -> ModelAlias:
    return aliases.create(name, {"provider_model": "openai/gpt"} | columns, actor=make.TESTER)


# --- Make --------------------------------------------------------------------------------------------------


def test_alias_is_made_in_its_access_groups_with_an_audit_row(db: None):
    make.access_group("basic")
    make.access_group("all")

    aliases.create(
        "gpt",
        {"provider_model": "openai/gpt", "max_output_tokens": 500, "supports_vision": False, **PRICES},
        access_groups=["basic", "all", "basic"],
        actor=make.TESTER,
    )

    alias = aliases.find("gpt")
    assert aliases.groups_of(alias) == ["all", "basic"]
    assert (alias.route, alias.max_output_tokens, alias.supports_vision, alias.supports_tools) == (
        "litellm",
        500,
        False,
        None,
    )
    ((_, after),) = audited("alias.create")
    assert (after["name"], after["access_groups"], after["input_nanousd_per_mtok"]) == (
        "gpt",
        ["all", "basic"],
        150_000_000,
    )


@pytest.mark.parametrize(
    ("base_url", "route"), [("", "demo"), ("http://localhost:8002", "litellm")], ids=["demo alone", "litellm"]
)
def test_alias_of_the_demo_is_answered_by_the_demo_provider(db: None, settings, base_url: str, route: str):
    settings.EMBEDDED, settings.LITELLM_BASE_URL = True, base_url

    assert create().route == route


def test_name_is_taken_once(db: None):
    create()

    with pytest.raises(AliasExists, match=r"^Model alias 'gpt' already exists$"):
        create(provider_model="other")
    assert aliases.find("gpt").provider_model == "openai/gpt"


@pytest.mark.parametrize("name", ["", "-a", "a/b", "a b", "é", "create", "x" * 101, "a\x00"])
def test_name_is_part_of_urls(db: None, name: str):
    with pytest.raises(InvalidField) as caught:
        create(name)
    assert caught.value.errors[0]["loc"] == ["body", "model_alias"]


def test_unknown_access_group_makes_nothing(db: None):
    with pytest.raises(AccessGroupNotFound, match="Model access group 'nope' not found"):
        aliases.create("gpt", {"provider_model": "x"}, access_groups=["nope"], actor=make.TESTER)

    assert (ModelAlias.objects.count(), audited("alias.create")) == (0, [])


@pytest.mark.parametrize(
    ("columns", "error", "text"),
    [
        ({"input_nanousd_per_mtok": 1}, InvalidRequest, "Give both prices"),
        ({"output_nanousd_per_mtok": 1}, InvalidRequest, "Give both prices"),
        ({"max_output_tokens": 0}, InvalidField, "at least 1"),
        ({"timeout_s": -1}, InvalidField, "at least 1"),
        ({"max_output_tokens": 10, "default_output_tokens": 11}, InvalidField, "at most max_output_tokens, 10"),
    ],
)
def test_alias_that_contradicts_itself_is_refused(db: None, columns: dict, error: type[DomainError], text: str):
    with pytest.raises(error, match=text):
        create(**columns)

    create("sound")
    with pytest.raises(error, match=text):
        aliases.update("sound", columns, actor=make.TESTER)
    assert list(ModelAlias.objects.values_list("name", "timeout_s")) == [("sound", None)]


def test_group_s_model_of_the_same_name_is_the_alias_from_then_on(db: None):
    make.model_group("agent", "gpt", "other")

    alias = create()

    assert list(ModelGroupMember.objects.order_by("priority").values_list("alias__name", "provider_model")) == [
        ("gpt", ""),
        (None, "other"),
    ]
    assert alias.model_group_members.count() == 1


# --- Change ------------------------------------------------------------------------------------------------


def test_change_says_what_was_changed_and_keeps_the_rest(db: None):
    make.access_group("basic")
    aliases.create("gpt", {"provider_model": "a", **PRICES}, access_groups=["basic"], actor=make.TESTER)

    aliases.update("gpt", {"provider_model": "b", "timeout_s": 30}, actor=make.TESTER)

    alias = aliases.find("gpt")
    assert (alias.provider_model, alias.input_nanousd_per_mtok, aliases.groups_of(alias)) == (
        "b",
        150_000_000,
        ["basic"],
    )
    assert audited("alias.update") == [
        ({"provider_model": "a", "timeout_s": None}, {"provider_model": "b", "timeout_s": 30})
    ]


def test_access_groups_of_an_alias_are_replaced(db: None):
    for name in ("one", "two", "three"):
        make.access_group(name)
    aliases.create("gpt", {"provider_model": "a"}, access_groups=["one", "two"], actor=make.TESTER)

    alias = aliases.update("gpt", {}, access_groups=["three", "two"], actor=make.TESTER)

    assert aliases.groups_of(alias) == ["three", "two"]
    assert audited("alias.update") == [({"access_groups": ["one", "two"]}, {"access_groups": ["three", "two"]})]
    with pytest.raises(AccessGroupNotFound):
        aliases.update("gpt", {"provider_model": "b"}, access_groups=["nope"], actor=make.TESTER)
    assert aliases.find("gpt").provider_model == "a"


def test_same_alias_again_leaves_no_trace(db: None):
    create()

    aliases.update("gpt", {"provider_model": "openai/gpt"}, access_groups=[], actor=make.TESTER)

    assert audited("alias.update") == []


def test_unknown_alias_is_not_changed(db: None):
    with pytest.raises(AliasNotFound, match="Model alias 'gpt' not found"):
        aliases.update("gpt", {}, actor=make.TESTER)


def test_default_by_change_replaces_the_old_one_and_opens_the_alias(db: None):
    make.platform_model("first")
    create()

    aliases.update("gpt", {}, is_default=True, actor=make.TESTER)

    assert (aliases.find("gpt").is_default, aliases.find("gpt").is_open) == (True, True)
    assert not aliases.find("first").is_default
    assert audited("alias.default")[-1][0]["default"] == "first"


def test_default_may_be_given_up(db: None):
    make.platform_model("first")

    aliases.update("first", {"is_open": False}, is_default=False, actor=make.TESTER)

    assert not aliases.find("first").is_default


@pytest.mark.parametrize("columns", [{"status": "inactive"}, {"is_open": False}])
def test_default_stays_active_and_open(db: None, columns: dict):
    make.platform_model("first")

    with pytest.raises(InvalidField):
        aliases.update("first", columns, actor=make.TESTER)
    assert (aliases.find("first").status, aliases.find("first").is_open) == ("active", True)


def test_inactive_alias_is_not_made_the_default(db: None):
    with pytest.raises(InvalidField, match="must be active"):
        aliases.create("gpt", {"provider_model": "x", "status": "inactive"}, is_default=True, actor=make.TESTER)
    assert not ModelAlias.objects.exists()


# --- Delete ------------------------------------------------------------------------------------------------


def test_alias_that_nobody_uses_is_deleted_out_of_its_access_groups(db: None):
    create()
    make.access_group("basic", "gpt")

    aliases.delete("gpt", actor=make.TESTER)

    assert not ModelAlias.objects.exists()
    assert (AccessGroup.objects.count(), AccessGroupMember.objects.count()) == (1, 0)
    ((before, after),) = audited("alias.delete")
    assert (before["provider_model"], before["access_groups"], after) == ("openai/gpt", ["basic"], {})


def test_alias_in_use_is_not_deleted(db: None):
    for name in ("direct", "bundled", "chosen", "grouped", "default"):
        create(name)
    make.access_group("bundle", "bundled")
    make.model_group("agent", "grouped")
    make.platform_model("default")
    make.customer(team_id="one", access_groups=["direct"])
    make.customer(team_id="two", model_groups=["direct"])
    make.customer(team_id="three", access_groups=["bundle"], default_model="chosen")

    def refusal(name: str) -> str:
        with pytest.raises(StillInUse) as caught:
            aliases.delete(name, actor=make.TESTER)
        return str(caught.value)

    assert refusal("direct") == "Cannot delete model alias 'direct' - still in use by teams: one, two"
    assert refusal("bundled") == "Cannot delete model alias 'bundled' - still in use by teams: three"
    assert refusal("chosen") == "Cannot delete model alias 'chosen' - still in use by teams: three"
    assert refusal("grouped") == "Cannot delete model alias 'grouped' - still in use by model groups: agent"
    assert "the platform's default" in refusal("default")
    assert (ModelAlias.objects.count(), audited("alias.delete")) == (5, [])


def test_closed_team_keeps_nothing(db: None):
    create()
    customer = make.customer(access_groups=["gpt"], default_model="gpt")
    teams.set_status(customer.team, status="closed", actor=make.TESTER)

    aliases.delete("gpt", actor=make.TESTER)

    assert (TeamAlias.objects.count(), TeamDefaultModel.objects.count()) == (0, 0)


def test_many_users_are_not_all_named(db: None):
    create()
    org = make.organization()
    for number in range(22):
        make.customer(org=org, team_id=f"t{number:02}", access_groups=["gpt"], credits=0)

    with pytest.raises(StillInUse, match=r"t00, .*, t19 and 2 more$"):
        aliases.delete("gpt", actor=make.TESTER)


# --- Read --------------------------------------------------------------------------------------------------


def test_users_of_aliases_are_those_that_were_given_them(db: None):
    for name in ("a", "b", "c"):
        make.alias(name)
    make.access_group("bundle", "a", "b")
    make.model_group("agent", "c")
    make.customer(team_id="one", access_groups=["a", "bundle"])
    make.customer(team_id="two", access_groups=["bundle"], model_groups=["agent"])
    found = {alias.name: alias for alias in ModelAlias.objects.all()}

    using = aliases.teams_using(list(found.values()))

    assert {name: using[found[name].pk] for name in found} == {"a": ["one", "two"], "b": ["one", "two"], "c": []}


# --- The platform's default --------------------------------------------------------------------------------


def test_platform_has_one_default(db: None):
    make.platform_model("first")
    make.platform_model("second", provider_model="elsewhere")

    assert list(ModelAlias.objects.filter(is_default=True).values_list("name", flat=True)) == ["second"]
    # It stays what it was otherwise: calls may still name it.
    assert ModelAlias.objects.get(name="first").is_open
    before, after = audited("alias.default")[-1]
    assert (before["default"], after["default"], after["provider_model"]) == ("first", "second", "elsewhere")


def test_second_default_is_refused_by_the_database(db: None):
    make.platform_model("first")
    make.alias("second")

    with pytest.raises(IntegrityError), transaction.atomic():
        ModelAlias.objects.filter(name="second").update(is_default=True)


def test_same_default_again_leaves_no_trace(db: None):
    make.platform_model("first")
    make.platform_model("first")

    assert len(audited("alias.default")) == 1


def test_default_brings_an_alias_back_into_service(db: None):
    make.alias("gpt", status="inactive", provider_model="old")

    make.platform_model("gpt", provider_model="new")

    alias = ModelAlias.objects.get()
    assert (alias.status, alias.is_open, alias.is_default, alias.provider_model) == ("active", True, True, "new")
    before, _ = audited("alias.default")[-1]
    assert (before["status"], before["provider_model"]) == ("inactive", "old")


@pytest.mark.parametrize(
    "prices",
    [
        {"input_nanousd_per_mtok": 1},
        {"output_nanousd_per_mtok": 1},
        {"input_nanousd_per_mtok": -1, "output_nanousd_per_mtok": 1},
        {"input_nanousd_per_mtok": 1, "output_nanousd_per_mtok": -1},
    ],
)
def test_prices_are_both_there_or_both_missing_and_never_negative(db: None, prices: dict[str, int]):
    with pytest.raises(IntegrityError), transaction.atomic():
        ModelAlias.objects.create(name="gpt", provider_model="gpt", **prices)
