"""Dated prices: the newest that is valid counts, none is ever changed, and each leaves an audit row (B8)."""

from datetime import UTC, datetime, timedelta

import pytest
from django.db import DatabaseError, transaction

from apps.catalog import prices, services
from apps.catalog.errors import PriceNotFound
from apps.catalog.price_models import Price
from apps.catalog.rates import Rates
from apps.core import clock
from apps.core.errors import InvalidField
from apps.core.models import AuditEntry
from tests import make

CHEAP, DEAR = Rates(10**9, 2 * 10**9), Rates(5 * 10**9, 10 * 10**9)
AHEAD = datetime(2999, 1, 1, tzinfo=UTC)


def add(rates: Rates = CHEAP, model: str = "provider/chat", **more) -> Price:
    return prices.add(model, rates, actor=make.TESTER, **more)


def dated(valid_from: datetime, rates: Rates = CHEAP, model: str = "provider/chat") -> Price:
    """A price from any instant, also one that `add` refuses."""
    return Price.objects.create(
        model=model,
        valid_from=valid_from,
        input_nanousd_per_mtok=rates.input,
        output_nanousd_per_mtok=rates.output,
        created_by="tests",
    )


@pytest.fixture
def customer(db: None) -> make.Customer:
    make.alias("chat", provider_model="Provider/Chat", is_open=True)
    return make.customer(credits=10)


def resolved(customer: make.Customer, name: str = "chat"):
    services.forget_cached()
    return services.resolve(customer.team, name)


# --- Adding ------------------------------------------------------------------------------------------------


def test_price_counts_from_now_and_is_audited(db: None):
    price = add(Rates(1, 2, cached_input=0), source="a list")

    assert price.rates == Rates(1, 2, cached_input=0)
    assert abs((price.valid_from - clock.db_now()).total_seconds()) < 60
    assert prices.find("PROVIDER/Chat") == price
    audited = AuditEntry.objects.get(action="price.add")
    assert (audited.object_id, audited.actor, audited.before) == ("provider/chat", str(make.TESTER), {})
    assert audited.after["cached_input"] == 0
    assert audited.after["price_id"] == str(price.pk)


def test_same_price_again_makes_none(db: None):
    first = add()

    assert add() == first
    assert add(valid_from=AHEAD) == first
    assert AuditEntry.objects.filter(action="price.add").count() == 1


def test_price_that_changes_and_changes_back_is_three(db: None):
    add()
    add(DEAR)
    add()

    assert Price.objects.count() == 3
    assert prices.find("provider/chat").rates == CHEAP
    assert AuditEntry.objects.filter(action="price.add").order_by("-id").first().before["input"] == DEAR.input


def test_mistake_in_a_scheduled_price_is_corrected_by_another_from_the_same_instant(db: None):
    add(DEAR, valid_from=AHEAD)
    right = add(CHEAP, valid_from=AHEAD)

    assert prices.find("provider/chat", at=AHEAD) == right
    assert list(prices.all_in_force(at=AHEAD)) == [right]


@pytest.mark.parametrize("model", ["", "  ", "x" * 256, "modèle", "a\tb"])
def test_model_that_can_be_none_is_refused(db: None, model: str):
    with pytest.raises(InvalidField):
        add(model=model)


@pytest.mark.parametrize(
    "rates", [Rates(-1, 1), Rates(1, 10**15), Rates(1, 1, reasoning=-1), Rates(1, 1, per_image=-1)]
)
def test_rates_that_cannot_be_are_refused(db: None, rates: Rates):
    with pytest.raises(InvalidField):
        add(rates)
    assert not Price.objects.exists()


def test_price_in_the_past_is_refused(db: None):
    with pytest.raises(InvalidField, match="past"):
        add(valid_from=clock.db_now() - timedelta(seconds=1))


def test_b8_price_is_never_changed_or_deleted(db: None):
    price = add()
    for change in (lambda: Price.objects.update(input_nanousd_per_mtok=0), lambda: Price.objects.all().delete()):
        with pytest.raises(DatabaseError, match="never changed or deleted"), transaction.atomic():
            change()
    price.refresh_from_db()
    assert price.rates == CHEAP


def test_unknown_model_has_no_price(db: None):
    assert prices.in_force("unknown") is None
    with pytest.raises(PriceNotFound):
        prices.find("unknown")


# --- In force ----------------------------------------------------------------------------------------------


def test_b8_scheduled_price_takes_effect_at_its_instant_and_not_before(db: None):
    instant = datetime(2030, 6, 1, tzinfo=UTC)
    old, new = dated(instant - timedelta(days=30)), dated(instant, DEAR)
    just_before = instant - timedelta(milliseconds=1)

    assert prices.find("provider/chat", at=just_before) == old
    assert prices.find("provider/chat", at=instant) == new
    assert list(prices.all_in_force(at=just_before)) == [old]
    assert list(prices.all_in_force(at=instant)) == [new]
    assert prices.in_force("provider/chat", at=instant - timedelta(days=31)) is None


def test_list_has_every_price_with_its_state(db: None):
    now = clock.db_now()
    past, current = dated(now - timedelta(days=2), DEAR), dated(now - timedelta(days=1))
    ahead, other = dated(AHEAD), dated(now - timedelta(days=5), model="another")

    found = list(prices.matching()[:10])

    assert found == [other, ahead, current, past]
    assert [(price.is_in_force, price.is_scheduled) for price in found] == [  # type: ignore[attr-defined]
        (True, False), (False, True), (True, False), (False, False),
    ]  # fmt: skip
    assert list(prices.matching(only_in_force=True)[:10]) == [other, current]
    assert list(prices.matching(model="PROVIDER/chat", at=now - timedelta(hours=25))[:10]) == [past]
    assert list(prices.matching()[1:2]) == [ahead]


# --- Which price counts ------------------------------------------------------------------------------------


def test_model_has_the_price_of_its_provider_model_whatever_the_case(customer: make.Customer):
    price = add(Rates(1, 2, reasoning=9))

    model = resolved(customer)

    assert (model.price_source, model.price_id, model.rates) == ("price", price.pk, price.rates)
    assert (model.input_nanousd_per_mtok, model.output_nanousd_per_mtok) == (1, 2)


def test_price_of_the_alias_goes_first(customer: make.Customer):
    add()
    make.alias("own", provider_model="provider/chat", input_usd_per_mtok=7, output_usd_per_mtok=8, is_open=True)

    model = resolved(customer, "own")

    assert (model.price_source, model.price_id, model.rates) == ("alias", None, Rates(7 * 10**9, 8 * 10**9))


def test_scheduled_price_does_not_count_yet(customer: make.Customer):
    dated(AHEAD)

    assert (resolved(customer).price_source, resolved(customer).rates) == ("none", None)


def test_members_of_a_group_have_their_prices_alias_or_not(db: None):
    make.alias("chat", provider_model="provider/chat")
    make.model_group("agent", "chat", "Provider/Raw")
    customer = make.customer(credits=1, model_groups=["agent"])
    of_alias, of_model = add(), add(DEAR, model="provider/raw")

    model = resolved(customer, "agent")

    assert [each.price_id for each in model.candidates] == [of_alias.pk, of_model.pk]
    assert [each.rates for each in model.candidates] == [CHEAP, DEAR]


def test_default_model_has_its_price(db: None):
    make.platform_model(provider_model="provider/chat")
    price = add()

    assert resolved(make.customer(credits=1), None).price_id == price.pk


def test_model_without_a_price_has_the_estimate_when_there_is_to_be_one(customer: make.Customer, settings):
    settings.UNPRICED_MODELS = "estimate"
    settings.UNPRICED_INPUT_NANOUSD_PER_MTOK, settings.UNPRICED_OUTPUT_NANOUSD_PER_MTOK = 3, 4

    model = resolved(customer)

    assert (model.price_source, model.price_id, model.rates) == ("estimate", None, Rates(3, 4))


def test_rates_are_read_once_a_process(db: None, django_assert_num_queries):
    price, other = add(), add(model="other")
    with django_assert_num_queries(1):
        prices.load([price.pk, str(other.pk)])
    with django_assert_num_queries(0):
        assert prices.rates_of(price.pk) == prices.rates_of(str(other.pk)) == CHEAP


def test_resolving_costs_no_query_for_a_price_that_is_known(customer: make.Customer, django_assert_num_queries):
    with django_assert_num_queries(1):
        resolved(customer)
    add()
    resolved(customer)
    with django_assert_num_queries(1):
        resolved(customer)


def test_used_models_are_those_that_something_names(customer: make.Customer):
    make.model_group("agent", "chat", "raw/model")
    add(model="only/priced")
    add(model="provider/chat")

    assert prices.used_models() == ["Provider/Chat", "only/priced", "raw/model"]
