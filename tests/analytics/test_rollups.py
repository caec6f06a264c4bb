"""Rollups are sums of the rows of their time, whatever was filled when, how often and by whom."""

from datetime import date
from uuid import uuid4

import pytest
from django.db.models import Sum
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from apps.analytics import rollups
from apps.analytics.models import Bucket, CustomerDay, LatencyBucket, Level, RefusalBucket, Watermark
from apps.analytics.rollups import filling, statements
from apps.credits.models import Entry, Grant
from apps.jobs.models import Call, Job
from apps.limits.models import Decision
from apps.organizations.models import Organization
from tests.analytics import ledgers, rows
from tests.credits import books

pytestmark = pytest.mark.django_db
MARCH_15 = rows.instant("15 00:00")


@pytest.fixture
def march(monkeypatch):
    """The database's clock, as the filler sees it: all entries of the fixtures are of before."""

    def at(text: str):
        monkeypatch.setattr(filling.clock, "db_now", lambda: rows.instant(text))

    at("16 00:00")
    return at


def date_entries(text: str, **which) -> None:
    ledgers.date_all(Entry.objects.filter(**which), rows.instant(text))


def sums(level: Level, *names: str, **which):
    found = Bucket.objects.filter(level=level, **which).aggregate(**{name: Sum(name) for name in names})
    return tuple(found[name] or 0 for name in names)


def everything():
    """All rollups as plain values, without their keys."""
    found = {}
    for table in (*statements.BUCKETS, CustomerDay):
        names = [field.attname for field in table._meta.concrete_fields if not field.primary_key]
        found[table.__name__] = sorted(map(str, table.objects.values_list(*names)))
    return found


def test_rows_lie_in_the_quarter_of_their_end(acme, march):
    date_entries("1 00:00")
    rows.job(acme, "15 09:14", ({"cost": 7},), job_type="report")
    rows.job(acme, "15 09:15", ({"cost": 5, "state": "failed"}, {"cost": 5}), job_type="report")

    rollups.fill()

    buckets = Bucket.objects.filter(level=Level.TEAM, job_type="report").order_by("starts_at")
    assert [
        (row.starts_at, row.calls_succeeded, row.calls_failed, row.provider_cost_nanousd, row.jobs_completed)
        for row in buckets
    ] == [
        (rows.instant("15 09:00"), 1, 0, 7, 0),
        # Its job closed a minute later, in the next quarter.
        (rows.instant("15 09:15"), 1, 1, 5, 2),
    ]
    assert {(row.organization, row.team, row.model) for row in buckets} == {(acme.organization, acme.team, "chat")}


def test_every_level_has_the_same_sums(acme, globex, march):
    date_entries("1 00:00")
    for customer, at in ((acme, "14 23:59"), (globex, "15 00:00"), (acme, "15 12:00")):
        rows.job(customer, at, ({"cost": 3}, {"model": "smart", "cost": 4}))

    rollups.fill()

    figures = ("calls_succeeded", "jobs_completed", "provider_cost_nanousd", "prompt_tokens", "sold_micros")
    assert sums(Level.TEAM, *figures) == sums(Level.PLATFORM, *figures) == sums(Level.DAY, *figures)
    assert sums(Level.TEAM, *figures) == (6, 3, 21, 60, 200 * books.CREDIT)


def test_a_day_is_summed_when_it_is_over(acme, march):
    date_entries("1 00:00")
    rows.job(acme, "15 22:00", ({},))
    march("15 23:00")
    rollups.fill()
    assert not Bucket.objects.filter(level=Level.DAY, starts_at=MARCH_15).exists()

    march("16 00:01")
    rollups.fill()

    assert sums(Level.DAY, "calls_succeeded", starts_at=MARCH_15) == (1,)


def test_a_day_is_summed_also_after_days_without_a_row(acme, march):
    date_entries("1 00:00")
    rows.job(acme, "3 22:00", ({},))
    march("3 23:00")
    rollups.fill()
    rows.job(acme, "9 10:00", ({},))
    march("9 12:00")

    rollups.fill()

    assert sums(Level.DAY, "calls_succeeded", starts_at=rows.instant("3 00:00")) == (1,)
    assert rollups.filled_until() == rows.instant("9 12:00")


def test_what_became_visible_late_is_counted(acme, march):
    date_entries("1 00:00")
    march("15 12:05")
    rollups.fill()
    rows.job(acme, "15 12:00", ({},))
    march("15 12:06")

    rollups.fill()

    assert sums(Level.TEAM, "calls_succeeded") == (1,)


def test_filling_twice_changes_nothing(acme, march):
    date_entries("14 00:00")
    rows.job(acme, "15 12:00", ({"latency_ms": 5}, {"state": "failed"}), user_id="ann", key_id="k")
    rollups.fill()
    once = everything()

    rollups.fill()
    rollups.rebuild(rows.instant("1 00:00"), rows.instant("16 00:00"))

    assert everything() == once


def test_a_rebuild_puts_right_what_was_changed_by_hand(acme, march):
    date_entries("1 00:00")
    rows.job(acme, "15 12:00", ({"latency_ms": 5},), user_id="ann")
    rollups.fill()
    right = everything()
    for table in (Bucket, LatencyBucket, CustomerDay):
        table.objects.update(**{"calls" if table is LatencyBucket else "calls_succeeded": 77})

    rollups.rebuild(rows.instant("1 00:00"), rows.instant("16 00:00"))

    assert everything() == right


def test_a_long_absence_is_made_up_for_in_pieces(acme, march, monkeypatch):
    monkeypatch.setattr(filling, "_PIECES_A_RUN", 2)
    date_entries("1 00:00")
    for day in range(3, 9):
        rows.job(acme, f"{day} 10:00", ({},))
    runs = 0

    while rollups.fill().is_behind:
        runs += 1

    assert runs >= 2
    assert sums(Level.DAY, "calls_succeeded") == (6,)
    assert rollups.filled_until() == rows.instant("16 00:00")


def test_a_run_that_fails_leaves_all_as_it_was(acme, march, monkeypatch):
    date_entries("1 00:00")
    rollups.fill()
    before, until = everything(), rollups.filled_until()
    rows.job(acme, "15 23:59", ({},))
    march("16 00:20")
    monkeypatch.setattr(filling, "_move", lambda *_: 1 / 0)

    with pytest.raises(ZeroDivisionError):
        rollups.fill()

    assert (everything(), rollups.filled_until()) == (before, until)


def spend(team, credits: int, job: Job) -> Entry:
    return books.spend(team, credits, job=str(job.pk))


def test_revenue_is_what_the_lots_that_paid_were_sold_for(acme, march):
    team = acme.team
    books.give(team, 2, key="gift", kind=Grant.Kind.PROMOTIONAL)
    # The first grant of the fixture has no price.
    books.give(team, 5, key="sold", kind=Grant.Kind.PAID, price_nanousd_per_credit=30_000_000)
    Grant.objects.filter(price_nanousd_per_credit=None, kind="paid").update(priority=60)
    job = rows.job(acme, "15 12:00", ({},), job_type="report")
    charge = spend(team, 8, job)
    date_entries("15 12:20")

    rollups.fill()

    row = Bucket.objects.get(level=Level.TEAM, job_type="report", charged_micros__gt=0)
    assert (row.charged_micros, row.revenue_nanousd, row.estimated_micros) == (8_000_000, 150_000_000, 1_000_000)
    assert (row.model, row.starts_at) == ("chat", rows.instant("15 12:15"))
    assert sums(Level.TEAM, "sold_micros", "given_micros") == (105_000_000, 2_000_000)

    books.reverse(charge, 8, key="back")
    date_entries("15 13:00", kind="refund")
    rollups.rebuild(MARCH_15, MARCH_15)
    rollups.rebuild(MARCH_15, rows.instant("15 14:00"))

    assert sums(Level.TEAM, "charged_micros", "refunded_micros") == (8_000_000, 8_000_000)
    assert sums(Level.TEAM, "revenue_nanousd", "estimated_micros") == (0, 0)


def test_money_that_does_not_fit_when_multiplied_at_once_is_exact(acme, march):
    price = 9_000_000_001
    books.give(acme.team, 3_000_000, key="sold", kind=Grant.Kind.PAID, price_nanousd_per_credit=price)
    Grant.objects.filter(price_nanousd_per_credit=price).update(priority=1)
    job = rows.job(acme, "15 12:00", ({},))
    books.ledger.hold(acme.team, job=str(job.pk), amount_micros=2_999_999_000_001)
    books.ledger.charge(acme.team, job=str(job.pk), amount_micros=2_999_999_000_001)
    date_entries("15 12:00")

    rollups.fill()

    assert sums(Level.TEAM, "revenue_nanousd") == (2_999_999_000_001 * price // 1_000_000,)


def test_charges_of_several_models_are_split_by_what_their_calls_cost(acme, march):
    job = rows.job(acme, "15 12:00", ({"model": "a", "cost": 1}, {"model": "b", "cost": 3}))
    free = rows.job(acme, "15 12:00", ({"model": "a"}, {"model": "b"}, {"model": "b"}))
    spend(acme.team, 4, job)
    spend(acme.team, 1, free)
    date_entries("15 12:00")

    rollups.fill()

    found = dict(Bucket.objects.filter(level=Level.TEAM, charged_micros__gt=0).values_list("model", "charged_micros"))
    assert found == {"a": 1_333_333, "b": 3_666_667}


def test_entries_about_no_job_are_counted_for_their_team(acme, march):
    books.spend(acme.team, 3, job="no job's id")
    date_entries("15 12:00")

    rollups.fill()

    assert sums(Level.TEAM, "charged_micros", team=acme.team, job_type="", model="") == (3_000_000,)


def test_what_was_taken_back_of_what_was_sold(acme, march):
    grant = books.give(acme.team, 5, key="sold", kind=Grant.Kind.PAID)
    gift = books.give(acme.team, 5, key="gift", kind=Grant.Kind.PROMOTIONAL)
    books.reverse(grant, 2, key="1")
    books.reverse(gift, 3, key="2")
    date_entries("15 12:00")

    rollups.fill()

    assert sums(Level.TEAM, "taken_back_micros") == (2_000_000,)


def test_refusals_by_code_and_those_too_old_to_be_rebuilt(acme, march, settings):
    date_entries("1 00:00")
    job = rows.job(acme, "15 12:00", job_type="report")
    for code, job_id in (("no_credits", str(job.pk)), ("no_credits", ""), ("rate_limited", "not an id")):
        Decision.objects.create(
            organization=acme.organization,
            team=acme.team,
            code=code,
            job_id=job_id,
            model="chat",
            message="no",
            created_at=rows.instant("15 12:00"),
        )
    rollups.fill()
    found = RefusalBucket.objects.filter(level=Level.TEAM).values_list("code", "job_type", "refusals")
    assert sorted(found) == [("no_credits", "", 1), ("no_credits", "report", 1), ("rate_limited", "", 1)]

    Decision.objects.all().delete()
    march("20 00:00")
    settings.DECISION_RETENTION_DAYS = 4
    rollups.rebuild(MARCH_15, rows.instant("16 00:00"))

    assert RefusalBucket.objects.filter(level=Level.TEAM).count() == 3


def test_keys_and_end_customers_by_the_organizations_own_day(acme, globex, march):
    date_entries("1 00:00")
    Organization.objects.filter(pk=acme.organization.pk).update(time_zone="Asia/Kathmandu")
    march("17 00:00")
    for customer in (acme, globex):
        # A quarter past midnight of the next day in Kathmandu.
        job = rows.job(customer, "15 18:30", ({"cost": 2}, {"state": "failed"}), key_id="k", user_id="ann")
        spend(customer.team, 2, job)
    date_entries("15 18:31", kind="charge")

    rollups.fill()

    found = CustomerDay.objects.filter(user_id="ann").values_list(
        "team", "day", "key_id", "calls_succeeded", "calls_failed", "provider_cost_nanousd", "charged_micros"
    )
    assert sorted(found) == sorted(
        (customer.team.pk, date(2026, 3, day), "k", 1, 1, 2, 2_000_000)
        for customer, day in ((acme, 16), (globex, 15))
    )


made = st.lists(
    st.fixed_dictionaries(
        {
            "at": st.sampled_from(["2 00:00", "2 23:59", "3 00:14", "3 00:15", "14 12:00"]),
            "job_type": st.sampled_from(["query", "report"]),
            "status": st.sampled_from(["completed", "failed", "cancelled", "in_progress"]),
            "lost_cost_nanousd": st.integers(0, 9),
            "charge": st.integers(0, 5),
            "calls": st.lists(
                st.fixed_dictionaries(
                    {
                        "model": st.sampled_from(["fast", "smart"]),
                        "state": st.sampled_from(["succeeded", "failed", "cancelled", "expired", "running"]),
                        "cost": st.integers(0, 1000),
                        "latency_ms": st.integers(0, 700_000),
                    }
                ),
                max_size=3,
            ).map(tuple),
        }
    ),
    max_size=6,
)


@settings(max_examples=20, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(made=made)
def test_sums_are_those_of_the_rows(acme, march, made):
    run = uuid4().hex
    for one in made:
        charge = one.pop("charge")
        job = rows.job(acme, one.pop("at"), one.pop("calls"), user_id=run, **one)
        if charge and available(acme.team) >= charge * books.CREDIT:
            spend(acme.team, charge, job)
    date_entries("14 12:00")
    Watermark.objects.all().delete()
    rollups.fill()
    rollups.rebuild(rows.instant("1 00:00"), rows.instant("16 00:00"))

    ended = Call.objects.exclude(state__in=Call.OPEN_STATES)
    expected = (
        ended.count(),
        ended.aggregate(Sum("provider_cost_nanousd"))["provider_cost_nanousd__sum"] or 0,
        Job.objects.filter(completed_at__isnull=False).count(),
        Entry.objects.filter(kind="charge").aggregate(Sum("amount_micros"))["amount_micros__sum"] or 0,
    )
    for level in Level:
        found = sums(
            level,
            *(f"calls_{state}" for state in ("succeeded", "failed", "cancelled", "expired")),
            "provider_cost_nanousd",
            *(f"jobs_{status}" for status in ("completed", "failed", "cancelled")),
            "charged_micros",
        )
        assert (sum(found[:4]), found[4], sum(found[5:8]), found[8]) == expected
    succeeded = ended.filter(state="succeeded").count()
    for level in Level:
        assert (LatencyBucket.objects.filter(level=level).aggregate(Sum("calls"))["calls__sum"] or 0) == succeeded


def available(team) -> int:
    account = books.wallet(team)
    return account.posted_micros - account.held_micros


def test_nothing_to_fill_moves_the_watermark(db, march):
    assert rollups.fill().quarters == 0
    march("17 00:00")
    rollups.fill()

    assert rollups.filled_until() == rows.instant("17 00:00")
