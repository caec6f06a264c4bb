"""Margins: revenue by the grants that paid, the same sum by every grouping."""

from dataclasses import asdict

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from apps.analytics import margin
from apps.credits.models import Account
from tests import make
from tests.analytics import rows
from tests.credits import books

pytestmark = pytest.mark.django_db
CREDIT = books.CREDIT
DOLLAR = 10**9


@pytest.fixture
def buyer(db):
    """A team without credits."""
    return make.customer(team_id="buyer", credits=0)


def sold(customer, credits, *, cost=0, model="fast", models=None, **fields):
    """A job that was charged, and its entry."""
    models = models or (model,)
    calls = tuple({"model": name, "cost": cost // len(models)} for name in models)
    job = rows.job(customer, fields.pop("at", "15"), calls, credits=credits, **fields)
    return job, books.spend(customer.team, credits, job=str(job.pk))


def one(**time):
    (line,) = margin.by("job_type", **time).values()
    return line


def test_revenue_is_what_the_grants_that_paid_were_sold_for(buyer):
    books.give(buyer.team, 3, key="free", kind="promotional")
    books.give(buyer.team, 2, key="kind", kind="goodwill")
    books.give(buyer.team, 10, key="paid", price_nanousd_per_credit=DOLLAR // 2)
    sold(buyer, 8, cost=DOLLAR, lost_cost_nanousd=DOLLAR // 10)

    line = one()

    assert (line.revenue_nanousd, line.revenue.charged_micros) == (3 * DOLLAR // 2, 8 * CREDIT)
    assert line.revenue.estimated_micros == 0
    assert line.margin_nanousd == 1_500_000_000 - 1_000_000_000 - 100_000_000
    assert line.margin_basis_points == 2666


def test_a_price_that_nobody_recorded_is_the_list_price_and_marked(buyer, settings):
    settings.CREDIT_LIST_PRICE_NANOUSD = DOLLAR // 4
    books.give(buyer.team, 10, key="a")
    sold(buyer, 4)

    line = one()

    assert (line.revenue_nanousd, line.revenue.estimated_micros) == (DOLLAR, 4 * CREDIT)


def test_what_was_spent_on_the_credit_line_is_estimated(buyer, settings):
    settings.CREDIT_LIST_PRICE_NANOUSD = DOLLAR
    books.give(buyer.team, 2, key="a", price_nanousd_per_credit=DOLLAR // 2)
    Account.objects.filter(team=buyer.team).update(credit_line_micros=5 * CREDIT)
    sold(buyer, 3)

    line = one()

    assert (line.revenue_nanousd, line.revenue.estimated_micros) == (2 * DOLLAR, CREDIT)


def test_a_refund_takes_its_revenue_back(buyer):
    books.give(buyer.team, 10, key="a", price_nanousd_per_credit=DOLLAR)
    _, entry = sold(buyer, 6)
    books.reverse(entry, 2, key="r")

    line = one()

    assert (line.revenue.charged_micros, line.revenue.refunded_micros) == (6 * CREDIT, 2 * CREDIT)
    assert (line.revenue_nanousd, line.revenue.estimated_micros) == (4 * DOLLAR, 0)


def test_jobs_that_were_charged_nothing_still_cost(buyer):
    rows.job(buyer, calls=({"model": "fast", "cost": 700},), status="failed", lost_cost_nanousd=50)

    line = one()

    assert (line.usage.unbilled_cost_nanousd, line.margin_nanousd, line.margin_basis_points) == (700, -750, None)


def test_only_the_jobs_asked_about_count(buyer, globex):
    books.give(buyer.team, 10, key="a", price_nanousd_per_credit=DOLLAR)
    sold(buyer, 1, at="15 00:00")
    sold(buyer, 3, at="16 00:00")
    sold(globex, 5, at="14 23:59")
    books.spend(buyer.team, 2, job="of no job")

    assert one(since=rows.instant("15 00:00"), until=rows.instant("16 00:00")).revenue_nanousd == DOLLAR
    assert set(margin.by("team")) == {"buyer", "globex"}


def test_a_job_of_several_models_is_split_by_cost(buyer):
    books.give(buyer.team, 10, key="a", price_nanousd_per_credit=DOLLAR)
    rows.job(buyer, status="failed", calls=({"model": "smart", "state": "failed"},))
    job = rows.job(buyer, calls=({"model": "fast", "cost": 100}, {"model": "smart", "cost": 300}), credits=4)
    books.spend(buyer.team, 4, job=str(job.pk))

    lines = margin.by("model")

    assert {name: line.revenue_nanousd for name, line in lines.items()} == {"fast": DOLLAR, "smart": 3 * DOLLAR}


sales = st.lists(
    st.fixed_dictionaries(
        {
            "who": st.integers(0, 1),
            "credits": st.integers(1, 4),
            "cost": st.integers(0, 1000),
            "models": st.sampled_from([("fast",), ("smart",), ("fast", "smart"), ("fast", "smart", "cheap")]),
            "job_type": st.sampled_from(["query", "report"]),
            "refund": st.integers(0, 2),
        }
    ),
    max_size=8,
)


@settings(max_examples=20, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(made=sales)
def test_every_grouping_sums_up_to_the_same(db, made):
    teams = [make.customer(credits=0) for _ in range(2)]
    for number, team in enumerate(teams):
        books.give(team.team, 5, key=f"a{number}", price_nanousd_per_credit=333_333_333)
        books.give(team.team, 3, key=f"b{number}", kind="promotional")
        books.give(team.team, 40, key=f"c{number}")
    for sale in made:
        refund = min(sale.pop("refund"), sale["credits"])
        _, entry = sold(teams[sale.pop("who")], **sale)
        if refund:
            books.reverse(entry, refund, key="r")

    totals = {by: asdict(margin.total(margin.by(by))) for by in margin.DIMENSIONS}

    assert len({str(total) for total in totals.values()}) == 1, totals
    assert totals["team"]["revenue"]["charged_micros"] == totals["team"]["usage"]["charged_micros"]


@pytest.mark.parametrize(("by", "queries"), [("team", 5), ("job_type", 5), ("organization", 5), ("model", 6)])
def test_a_margin_takes_a_constant_number_of_queries(buyer, by, queries, django_assert_num_queries):
    books.give(buyer.team, 100, key="a")
    for number in range(6):
        sold(buyer, 1, job_type=f"t{number}", models=("fast", f"m{number}") if number % 2 else ("fast",))

    with django_assert_num_queries(queries):
        margin.by(by)
