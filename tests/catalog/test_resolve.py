"""Which model a name stands for, and which one a call gets that names none."""

import pytest

from apps.catalog import services as catalog
from apps.catalog.errors import ModelNotAllowed, NoModelAvailable
from apps.catalog.models import ModelAlias, TeamAlias
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
    with pytest.raises((ModelNotAllowed, NoModelAvailable)) as caught:
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
