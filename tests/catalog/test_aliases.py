"""What a team was given, and the platform's default: replaced as a whole, or not at all."""

import pytest
from django.db import IntegrityError, transaction

from apps.catalog import services as catalog
from apps.catalog.errors import AliasNotFound
from apps.catalog.models import ModelAlias
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


def test_models_of_many_teams_take_two_queries(customer: make.Customer, django_assert_num_queries):
    teams = [customer.team, *(make.customer(access_groups=["a", "b"]).team for _ in range(5))]

    with django_assert_num_queries(2):
        catalog.models_of(teams)


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
