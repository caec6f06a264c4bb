"""Each panel says what the rows say, whatever the range and the filters, in at most three queries."""

from datetime import date, datetime

import pytest
from django.db import connection
from django.test.utils import CaptureQueriesContext

from apps.analytics import dashboard, ranges, rollups
from apps.analytics.dashboard import Dimension, Figure, Measure
from apps.analytics.figures import Filters
from apps.analytics.rollups import filling
from apps.credits.models import Entry
from apps.limits.models import Decision
from tests import make
from tests.analytics import ledgers, rows
from tests.credits import books

pytestmark = pytest.mark.django_db
ALL = Filters()


@pytest.fixture
def clock(monkeypatch):
    def now() -> datetime:
        return rows.instant("20 12:00")

    monkeypatch.setattr(filling.clock, "db_now", now)


@pytest.fixture
def month(clock, acme, globex, settings):
    """Of two teams: jobs in two weeks, a refusal, a refund; the fixture's own grants are of the first day."""
    settings.CREDIT_LIST_PRICE_NANOUSD = 100_000_000
    ledgers.date_all(Entry.objects.all(), rows.instant("1 00:00"))
    for customer, at, credits, fields in (
        (acme, "10 09:00", 2, {"job_type": "report"}),
        (acme, "12 09:20", 5, {"job_type": "query"}),
        (acme, "19 23:50", 3, {"job_type": "query"}),
        (globex, "19 10:00", 1, {"job_type": "report"}),
    ):
        job = rows.job(customer, at, ({"cost": 50_000_000, "latency_ms": 1000}, {"state": "failed"}), **fields)
        books.spend(customer.team, credits, job=str(job.pk))
        ledgers.date_all(Entry.objects.filter(job=str(job.pk)), rows.instant(at))
    rows.job(acme, "19 08:00", ({"model": "smart", "latency_ms": 9000},), status="failed")
    sale = books.give(acme.team, 7, key="sale", price_nanousd_per_credit=1)
    ledgers.date_all(Entry.objects.filter(pk=sale.pk), rows.instant("18 08:00"))
    Decision.objects.create(
        organization=acme.organization,
        team=acme.team,
        code="no_credits",
        message="no",
        created_at=rows.instant("19 08:00"),
    )
    rollups.fill()


def week(zone: str = "UTC") -> ranges.Range:
    return ranges.of_days(date(2026, 3, 14), date(2026, 3, 20), zone)


class TestNumbers:
    def test_they_are_those_of_the_span_and_of_the_one_before(self, month):
        found = dashboard.numbers(week(), ALL)

        assert found.spent_micros == Figure(4_000_000, 7_000_000)
        assert found.sold_micros == Figure(7_000_000, 0)
        assert found.earned_nanousd == Figure(400_000_000, 700_000_000)
        assert found.cost_nanousd == Figure(100_000_000, 100_000_000)
        assert found.margin_nanousd == Figure(300_000_000, 600_000_000)
        assert found.margin_basis_points == Figure(7500, 8571)
        assert found.jobs == Figure(3, 2)
        assert found.completed_basis_points == Figure(6666, 10_000)
        assert found.calls == Figure(5, 4)
        assert found.error_basis_points == Figure(4000, 5000)
        assert found.refusals == Figure(1, 0)
        assert (found.is_estimated, found.unpriced_calls) == (True, 3)

    def test_latencies_are_within_8_percent(self, month):
        found = dashboard.numbers(week(), ALL)

        assert 920 <= found.p50_ms.now <= 1080
        assert 8280 <= found.p95_ms.now <= 9720
        assert found.p95_ms.before == found.p50_ms.before == found.p50_ms.now

    def test_filters_narrow_them(self, month, acme, globex):
        for filters, spent in (
            (Filters(team=acme.team.pk), 3_000_000),
            (Filters(organization=globex.organization.pk), 1_000_000),
            (Filters(job_type="report"), 1_000_000),
            (Filters(team=acme.team.pk, job_type="report"), 0),
            (Filters(model="smart"), 0),
        ):
            assert dashboard.numbers(week(), filters).spent_micros.now == spent

    def test_what_is_sold_is_of_no_job_type(self, month):
        assert dashboard.numbers(week(), Filters(job_type="query")).sold_micros == Figure(None)

    def test_of_nothing_there_are_no_shares(self, clock):
        found = dashboard.numbers(week(), ALL)

        assert (found.jobs, found.completed_basis_points, found.p50_ms) == (Figure(0, 0), Figure(None), Figure(None))


class TestHoldings:
    def test_they_are_those_of_now(self, acme, globex):
        books.hold(acme.team, 10, job="open")
        books.give(acme.team, 5, key="soon", expires_at=ranges.clock.now() + dashboard.EXPIRING_WITHIN / 2)
        books.give(acme.team, 5, key="later", expires_at=ranges.clock.now() + dashboard.EXPIRING_WITHIN * 2)

        both, own = dashboard.holdings(ALL), dashboard.holdings(Filters(team=acme.team.pk))

        assert (both.held_micros, both.available_micros, both.expiring_micros) == (10_000_000, 200_000_000, 5_000_000)
        assert own.available_micros == 100_000_000
        assert dashboard.holdings(Filters(organization=globex.organization.pk)).expiring_micros == 0


class TestCharts:
    def test_points_add_up_to_the_numbers(self, month):
        for span in (week(), week("Asia/Kathmandu"), week("America/New_York")):
            numbers = dashboard.numbers(span, ALL)
            credits, jobs = dashboard.credits_chart(span, ALL), dashboard.jobs_chart(span, ALL)
            money, refusals = dashboard.money_chart(span, ALL), dashboard.refusals_chart(span, ALL)

            assert {len(credits), len(jobs), len(money), len(refusals)} == {len(span.points)}
            assert sum(each.spent_micros for each in credits) == numbers.spent_micros.now
            assert sum(each.sold_micros for each in credits) == numbers.sold_micros.now
            assert sum(each.completed + each.failed + each.cancelled for each in jobs) == numbers.jobs.now
            assert sum(each.earned_nanousd for each in money) == numbers.earned_nanousd.now
            assert sum(each.cost_nanousd for each in money) == numbers.cost_nanousd.now
            assert sum(sum(each.values()) for each in refusals) == numbers.refusals.now

    @pytest.mark.parametrize(("zone", "place"), [("UTC", 5), ("Europe/Berlin", 6)])
    def test_a_day_is_the_zones(self, month, zone, place):
        """23:50 of UTC is the next day in Berlin."""
        spent = [each.spent_micros for each in dashboard.credits_chart(week(zone), Filters(job_type="query"))]

        assert [index for index, micros in enumerate(spent) if micros] == [place]

    def test_latencies_are_of_their_day(self, month):
        found = dashboard.latency_chart(week(), ALL)

        assert [index for index, each in enumerate(found) if each.p50_ms is not None] == [5]
        assert 8280 <= found[5].p95_ms <= 9720

    def test_a_point_without_revenue_has_no_margin_in_percent(self, month):
        assert {each.margin_basis_points for each in dashboard.money_chart(week(), ALL)} == {None, 7500}

    def test_refusals_are_by_code(self, month):
        assert dashboard.refusals_chart(week(), ALL)[5] == {"no_credits": 1}


class TestTables:
    def test_the_largest_first_and_the_others_summed_up(self, month, acme, globex):
        found = dashboard.table(Dimension.TEAM, Measure.SPEND, week(), ALL, limit=1)

        assert [(row.name, row.key, row.sums.spent_micros) for row in found.rows] == [
            ("acme", acme.team.pk, 3_000_000)
        ]
        assert (found.others, found.other.spent_micros, found.other.calls) == (1, 1_000_000, 2)

    @pytest.mark.parametrize("dimension", Dimension)
    @pytest.mark.parametrize("zone", ["UTC", "Asia/Kathmandu"])
    def test_every_table_adds_up_to_the_numbers(self, month, dimension, zone):
        numbers = dashboard.numbers(week(zone), ALL)

        found = dashboard.table(dimension, Measure.CALLS, week(zone), ALL, limit=1)

        for name, figure in (("calls", numbers.calls), ("cost_nanousd", numbers.cost_nanousd)):
            assert sum(getattr(row.sums, name) for row in found.rows) + getattr(found.other, name) == figure.now

    @pytest.mark.parametrize("measure", Measure)
    def test_every_measure_orders(self, month, measure):
        read = dashboard._ORDER[measure]

        ordered = [read(row.sums) for row in dashboard.table(Dimension.JOB_TYPE, measure, week(), ALL).rows]

        assert ordered == sorted(ordered)


def panels():
    span = week()
    found = {
        "numbers": lambda: dashboard.numbers(span, ALL),
        "holdings": lambda: dashboard.holdings(ALL),
        "credits": lambda: dashboard.credits_chart(span, ALL),
        "jobs": lambda: dashboard.jobs_chart(span, ALL),
        "latency": lambda: dashboard.latency_chart(span, ALL),
        "money": lambda: dashboard.money_chart(span, ALL),
        "refusals": lambda: dashboard.refusals_chart(span, ALL),
    }
    for dimension in Dimension:
        found[f"table of {dimension}"] = lambda dimension=dimension: dashboard.table(
            dimension, Measure.SPEND, span, ALL
        )
    return found


def test_no_panel_takes_more_than_three_queries_or_more_for_more_rows(month, acme):
    def counted():
        found = {}
        for name, panel in panels().items():
            with CaptureQueriesContext(connection) as captured:
                panel()
            found[name] = len(captured)
        return found

    few = counted()
    for number in range(5):
        other = make.customer(credits=3)
        rows.job(other, "19 10:00", ({"model": f"m-{number}"},), job_type=f"type-{number}")
    rollups.rebuild(rows.instant("19 00:00"), rows.instant("20 00:00"))

    assert counted() == few
    assert max(few.values()) <= 3
