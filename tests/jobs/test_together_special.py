"""What a group of calls cannot decide is left to one alone: each feature that decides something, by name."""

from collections.abc import Callable
from datetime import timedelta
from typing import Any

import pytest
from django.forms.models import model_to_dict

from apps.core import clock
from apps.core.errors import DomainError
from apps.credits import card_terms, cards, ledger
from apps.credits.models import Account
from apps.jobs import budgets, group_admission, services
from apps.jobs.escrow import Budget
from apps.jobs.models import Call, Job
from apps.limits.models import Metric, SpendWindow
from apps.virtual_keys import services as virtual_keys
from tests import make
from tests.jobs import steps
from tests.jobs.test_together import under_way, wish
from tests.limits.limiting import limit

pytestmark = [pytest.mark.postgresql, pytest.mark.django_db(transaction=True)]

MICROS = 1_000_000


@pytest.fixture
def acme(transactional_db: None) -> make.Customer:
    make.alias("priced", input_usd_per_mtok=1, output_usd_per_mtok=2, max_output_tokens=100)
    return make.customer(team_id="acme", credits=10, access_groups=["priced"])


def put_in_force(customer: make.Customer, mode: str, **terms: Any) -> None:
    columns = card_terms.columns(card_terms.TermsInput(mode=mode, **terms))
    cards.activate(cards.create(team=customer.team, actor=make.TESTER, terms=columns), 1, actor=make.TESTER)


def job_of(customer: make.Customer, **budget: Any) -> Job:
    return steps.open_job(customer, budget=Budget(**budget))


def deadline(acme: make.Customer) -> Job:
    return job_of(acme, deadline=60)


def low_ceiling(acme: make.Customer) -> Job:
    return job_of(acme, max_micros=MICROS // 2)


def low_reservation(acme: make.Customer) -> Job:
    return job_of(acme, max_micros=MICROS // 2, reserves=True)


def reservation_given_back(acme: make.Customer) -> Job:
    job = job_of(acme, max_micros=2 * MICROS, reserves=True)
    change = budgets.Change(frozenset({"reserves"}), reserves=False)
    return budgets.change(acme.principal, job_id=str(job.pk), wanted=change)


def paused(acme: make.Customer) -> Job:
    job = under_way(acme)
    Job.objects.filter(pk=job.pk).update(status=Job.Status.PAUSED, paused_reason="budget", max_micros=MICROS)
    return job


def restricted(acme: make.Customer) -> Job:
    ledger.grant(acme.team, amount_micros=MICROS, actor=make.TESTER, key="r", job_types=["query"])
    return job_of(acme)


def expiring(acme: make.Customer) -> Job:
    ends = clock.db_now() + timedelta(hours=1)
    ledger.grant(acme.team, amount_micros=MICROS, actor=make.TESTER, key="e", expires_at=ends)
    Account.objects.filter(team=acme.team).update(next_expiry_at=clock.from_now(-1))
    return job_of(acme)


def card(mode: str, **terms: Any) -> Callable[[make.Customer], Job]:
    def opened(acme: make.Customer) -> Job:
        put_in_force(acme, mode, **terms)
        return job_of(acme)

    return opened


ALONE = {
    "deadline": deadline,
    "low ceiling": low_ceiling,
    "low reservation": low_reservation,
    "reservation given back": reservation_given_back,
    "paused": paused,
    "restricted wallet": restricted,
    "due expiry": expiring,
    "cost cap": card("flat", cost_cap_usd=5),
    "metered in USD": card("metered_usd"),
    "metered in tokens": card("metered_tokens"),
    "hybrid": card("hybrid", allowance_usd=1),
    "hybrid of tokens": card("hybrid", allowance_tokens=10),
    "too dear": card("flat", price_credits=11),
}


@pytest.mark.parametrize("feature", ALONE)
def test_job_with_a_feature_is_left_to_one_alone(acme: make.Customer, feature: str):
    job = ALONE[feature](acme)
    before = model_to_dict(steps.fresh(job))

    beside = under_way(acme) if feature in ("deadline", "low ceiling") else None
    wishes = [wish(acme, job)] + ([wish(acme, beside, "Beside")] if beside else [])
    found = group_admission._admit_many(wishes)

    assert found[0] is None
    assert all(each is not None for each in found[1:])
    assert model_to_dict(steps.fresh(job)) == before


ADMITTED = ("deadline", "reservation given back", "restricted wallet", "due expiry", "hybrid")


@pytest.mark.parametrize("feature", ADMITTED)
def test_and_there_it_is_admitted(acme: make.Customer, feature: str):
    job = ALONE[feature](acme)

    submitted = steps.ask(acme, job)

    assert submitted.is_new
    assert steps.fresh(job).held_micros == MICROS


def test_ceiling_with_room_goes_with_the_group_and_its_answer_tells_what_remains(acme: make.Customer):
    (found,) = group_admission._admit_many([wish(acme, job_of(acme, max_micros=MICROS))])
    assert found is not None
    assert found.has_ceiling


@pytest.fixture
def grouped(monkeypatch: pytest.MonkeyPatch) -> list[Any]:
    """What was offered to the group."""
    offered: list[Any] = []

    def submit(*args: Any, **kwargs: Any) -> None:
        offered.append(kwargs)

    monkeypatch.setattr(services, "submit_together", submit)
    return offered


@pytest.mark.parametrize("scope", ["platform", "organization", "team", "key", "user"])
@pytest.mark.parametrize("metric", [Metric.SPEND_DAY, Metric.SPEND_WEEK, Metric.SPEND_MONTH])
def test_call_under_a_spend_limit_is_not_offered_to_the_group(
    acme: make.Customer, grouped: list[Any], scope: str, metric: str
):
    named = {
        "platform": {"id": ""},
        "organization": {"id": acme.organization.organization_id},
        "team": {"id": "acme"},
        "key": {"id": acme.principal.key_id},
        "user": {"id": "ann", "team_id": "acme"},
    }[scope]
    limit(scope, metric=metric, amount=5, **named)
    job = steps.open_job(acme, user_id="ann")

    steps.ask(acme, job)

    assert grouped == []
    assert SpendWindow.objects.get().held_micros == MICROS


def test_call_whose_rates_passed_goes_with_the_group_and_keeps_them(acme: make.Customer, grouped: list[Any]):
    limit("team", "acme", Metric.REQUESTS, 1)
    job = steps.open_job(acme)
    steps.ask(acme, job)
    assert [offered["taken"]["of"] for offered in grouped] == [[["requests_per_minute", "team", "acme"]]]

    with pytest.raises(DomainError, match="Rate limit exceeded"):
        steps.ask(acme, job, "Refused")

    assert len(grouped) == 1
    assert Call.objects.count() == 1


def test_model_that_the_key_may_not_use_is_refused_alone(acme: make.Customer):
    _, secret = virtual_keys.issue(acme.team, actor=make.TESTER, models_allowed=["another"])
    narrow = make.Customer(acme.organization, acme.team, secret)
    with pytest.raises(DomainError, match="does not have access"):
        steps.ask(narrow, job_of(acme), model="priced")
    assert Call.objects.count() == 0
