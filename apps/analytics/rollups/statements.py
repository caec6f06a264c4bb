"""The statements that write rollups. Each replaces or adds whole buckets; run them under the watermark's lock."""

# Of our tables' and columns' names; values are parameters.
# ruff: noqa: S608

from datetime import date, datetime
from functools import cache
from typing import Any

from django.db import connection, models

from apps.analytics.models import Bucket, CustomerDay, LatencyBucket, Level, RefusalBucket
from apps.analytics.rollups import sources
from apps.analytics.rollups.sources import Source

_OWNERS = ("organization_id", "team_id")
_WORK = ("job_type", "model")
_PLACES = (*_OWNERS, *_WORK)
_OF_CUSTOMERS = ("organization_id", "team_id", "key_id", "user_id")
BUCKETS: tuple[type[models.Model], ...] = (Bucket, LatencyBucket, RefusalBucket)


def fill_quarter(since: datetime, until: datetime, *, with_refusals: bool) -> None:
    """Replace all rows of the quarter that begins at `since`, of teams and of the platform."""
    for table in BUCKETS:
        if table is RefusalBucket and not with_refusals:
            continue
        table._default_manager.filter(level=Level.TEAM, starts_at=since).delete()
        _run(_of_teams(table), since=since, until=until, level=Level.TEAM)
        _sum_up(table, Level.PLATFORM, Level.TEAM, _WORK, since, until)


def fill_hour(since: datetime, until: datetime) -> None:
    """Replace the platform's rows of an hour of UTC by the sums of its quarters."""
    for table in BUCKETS:
        _sum_up(table, Level.HOUR, Level.PLATFORM, _WORK, since, until)
        _sum_up(table, Level.HOUR_IN_ALL, Level.HOUR, (), since, until)


def fill_day(since: datetime, until: datetime) -> None:
    """Replace the rows of teams' days of UTC by the sums of their quarters."""
    for table in BUCKETS:
        _sum_up(table, Level.DAY, Level.TEAM, _PLACES, since, until)
        _sum_up(table, Level.DAY_IN_ALL, Level.DAY, _OWNERS, since, until)


def fill_customers(day: date, zone: str, since: datetime, until: datetime) -> None:
    """Replace the rows of keys and end customers on a day of the organizations in that zone."""
    CustomerDay.objects.filter(day=day, organization__time_zone=zone).delete()
    _run(_of_customers(), since=since, until=until, day=day, zone=zone)


def _sum_up(
    table: type[models.Model],
    level: Level,
    source: Level,
    dimensions: tuple[str, ...],
    since: datetime,
    until: datetime,
) -> None:
    table._default_manager.filter(level=level, starts_at=since).delete()
    _run(_from_level(table, source, (*dimensions, *_more(table))), since=since, until=until, level=level)


def _run(statement: str, **params: Any) -> None:
    for name in ("since", "until"):
        params[name] = connection.ops.adapt_datetimefield_value(params[name])
    if "day" in params:
        params["day"] = connection.ops.adapt_datefield_value(params["day"])
    if "level" in params:
        params["level"] = int(params["level"])
    with connection.cursor() as cursor:
        cursor.execute(statement, params)


def _figures(table: type[models.Model]) -> tuple[str, ...]:
    """A table's columns that are sums."""
    return tuple(
        field.column
        for field in table._meta.local_concrete_fields
        if isinstance(field, models.BigIntegerField) and not field.primary_key
    )


def _more(table: type[models.Model]) -> tuple[str, ...]:
    if table is LatencyBucket:
        return ("from_ms",)
    return ("code",) if table is RefusalBucket else ()


def _added_up(rows: str, dimensions: tuple[str, ...], figures: tuple[str, ...]) -> tuple[str, str]:
    """Columns to write, and the tail of a SELECT that adds rows up by dimensions. No row where there are none."""
    written = ", ".join((*dimensions, *figures))
    summed = ", ".join((*dimensions, *(f"SUM({name})" for name in figures)))
    grouped = f"GROUP BY {', '.join(dimensions)}" if dimensions else "HAVING COUNT(*) > 0"
    return written, f"{summed} FROM ({rows}) facts {grouped}"


@cache
def _of_teams(table: type[models.Model]) -> str:
    dimensions, figures = (*_PLACES, *_more(table)), _figures(table)
    written, summed = _added_up(_union(_sources_of(table), dimensions, figures), dimensions, figures)
    name = table._meta.db_table
    return f"INSERT INTO {name} (level, starts_at, {written}) SELECT %(level)s, %(since)s, {summed}"


@cache
def _from_level(table: type[models.Model], level: Level, dimensions: tuple[str, ...]) -> str:
    """Sums of another level. What they are not divided by is empty."""
    name, figures = table._meta.db_table, _figures(table)
    rows = f"SELECT * FROM {name} WHERE level = {int(level)} AND starts_at >= %(since)s AND starts_at < %(until)s"
    written, summed = _added_up(rows, dimensions, figures)
    return f"INSERT INTO {name} (level, starts_at, {written}) SELECT %(level)s, %(since)s, {summed}"


@cache
def _of_customers() -> str:
    figures = _figures(CustomerDay)
    found = (sources.calls(), sources.jobs(), sources.charges())
    rows = _union(found, _OF_CUSTOMERS, figures)
    in_zone = "SELECT id FROM organizations_organization WHERE time_zone = %(zone)s"
    rows = f"SELECT * FROM ({rows}) every WHERE organization_id IN ({in_zone})"
    written, summed = _added_up(rows, _OF_CUSTOMERS, figures)
    return f"INSERT INTO {CustomerDay._meta.db_table} (day, {written}) SELECT %(day)s, {summed}"


def _sources_of(table: type[models.Model]) -> tuple[Source, ...]:
    if table is LatencyBucket:
        return (sources.latencies(),)
    if table is RefusalBucket:
        return (sources.refusals(),)
    of_jobs = (sources.calls(), sources.jobs(), sources.charges(), sources.paid())
    return (*of_jobs, sources.granted(), sources.ended())


def _union(found: tuple[Source, ...], dimensions: tuple[str, ...], figures: tuple[str, ...]) -> str:
    return " UNION ALL ".join(source.select(dimensions, figures) for source in found)
