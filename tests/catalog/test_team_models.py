"""What a team was given and its default: replaced as a whole, or not at all."""

import pytest
from django.db import IntegrityError, transaction

from apps.catalog import services as catalog
from apps.catalog.errors import AliasNotFound
from apps.catalog.models import ModelAlias, TeamAccessGroup, TeamAlias, TeamDefaultModel, TeamModelGroup
from apps.core.models import AuditEntry
from tests import make


@pytest.fixture
def customer(db: None) -> make.Customer:
    for name in ("a", "b", "c"):
        make.alias(name)
    return make.customer(team_id="team", access_groups=["a"])


def models(customer: make.Customer) -> catalog.TeamModels:
    return catalog.models_of([customer.team])[customer.team.pk]


def audited(action: str) -> list[tuple[dict, dict]]:
    return list(AuditEntry.objects.filter(action=action).order_by("id").values_list("before", "after"))


def test_list_is_replaced(customer: make.Customer):
    catalog.set_team_models(customer.team, actor=make.TESTER, access_groups=["c", "b", "b"])

    assert models(customer).access_groups == ["c", "b"]
    assert audited("team.models")[-1] == ({"models": ["a"]}, {"models": ["b", "c"]})


def test_list_that_is_not_named_stays(customer: make.Customer):
    catalog.set_team_models(customer.team, actor=make.TESTER, model_groups=["b"])

    found = models(customer)
    assert (found.access_groups, found.model_groups, found.allowed) == (["a"], ["b"], ["a", "b"])


def test_empty_list_takes_everything_away(customer: make.Customer):
    catalog.set_team_models(customer.team, actor=make.TESTER, access_groups=[])

    assert models(customer).allowed == []


@pytest.mark.parametrize(
    ("field", "text"),
    [
        ("access_groups", "Model access group 'unheard-of' not found"),
        ("model_groups", "Model group 'unheard-of' not found"),
    ],
)
def test_unknown_name_changes_nothing(customer: make.Customer, field: str, text: str):
    before = audited("team.models")

    with pytest.raises(AliasNotFound) as caught:
        catalog.set_team_models(customer.team, actor=make.TESTER, **{field: ["b", "unheard-of"]})

    assert str(caught.value) == text
    assert models(customer).allowed == ["a"]
    assert audited("team.models") == before


def test_same_list_again_leaves_no_trace(customer: make.Customer):
    before = audited("team.models")

    catalog.set_team_models(customer.team, actor=make.TESTER, access_groups=["a"])

    assert audited("team.models") == before


def test_models_of_many_teams_take_five_queries(customer: make.Customer, django_assert_num_queries):
    make.access_group("bundle", "a", "b")
    make.model_group("agent", "c")
    names = ["bundle", "agent", "a"]
    teams = [customer.team, *(make.customer(access_groups=names, default_model="agent").team for _ in range(5))]

    with django_assert_num_queries(5):
        catalog.models_of(teams)


# --- Groups ------------------------------------------------------------------------------------------------


def test_team_is_given_groups_and_may_name_what_is_in_them(customer: make.Customer):
    make.access_group("bundle", "c", "b")
    make.model_group("agent", "a", "b")

    found = catalog.set_team_models(
        customer.team, actor=make.TESTER, access_groups=["bundle"], model_groups=["agent"]
    )

    assert (found.access_groups, found.model_groups) == (["bundle"], ["agent"])
    assert found.allowed == ["agent", "b", "c"]
    assert audited("team.models")[-1] == ({"models": ["a"]}, {"models": ["agent", "bundle"]})


def test_model_group_among_the_access_groups_is_taken_as_one(customer: make.Customer):
    make.model_group("agent", "a")
    make.model_group("other", "b")

    found = catalog.set_team_models(customer.team, actor=make.TESTER, access_groups=["agent"], model_groups=["other"])
    assert (found.access_groups, sorted(found.model_groups)) == ([], ["agent", "other"])
    ids = set(TeamModelGroup.objects.values_list("id", flat=True))
    catalog.set_team_models(customer.team, actor=make.TESTER, access_groups=["agent"], model_groups=["other"])
    assert set(TeamModelGroup.objects.values_list("id", flat=True)) == ids

    # Now it belongs to the other list, which alone takes it away.
    assert catalog.set_team_models(customer.team, actor=make.TESTER, access_groups=[]).model_groups
    assert not catalog.set_team_models(customer.team, actor=make.TESTER, model_groups=[]).model_groups


def test_access_group_comes_before_what_else_has_its_name(customer: make.Customer):
    make.access_group("a", "b")
    make.model_group("a", "c")

    catalog.set_team_models(customer.team, actor=make.TESTER, access_groups=["a"], model_groups=["a"])

    assert not TeamAlias.objects.exists()
    assert TeamAccessGroup.objects.get().access_group.name == "a"
    assert TeamModelGroup.objects.get().model_group.name == "a"
    assert audited("team.models")[-1] == ({"models": ["a"]}, {"models": ["a"]})


def test_access_group_is_no_model_group(customer: make.Customer):
    make.access_group("bundle", "b")

    with pytest.raises(AliasNotFound, match="Model group 'bundle' not found"):
        catalog.set_team_models(customer.team, actor=make.TESTER, model_groups=["bundle"])


def test_groups_are_listed_but_not_allowed_while_out_of_service(customer: make.Customer):
    make.access_group("bundle", "c", status="inactive")
    make.access_group("half", "b", "c")
    make.model_group("agent", "b", status="inactive")
    ModelAlias.objects.filter(name="c").update(status="deprecated")

    found = catalog.set_team_models(
        customer.team, actor=make.TESTER, access_groups=["bundle", "half", "c"], model_groups=["agent"]
    )

    assert (found.given, found.allowed) == (["agent", "bundle", "c", "half"], ["b"])


def test_one_thing_is_given_and_taken_without_touching_the_rest(customer: make.Customer):
    bundle, agent = make.access_group("bundle", "b"), make.model_group("agent", "c")
    alias = ModelAlias.objects.get(name="c")

    for what in (bundle, agent, alias, alias):
        catalog.give(customer.team, what, actor=make.TESTER)
    assert models(customer).given == ["a", "agent", "bundle", "c"]

    for what in (bundle, agent, alias, alias):
        catalog.take(customer.team, what, actor=make.TESTER)
    assert models(customer).given == ["a"]
    assert len(audited("team.models")) == 7


# --- The default -------------------------------------------------------------------------------------------


def test_team_default_may_be_a_model_group(customer: make.Customer):
    make.model_group("agent", "b")

    for name in ("a", "agent", "a"):
        catalog.set_team_default(customer.team, name, actor=make.TESTER)
        assert models(customer).default_model == name


def test_alias_comes_before_a_model_group_as_default(customer: make.Customer):
    make.model_group("a", "b")

    catalog.set_team_default(customer.team, "a", actor=make.TESTER)

    chosen = TeamDefaultModel.objects.get()
    assert (str(chosen.alias), chosen.model_group) == ("a", None)


def test_default_is_an_alias_or_a_group_and_not_both(customer: make.Customer):
    alias, group = ModelAlias.objects.get(name="a"), make.model_group("agent", "b")

    for chosen in ({}, {"alias": alias, "model_group": group}):
        with pytest.raises(IntegrityError), transaction.atomic():
            TeamDefaultModel.objects.create(team=customer.team, **chosen)


def test_team_default_is_set_changed_and_cleared(customer: make.Customer):
    for name in ("a", "b", "b", None, None):
        catalog.set_team_default(customer.team, name, actor=make.TESTER)
        assert models(customer).default_model == name

    assert audited("team.default_model") == [
        ({"default_model": None}, {"default_model": "a"}),
        ({"default_model": "a"}, {"default_model": "b"}),
        ({"default_model": "b"}, {"default_model": None}),
    ]


def test_unknown_team_default_changes_nothing(customer: make.Customer):
    catalog.set_team_default(customer.team, "a", actor=make.TESTER)

    with pytest.raises(AliasNotFound, match="Model alias 'unheard-of' not found"):
        catalog.set_team_default(customer.team, "unheard-of", actor=make.TESTER)

    assert models(customer).default_model == "a"
