"""Which model a name stands for, and which one a call gets that names none."""

import pytest

from apps.catalog import services as catalog
from apps.catalog.errors import ModelGroupUnavailable, ModelNotAllowed, NoModelAvailable
from apps.catalog.models import AccessGroup, ModelAlias, ModelGroupMember, TeamAlias
from tests import make


@pytest.fixture
def team_with(db: None):
    """A team that was given these aliases, which are made in the order of the alphabet."""

    def make_team(*names: str, default: str | None = None) -> make.Customer:
        for name in sorted(names):
            make.alias(name)
        return make.customer(team_id="team", access_groups=list(names), default_model=default)

    return make_team


def resolved(customer: make.Customer, asked: str | None = None, *, only: tuple[str, ...] = ()) -> str:
    return catalog.resolve(customer.team, asked, only=only).alias


def refusal(customer: make.Customer, asked: str | None, *, only: tuple[str, ...] = ()) -> str:
    with pytest.raises((ModelNotAllowed, ModelGroupUnavailable, NoModelAvailable)) as caught:
        catalog.resolve(customer.team, asked, only=only)
    return str(caught.value)


# --- A name -------------------------------------------------------------------------------------------------


def test_given_alias_is_found_with_all_that_stands_behind_it(db: None):
    make.alias(
        "gpt",
        input_usd_per_mtok=1,
        output_usd_per_mtok=2,
        provider="openai",
        provider_model="openai/gpt-9",
        route="litellm",
        max_output_tokens=500,
    )
    customer = make.customer(access_groups=["gpt"])

    found = catalog.resolve(customer.team, "gpt")

    assert (found.asked, found.alias, found.provider, found.provider_model) == (
        "gpt",
        "gpt",
        "openai",
        "openai/gpt-9",
    )
    assert (found.input_nanousd_per_mtok, found.output_nanousd_per_mtok) == (10**9, 2 * 10**9)
    assert (found.route, found.max_output_tokens, found.has_prices) == ("litellm", 500, True)


@pytest.mark.parametrize("field", ["access_groups", "model_groups"])
def test_alias_may_be_given_under_either_field(db: None, field: str):
    make.alias("gpt")

    assert resolved(make.customer(**{field: ["gpt"]}), "gpt") == "gpt"


def test_open_alias_is_everybody_s(db: None):
    make.alias("gpt", is_open=True)

    assert resolved(make.customer(), "gpt") == "gpt"


def test_alias_of_others_is_refused_as_an_alias(team_with):
    customer = team_with("mine")
    make.alias("theirs")

    assert refusal(customer, "theirs") == "Team 'team' does not have access to model alias 'theirs'"


def test_unknown_name_is_refused_as_a_group(team_with):
    assert refusal(team_with(), "gpt-17") == "Team 'team' does not have access to model group 'gpt-17'"


@pytest.mark.parametrize("status", ["inactive", "deprecated"])
def test_alias_out_of_service_is_as_unknown(team_with, status: str):
    customer = team_with("gpt")
    ModelAlias.objects.update(status=status)

    assert refusal(customer, "gpt") == "Team 'team' does not have access to model group 'gpt'"


def test_names_are_told_apart_by_case(team_with):
    customer = team_with("gpt")

    assert "model group 'GPT'" in refusal(customer, "GPT")


@pytest.mark.parametrize("asked", ["gpt%", "g_t", "gpt'--", "x" * 255])
def test_name_is_no_pattern(team_with, asked: str):
    assert "does not have access" in refusal(team_with("gpt"), asked)


def test_key_s_list_narrows_and_never_widens(team_with):
    customer = team_with("mine", "mine-too")
    make.alias("theirs")

    assert resolved(customer, "mine", only=("mine",)) == "mine"
    assert "model alias 'mine-too'" in refusal(customer, "mine-too", only=("mine",))
    assert "model alias 'theirs'" in refusal(customer, "theirs", only=("theirs",))


# --- Access groups -----------------------------------------------------------------------------------------


@pytest.fixture
def bundled(db: None) -> make.Customer:
    """A team with the group `bundle` of the aliases `a` and `b`; `c` is not in it."""
    for name in ("a", "b", "c"):
        make.alias(name)
    make.access_group("bundle", "b", "a")
    return make.customer(team_id="team", access_groups=["bundle"])


def test_access_group_lends_its_aliases_and_no_others(bundled: make.Customer):
    assert resolved(bundled, "a") == "a"
    assert resolved(bundled, "b") == "b"
    assert "model alias 'c'" in refusal(bundled, "c")


def test_access_group_is_no_name_to_ask_for(bundled: make.Customer):
    assert "model group 'bundle'" in refusal(bundled, "bundle")


def test_inactive_access_group_lends_nothing(bundled: make.Customer):
    AccessGroup.objects.update(status="inactive")

    assert "model alias 'a'" in refusal(bundled, "a")
    assert refusal(bundled, None) == "No model available for team 'team'"


def test_one_of_two_access_groups_is_enough(bundled: make.Customer):
    make.access_group("other", "a", status="inactive")
    catalog.set_team_models(bundled.team, actor=make.TESTER, access_groups=["bundle", "other"])

    assert resolved(bundled, "a") == "a"


def test_access_group_of_another_team_is_not_ours(bundled: make.Customer):
    assert "model alias 'a'" in refusal(make.customer(team_id="stranger"), "a")


def test_key_s_list_narrows_what_access_groups_lend(bundled: make.Customer):
    assert resolved(bundled, "a", only=("a", "c")) == "a"
    assert "model alias 'b'" in refusal(bundled, "b", only=("a", "c"))
    assert "model alias 'c'" in refusal(bundled, "c", only=("a", "c"))
    assert resolved(bundled, only=("b", "c")) == "b"


def test_default_is_what_the_oldest_access_group_lends_after_what_was_given_alone(bundled: make.Customer):
    make.alias("z")
    oldest, newer = make.access_group("oldest", "z"), make.access_group("newer", "a", "z")
    catalog.set_team_models(bundled.team, actor=make.TESTER, access_groups=[])
    for group in (oldest, newer):
        catalog.give(bundled.team, group, actor=make.TESTER)
    assert resolved(bundled) == "z"

    catalog.give(bundled.team, ModelAlias.objects.get(name="c"), actor=make.TESTER)
    assert resolved(bundled) == "c"


# --- Model groups ------------------------------------------------------------------------------------------


@pytest.fixture
def grouped(db: None) -> make.Customer:
    """A team with the group `agent`: the alias `a`, then a provider model, then the alias `b`."""
    for name in ("a", "b"):
        make.alias(name, input_usd_per_mtok=1, output_usd_per_mtok=2, max_output_tokens=100)
    make.model_group("agent", "a", "openai/gpt-9", "b")
    return make.customer(team_id="team", model_groups=["agent"])


def candidates(customer: make.Customer, asked: str | None, *, only: tuple[str, ...] = ()) -> list[str]:
    return [each.alias for each in catalog.resolve(customer.team, asked, only=only).candidates]


def test_model_group_is_its_first_model_with_the_others_as_fallbacks(grouped: make.Customer):
    found = catalog.resolve(grouped.team, "agent")

    assert (found.asked, found.alias, found.provider_model) == ("agent", "a", "provider/a")
    assert (found.has_prices, found.max_output_tokens) == (True, 100)
    raw, last = found.fallbacks
    assert (raw.asked, raw.alias, raw.provider_model, raw.route) == (
        "agent",
        "openai/gpt-9",
        "openai/gpt-9",
        "litellm",
    )
    assert (raw.has_prices, raw.provider, raw.fallbacks) == (False, "openai", ())
    assert (last.asked, last.alias, last.fallbacks) == ("agent", "b", ())


def test_alias_has_no_fallbacks(team_with):
    assert catalog.resolve(team_with("gpt").team, "gpt").fallbacks == ()


def test_members_out_of_service_are_passed_over(grouped: make.Customer):
    ModelAlias.objects.filter(name="a").update(status="deprecated")
    assert candidates(grouped, "agent") == ["openai/gpt-9", "b"]

    ModelGroupMember.objects.filter(alias=None).update(is_active=False)
    assert candidates(grouped, "agent") == ["b"]

    ModelGroupMember.objects.update(is_active=False)
    assert refusal(grouped, "agent") == "No active models configured for group 'agent'"


def test_group_lends_its_members_under_its_own_name_alone(grouped: make.Customer):
    assert "model alias 'a'" in refusal(grouped, "a")
    assert "model group 'openai/gpt-9'" in refusal(grouped, "openai/gpt-9")


def test_inactive_group_has_its_text_for_teams_that_have_it(grouped: make.Customer):
    catalog_group = make.model_group("asleep", "a", status="inactive")
    catalog.give(grouped.team, catalog_group, actor=make.TESTER)

    assert refusal(grouped, "asleep") == "Model group 'asleep' not found or inactive"
    stranger = make.customer(team_id="stranger")
    assert refusal(stranger, "asleep") == "Team 'stranger' does not have access to model group 'asleep'"


def test_empty_group_has_its_text(grouped: make.Customer):
    catalog.give(grouped.team, make.model_group("empty"), actor=make.TESTER)

    assert refusal(grouped, "empty") == "No active models configured for group 'empty'"


def test_group_of_others_is_refused(grouped: make.Customer):
    make.model_group("theirs", "a")
    make.customer(model_groups=["theirs"])

    assert refusal(grouped, "theirs") == "Team 'team' does not have access to model group 'theirs'"


def test_active_alias_comes_before_a_group_of_its_name(grouped: make.Customer):
    make.alias("agent")
    assert refusal(grouped, "agent") == "Team 'team' does not have access to model alias 'agent'"

    ModelAlias.objects.filter(name="agent").update(is_open=True)
    assert candidates(grouped, "agent") == ["agent"]

    ModelAlias.objects.filter(name="agent").update(status="inactive")
    assert candidates(grouped, "agent") == ["a", "openai/gpt-9", "b"]


def test_key_s_list_names_groups_too(grouped: make.Customer):
    assert candidates(grouped, "agent", only=("agent",)) == ["a", "openai/gpt-9", "b"]
    assert "model group 'agent'" in refusal(grouped, "agent", only=("a",))


def test_group_is_the_default_of_a_team_that_has_nothing_else(grouped: make.Customer):
    catalog.give(grouped.team, make.model_group("second", "b"), actor=make.TESTER)

    assert catalog.resolve(grouped.team, None).asked == "agent"
    assert candidates(grouped, None) == ["a", "openai/gpt-9", "b"]
    assert candidates(grouped, None, only=("second", "b")) == ["b"]
    assert refusal(grouped, None, only=("b",)) == "No model available for team 'team'"


def test_group_without_models_in_use_is_nobody_s_default(grouped: make.Customer):
    catalog.give(grouped.team, make.model_group("second", "b"), actor=make.TESTER)
    ModelGroupMember.objects.filter(group__name="agent").update(is_active=False)

    assert catalog.resolve(grouped.team, None).asked == "second"


def test_platform_s_default_and_given_aliases_come_before_groups(grouped: make.Customer):
    catalog.give(grouped.team, ModelAlias.objects.get(name="b"), actor=make.TESTER)
    assert candidates(grouped, None) == ["b"]

    make.platform_model("platform")
    assert candidates(grouped, None) == ["platform"]


def test_group_that_the_team_chose_comes_first(grouped: make.Customer):
    make.platform_model("platform")
    catalog.give(grouped.team, make.model_group("second", "b"), actor=make.TESTER)
    catalog.set_team_default(grouped.team, "second", actor=make.TESTER)

    assert catalog.resolve(grouped.team, None).asked == "second"
    # A key that may not name it goes without it.
    assert candidates(grouped, None, only=("platform", "agent")) == ["platform"]
    assert candidates(grouped, None, only=("agent",)) == ["a", "openai/gpt-9", "b"]


@pytest.mark.parametrize("how", ["taken", "inactive", "empty"])
def test_chosen_group_that_cannot_answer_is_passed_over(grouped: make.Customer, how: str):
    make.platform_model("platform")
    second = make.model_group("second", "b")
    catalog.give(grouped.team, second, actor=make.TESTER)
    catalog.set_team_default(grouped.team, "second", actor=make.TESTER)

    if how == "taken":
        catalog.take(grouped.team, second, actor=make.TESTER)
    elif how == "inactive":
        type(second).objects.filter(pk=second.pk).update(status="inactive")
    else:
        ModelGroupMember.objects.filter(group=second).delete()

    assert candidates(grouped, None) == ["platform"]


def test_resolving_a_group_is_two_queries(grouped: make.Customer, django_assert_num_queries):
    with django_assert_num_queries(2):
        catalog.resolve(grouped.team, "agent")
    make.platform_model("platform")
    catalog.set_team_default(grouped.team, "agent", actor=make.TESTER)
    with django_assert_num_queries(2):
        catalog.resolve(grouped.team, None)


def test_team_with_a_group_asks_for_aliases_in_one_query(grouped: make.Customer, django_assert_num_queries):
    make.platform_model("platform")
    with django_assert_num_queries(1):
        catalog.resolve(grouped.team, None)
    with django_assert_num_queries(1):
        catalog.resolve(grouped.team, "platform")


# --- No name ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("asked", [None, ""])
def test_team_s_default_comes_first(team_with, asked: str | None):
    customer = team_with("a", "b", default="b")
    make.platform_model("platform")

    assert resolved(customer, asked) == "b"


def test_platform_s_default_comes_second(team_with):
    customer = team_with("a", "b")
    make.platform_model("platform")

    assert resolved(customer) == "platform"


def test_first_given_alias_comes_last(team_with):
    customer = team_with("b", "a")

    assert resolved(customer) == "b"


def test_platform_s_default_that_is_closed_to_the_team_is_passed_over(team_with):
    customer = team_with("a")
    make.platform_model("platform")
    ModelAlias.objects.filter(name="platform").update(is_open=False)

    assert resolved(customer) == "a"


def test_team_s_default_out_of_service_is_passed_over(team_with):
    customer = team_with("a", "b", default="b")
    ModelAlias.objects.filter(name="b").update(status="inactive")

    assert resolved(customer) == "a"


def test_team_s_default_that_was_taken_from_it_is_passed_over(team_with):
    customer = team_with("a", "b", default="b")
    TeamAlias.objects.filter(alias__name="b").delete()

    assert resolved(customer) == "a"


def test_open_alias_is_nobody_s_default(team_with):
    customer = team_with()
    make.alias("open", is_open=True)

    assert refusal(customer, None) == "No model available for team 'team'"


def test_key_s_list_chooses_among_the_defaults(team_with):
    customer = team_with("a", "b", "c", default="c")
    make.platform_model("platform")

    assert resolved(customer, only=("a", "c")) == "c"
    assert resolved(customer, only=("a", "platform")) == "platform"
    assert resolved(customer, only=("b",)) == "b"
    assert refusal(customer, None, only=("nothing",)) == "No model available for team 'team'"


def test_open_alias_on_a_key_s_list_is_its_default(team_with):
    customer = team_with("a")
    make.alias("open", is_open=True)

    assert resolved(customer, only=("open",)) == "open"


def test_default_of_another_team_is_not_ours(db: None):
    for name in ("a", "b"):
        make.alias(name)
    make.customer(access_groups=["a", "b"], default_model="b")
    ours = make.customer(access_groups=["a", "b"])

    assert resolved(ours) == "a"


@pytest.mark.parametrize("asked", [None, "a"])
def test_resolving_is_one_query(team_with, asked: str | None, django_assert_num_queries):
    customer = team_with("a", "b", default="b")

    with django_assert_num_queries(1):
        catalog.resolve(customer.team, asked)
