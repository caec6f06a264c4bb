"""Writes that span apps: all of it or nothing, and as often as one likes."""

from decimal import Decimal
from typing import Any

import pytest

from apps.catalog import services as catalog
from apps.catalog.errors import AliasNotFound
from apps.core import verification
from apps.core.errors import InvalidField, InvalidRequest
from apps.core.models import AuditEntry
from apps.credits import billing, ledger
from apps.credits.models import Account, Entry
from apps.organizations.models import Organization
from apps.provisioning import credits as operators
from apps.provisioning import services as provisioning
from apps.provisioning.services import TeamPlan
from apps.teams.errors import TeamExists
from apps.teams.models import Team
from apps.virtual_keys import services as virtual_keys
from apps.virtual_keys.models import VirtualKey
from tests import make
from tests.jobs import steps

MICROS = 1_000_000


def everything() -> list[int]:
    models = (Organization, Team, VirtualKey, Account, Entry, AuditEntry)
    return [model._base_manager.count() for model in models]


def ensure(**more: Any) -> provisioning.EnsuredCustomer:
    return provisioning.ensure_customer(
        **{"organization_id": "acme-inc", "team_id": "acme", "credits": 50, "actor": make.TESTER, **more}
    )


@pytest.fixture(autouse=True)
def _adds_up(db: None) -> Any:
    yield
    assert list(verification.differences()) == []


# --- Teams --------------------------------------------------------------------------------------------------


def test_team_has_all_of_its_plan():
    make.alias("gpt")
    plan = TeamPlan(
        team_id="acme",
        alias="Acme",
        access_groups=["gpt"],
        default_model="gpt",
        credits=50,
        metadata={"tier": "gold"},
        budget_mode="consumption_usd",
        credits_per_dollar=Decimal("2.5"),
        cost_markup_percentage=Decimal(20),
        key=provisioning.KeyPlan(name="backend"),
    )

    made = provisioning.create_team(make.organization(), plan, actor=make.TESTER)

    team = Team.objects.get()
    assert (team.team_id, team.alias, team.metadata, team.status) == ("acme", "Acme", {"tier": "gold"}, "active")
    assert catalog.models_of([team])[team.pk] == catalog.TeamModels(["gpt"], [], "gpt")
    assert billing.balance(team).posted_micros == 50 * MICROS
    priced = billing.plan(team)
    assert (priced.budget_mode, priced.credits_per_dollar, priced.cost_markup_percentage) == (
        "consumption_usd",
        2.5,
        20.0,
    )
    assert virtual_keys.authenticate(made.secret).team == team
    assert made.key.name == "backend"
    actions = set(AuditEntry.objects.values_list("action", flat=True))
    assert {
        "team.create",
        "team.models",
        "team.default_model",
        "team.pricing",
        "team.credits",
        "key.issue",
    } <= actions


def test_team_without_credits_has_an_empty_wallet():
    customer = make.customer(credits=0)

    assert billing.balance(customer.team) == billing.Balance(exists=True)
    assert Entry.objects.count() == 0


@pytest.mark.parametrize(
    ("plan", "error"),
    [
        ({"team_id": "taken"}, TeamExists),
        ({"team_id": "create"}, InvalidField),
        ({"team_id": "no good"}, InvalidField),
        ({"team_id": "x" * 256}, InvalidField),
        ({"access_groups": ["unheard-of"]}, AliasNotFound),
        ({"default_model": "unheard-of"}, AliasNotFound),
        ({"budget_mode": "unlimited"}, InvalidRequest),
        ({"tokens_per_credit": 0}, InvalidRequest),
        ({"credits": 10**12 + 1}, InvalidRequest),
    ],
)
def test_team_is_made_whole_or_not_at_all(plan: dict[str, Any], error: type[Exception]):
    organization = make.organization()
    make.customer(team_id="taken", org=organization)
    before = everything()

    with pytest.raises(error):
        provisioning.create_team(
            organization, TeamPlan(**{"team_id": "acme", "credits": 5, **plan}), actor=make.TESTER
        )

    assert everything() == before


def test_team_is_not_made_when_its_key_cannot_be(monkeypatch: pytest.MonkeyPatch):
    organization = make.organization()
    before = everything()

    def fail(*_: Any, **__: Any) -> Any:
        raise RuntimeError

    monkeypatch.setattr(virtual_keys, "issue", fail)
    with pytest.raises(RuntimeError):
        provisioning.create_team(organization, TeamPlan(team_id="acme", credits=5), actor=make.TESTER)

    assert everything() == before


# --- Organizations ------------------------------------------------------------------------------------------


def test_organization_comes_with_its_default_team():
    made = provisioning.create_organization(
        organization_id="acme-inc", name="Acme", actor=make.TESTER, default_team=TeamPlan(team_id="acme-inc_default")
    )

    assert made.team is not None
    assert made.team.team.organization == made.organization
    assert made.team_error is None


def test_organization_is_made_even_when_its_team_cannot_be():
    made = provisioning.create_organization(
        organization_id="acme-inc",
        name="Acme",
        actor=make.TESTER,
        default_team=TeamPlan(team_id="acme", access_groups=["unheard-of"]),
    )

    assert (made.team, made.team_error) == (None, "Model access group 'unheard-of' not found")
    assert (Organization.objects.count(), Team.objects.count(), VirtualKey.objects.count()) == (1, 0, 0)


# --- Customers ----------------------------------------------------------------------------------------------


def test_customer_is_made_from_nothing():
    made = ensure()

    assert made.secret is not None
    assert virtual_keys.authenticate(made.secret).team == made.team
    assert made.team.organization.organization_id == "acme-inc"
    assert billing.balance(made.team).posted_micros == 50 * MICROS


def test_customer_is_made_once():
    ensure()
    before = everything()

    again = ensure()

    assert again.secret is None
    assert everything() == before


def test_first_credits_are_granted_once_whatever_their_number():
    ensure()

    again = ensure(credits=500)

    assert billing.balance(again.team).posted_micros == 50 * MICROS


def test_first_credits_may_come_later_and_are_audited():
    ensure(credits=0)

    again = ensure(credits=50)

    assert billing.balance(again.team).posted_micros == 50 * MICROS
    entry = AuditEntry.objects.get(action="team.credits")
    assert (entry.before, entry.after) == ({"credits_allocated": "0"}, {"credits_allocated": "50"})


def test_spent_credits_are_not_granted_again():
    made = ensure()
    ledger.adjust(made.team, amount_micros=50 * MICROS, actor=make.TESTER, key="spent", reason="spent")

    ensure()

    assert billing.balance(made.team).posted_micros == 0


def test_new_key_is_issued_on_demand_and_when_there_is_no_other():
    first = ensure().secret
    second = ensure(new_key=True).secret
    assert second not in (None, first)
    assert ensure().secret is None

    for key in VirtualKey.objects.all():
        virtual_keys.revoke(key, actor=make.TESTER)

    assert ensure().secret is not None


def test_models_are_brought_up_to_date():
    for name in ("a", "b"):
        make.alias(name)
    ensure(models=["a"])

    made = ensure(models=["b"], default_model="b")

    assert catalog.models_of([made.team])[made.team.pk] == catalog.TeamModels(["b"], [], "b")
    assert catalog.models_of([ensure().team])[made.team.pk].access_groups == ["b"]


def test_team_of_another_organization_is_left_alone():
    ensure()
    before = everything()

    with pytest.raises(InvalidRequest, match="Team 'acme' belongs to organization 'acme-inc'"):
        ensure(organization_id="globex-inc", new_key=True)

    assert everything() == before


# --- Credits ------------------------------------------------------------------------------------------------


def test_added_credits_are_audited_and_added_once():
    customer = make.customer(credits=10)

    for _ in range(2):
        operators.add_credits(customer.team, credits=5, actor=make.TESTER, key="order-1", reason="bought")

    assert billing.balance(customer.team).posted_micros == 15 * MICROS
    (entry,) = AuditEntry.objects.filter(action="team.credits", reason="bought")
    assert (entry.before, entry.after) == ({"credits_allocated": "10"}, {"credits_allocated": "15"})


def test_allocation_is_raised_and_lowered_by_the_difference():
    customer = make.customer(credits=10)
    for number, (credits, kind, amount) in enumerate([(25, "grant", 15), (5, "adjust", 20), (5, None, 0)]):
        entry = operators.set_allocation(customer.team, credits=credits, actor=make.TESTER, key=str(number))

        assert (entry.kind, entry.amount_micros) == (kind, amount * MICROS) if entry else kind is None
        assert billing.balance(customer.team).allocated_micros == credits * MICROS
    assert AuditEntry.objects.filter(action="team.credits").count() == 3


def test_allocation_is_not_lowered_below_what_is_used_and_held(settings: Any):
    settings.EMBEDDED = True
    make.platform_model()
    customer = make.customer(credits=10)
    done, at_work = steps.open_job(customer), steps.open_job(customer)
    steps.run(steps.ask(customer, done))
    steps.complete(customer, done)
    steps.ask(customer, at_work)
    before = everything()

    with pytest.raises(InvalidRequest) as caught:
        operators.set_allocation(customer.team, credits=1, actor=make.TESTER, key="k")

    assert str(caught.value) == "credits_allocated cannot be less than what is used and held: 2 (used 1, held 1)"
    assert everything() == before
    operators.set_allocation(customer.team, credits=2, actor=make.TESTER, key="k")
    assert billing.balance(customer.team).spendable_micros == 0
