"""Rows of the size that pages are measured at, made by PostgreSQL itself: no two alike, all of them always the same.

The ledger of it adds up; calls have no texts, and nobody could use its keys.
"""

# Of our tables' and columns' names, and of numbers.
# ruff: noqa: S608

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import orjson
from django.db import connection, models, transaction

from apps.core.db import is_postgresql
from apps.credits.models import ISSUED_ID, REVENUE_ID, Account, Entry, Grant, GrantUse
from apps.jobs.models import Attempt, Call, Job
from apps.limits.models import Decision
from apps.organizations.models import Organization
from apps.teams.models import Team
from apps.virtual_keys.models import VirtualKey

_GRANTED = 10**15
_TYPES = "(ARRAY['chat', 'summary', 'report', 'extraction', 'translation'])"
_MODELS = "(ARRAY['fast', 'smart', 'cheap', 'long', 'vision'])"
_CODES = "(ARRAY['insufficient_credits', 'rate_limited', 'spend_limit_reached', 'model_not_allowed'])"
# Of calls and jobs: what is like chance and is always the same, from 0 to 999,982.
_CHANCE = "(({0} * 7919 + {1} * 104729) % 999983)"
_COST = f"(10000 + {_CHANCE.format('j.n', 'c.n')} * 7)"
_FAILS = f"{_CHANCE.format('j.n', 'c.n + 17')} % 50 = 0"
_TOOK = f"(200 * power(50, {_CHANCE.format('j.n', 'c.n + 29')} / 999983.0))::int"
_INPUT, _OUTPUT = (f"(50 + {_CHANCE.format('j.n', f'c.n + {k}')} % 2000)" for k in (1, 2))
Progress = Callable[[str], None]


class NotEmpty(Exception):
    """The database has tenants already, or is none of PostgreSQL's."""


@dataclass(frozen=True, slots=True)
class Size:
    """How many rows; calls lie in the last `days`."""

    calls: int = 10_000_000
    jobs: int = 3_000_000
    teams: int = 2_000
    keys: int = 20_000
    days: int = 90


def fill(size: Size, *, progress: Progress = lambda _: None) -> None:
    """Fill an empty database. One transaction.  Raises: NotEmpty."""
    if not is_postgresql():
        raise NotEmpty("Reference data is for PostgreSQL: set DATABASE_URL to a database of its own.")
    if Organization.objects.exists():
        raise NotEmpty("This database has organizations. Reference data goes into a new database, after migrate.")
    with transaction.atomic():
        for name, make in _STEPS:
            progress(name)
            make(size)
    progress("statistics")
    with connection.cursor() as cursor:
        for table in (Organization, Team, VirtualKey, Job, Call, Account, Entry, Grant, GrantUse, Decision):
            cursor.execute(f"ANALYZE {table._meta.db_table}")


def _tenants(size: Size) -> None:
    organizations = max(1, size.teams // 20)
    _insert(
        Organization,
        f"generate_series(1, {organizations}) n",
        id="n",
        organization_id="'reference-' || n",
        name="'Reference ' || n",
        updated_at="now()",
    )
    _insert(
        Team,
        f"generate_series(1, {size.teams}) n",
        id="n",
        organization_id=f"1 + n % {organizations}",
        team_id="'reference-team-' || n",
        updated_at="now()",
    )
    _insert(
        VirtualKey,
        f"generate_series(1, {size.keys}) n",
        id=_uuid("now()", "'key' || n"),
        team_id=f"1 + n % {size.teams}",
        name="'key ' || n",
        prefix="'sk-' || n",
        # No key has this digest: it is none of a keyed hash.
        digest="'reference-' || n",
        expires_at="CASE WHEN n % 500 = 0 THEN now() + n % 12 * interval '1 day' END",
    )
    for table in (Organization, Team):
        _run(
            f"SELECT setval(pg_get_serial_sequence('{table._meta.db_table}', 'id'), (SELECT max(id) FROM "
            f"{table._meta.db_table}))"
        )


def _jobs(size: Size) -> None:
    chance = _CHANCE.format("n", "3")
    _run(
        f"""CREATE TEMPORARY TABLE reference_job ON COMMIT DROP AS
        SELECT n, {_uuid("at", "'job' || n")} AS id, at, team, 1 + team % {max(1, size.teams // 20)} AS organization,
            {_TYPES}[1 + {_CHANCE.format("n", "5")} % 5] AS job_type,
            {_MODELS}[1 + {_CHANCE.format("n", "7")} % 5] AS model,
            CASE WHEN {chance} % 100 < 90 THEN 'completed' WHEN {chance} % 100 < 97 THEN 'failed' ELSE 'cancelled' END
                AS status,
            CASE WHEN {chance} % 100 < 90 THEN 1000000 * (1 + {_CHANCE.format("n", "11")} % 20) ELSE 0 END AS charged,
            (n + 1) * {size.calls} / {size.jobs} - n * {size.calls} / {size.jobs} AS calls
        FROM (SELECT n::bigint, now() - interval '1 minute' - ({size.jobs} - n)::float8 / {size.jobs}
                * interval '{size.days} days' AS at,
            1 + floor({size.teams} * power({_CHANCE.format("n", "13")} / 999983.0, 2))::bigint AS team
            FROM generate_series(0::bigint, {size.jobs} - 1) n) drawn"""
    )
    _run("CREATE INDEX ON reference_job (n); ANALYZE reference_job")
    made = f"""(SELECT count(*) AS total, count(*) FILTER (WHERE {_FAILS}) AS failed,
        coalesce(sum({_INPUT}) FILTER (WHERE NOT {_FAILS}), 0) AS input,
        coalesce(sum({_OUTPUT}) FILTER (WHERE NOT {_FAILS}), 0) AS output,
        coalesce(sum({_TOOK}) FILTER (WHERE NOT {_FAILS}), 0) AS took,
        coalesce(sum({_COST}) FILTER (WHERE NOT {_FAILS}), 0) AS cost FROM generate_series(1, j.calls) c(n)) made"""
    _insert(
        Job,
        f"reference_job j CROSS JOIN LATERAL {made}",
        id="j.id",
        organization_id="j.organization",
        team_id="j.team",
        key_id="'key-' || j.team % 10",
        user_id="'user-' || j.n % 40",
        job_type="j.job_type",
        status="j.status",
        model_groups_used="CASE WHEN j.calls > 0 THEN jsonb_build_array(j.model) ELSE '[]' END",
        charge_state="CASE WHEN j.charged > 0 THEN 'charged' ELSE 'free' END",
        charged_micros="j.charged",
        total_calls="made.total",
        successful_calls="made.total - made.failed",
        failed_calls="made.failed",
        prompt_tokens="made.input",
        completion_tokens="made.output",
        provider_cost_nanousd="made.cost",
        latency_total_ms="made.took",
        created_at="j.at",
        active_at="j.at + interval '50 seconds'",
        completed_at="j.at + interval '50 seconds'",
        closed_by="'key'",
    )


def _calls(size: Size) -> None:
    begins = "j.at + (c.n - 1) * interval '10 seconds'"
    _insert(
        Call,
        "reference_job j CROSS JOIN LATERAL generate_series(1, j.calls) c(n)",
        id=_uuid(begins, "'call' || j.n || '-' || c.n"),
        job_id="j.id",
        organization_id="j.organization",
        team_id="j.team",
        state=f"CASE WHEN {_FAILS} THEN 'failed' ELSE 'succeeded' END",
        model_group_used="j.model",
        model_used="j.model",
        route="'litellm'",
        provider="'reference'",
        provider_model="'reference/' || j.model",
        price_source="'dated'",
        claim="1",
        deadline_at="j.at + interval '10 minutes'",
        wait_until="j.at + interval '1 minute'",
        next_publish_at="j.at",
        fingerprint="md5(j.n::text)",
        prompt_tokens=f"CASE WHEN {_FAILS} THEN 0 ELSE {_INPUT} END",
        completion_tokens=f"CASE WHEN {_FAILS} THEN 0 ELSE {_OUTPUT} END",
        provider_cost_nanousd=f"CASE WHEN {_FAILS} THEN 0 ELSE {_COST} END",
        latency_ms=f"CASE WHEN {_FAILS} THEN NULL ELSE {_TOOK} END",
        error_code=f"CASE WHEN {_FAILS} THEN 'provider_error' ELSE '' END",
        created_at=begins,
        started_at=begins,
        ended_at=f"{begins} + {_TOOK} * interval '1 millisecond'",
    )


def _attempts(_: Size) -> None:
    _insert(
        Attempt,
        "jobs_call c",
        id=_uuid("c.created_at", "'attempt' || c.id"),
        call_id="c.id",
        claim="1",
        state="c.state",
        route="c.route",
        provider_model="c.provider_model",
        worker="'reference'",
        prompt_tokens="c.prompt_tokens",
        completion_tokens="c.completion_tokens",
        cost_nanousd="c.provider_cost_nanousd",
        latency_ms="c.latency_ms",
        error_code="c.error_code",
        started_at="c.started_at",
        ended_at="c.ended_at",
    )


def _ledger(size: Size) -> None:
    _insert(
        Account,
        f"""(SELECT t AS team, coalesce(sum(charged), 0) AS used, count(*) FILTER (WHERE charged > 0) AS charges
        FROM generate_series(1, {size.teams}) t LEFT JOIN reference_job ON team = t GROUP BY t) s""",
        id="s.team",
        kind="'wallet'",
        team_id="s.team",
        posted_micros=f"{_GRANTED} - s.used",
        allocated_micros=f"{_GRANTED}",
        used_micros="s.used",
        seq="s.charges + 1",
    )
    _run("SELECT setval(pg_get_serial_sequence('credits_account', 'id'), (SELECT max(id) FROM credits_account))")
    began = f"now() - interval '{size.days + 1} days'"
    granted = _uuid(began, "'grant' || a.team_id")
    _insert(
        Entry,
        f"credits_account a WHERE a.id BETWEEN 1 AND {size.teams}",
        id=granted,
        kind="'grant'",
        debit_account_id=str(ISSUED_ID),
        credit_account_id="a.id",
        amount_micros=str(_GRANTED),
        credit_seq="1",
        credit_balance_micros=str(_GRANTED),
        actor="'command:fill_reference'",
        idempotency_key="'reference:grant:' || a.id",
        created_at=began,
    )
    lot = _uuid(began, "'lot' || {0}")
    _insert(
        Grant,
        f"credits_account a WHERE a.id BETWEEN 1 AND {size.teams}",
        id=lot.format("a.team_id"),
        account_id="a.id",
        entry_id=granted,
        priority="50",
        amount_micros=str(_GRANTED),
        remaining_micros="a.posted_micros",
        price_nanousd_per_credit="CASE WHEN a.id % 2 = 1 THEN 100000000 END",
        effective_at=began,
        created_at=began,
    )
    charged = _uuid("j.at + interval '50 seconds'", "'charge' || j.n")
    _insert(
        Entry,
        f"""(SELECT *, 1 + row_number() OVER w AS seq, {_GRANTED} - sum(charged) OVER w AS balance
        FROM reference_job WHERE charged > 0 WINDOW w AS (PARTITION BY team ORDER BY n)) j""",
        id=charged,
        kind="'charge'",
        debit_account_id="j.team",
        credit_account_id=str(REVENUE_ID),
        amount_micros="j.charged",
        debit_seq="j.seq",
        debit_balance_micros="j.balance",
        job="j.id::text",
        actor="'job:' || j.id",
        reason="j.job_type",
        idempotency_key="'charge:' || j.id",
        created_at="j.at + interval '50 seconds'",
    )
    _insert(
        GrantUse,
        "reference_job j WHERE j.charged > 0",
        entry_id=charged,
        grant_id=lot.format("j.team"),
        amount_micros="j.charged",
    )


def _refusals(size: Size) -> None:
    _insert(
        Decision,
        "reference_job j WHERE j.n % 15 = 0",
        id=_uuid("j.at", "'decision' || j.n"),
        created_at="j.at",
        organization_id="j.organization",
        team_id="j.team",
        model="j.model",
        code=f"{_CODES}[1 + {_CHANCE.format('j.n', '19')} % 4]",
        message="'Refused, for reference.'",
    )


_STEPS: tuple[tuple[str, Callable[[Size], None]], ...] = (
    ("organizations, teams and keys", _tenants),
    ("jobs", _jobs),
    ("calls", _calls),
    ("attempts", _attempts),
    ("ledger", _ledger),
    ("refusals", _refusals),
)


def _uuid(at: str, seed: str) -> str:
    """A UUIDv7 of an instant, the rest of it drawn from a text."""
    ms = f"lpad(to_hex((extract(epoch FROM {at}) * 1000)::bigint), 12, '0')"
    return f"({ms} || '7' || substr(md5({seed}), 1, 3) || '8' || substr(md5({seed}), 4, 15))::uuid"


def _insert(table: type[models.Model], rows: str, **columns: str) -> None:
    """Rows with these columns; others as Django or the database would set them."""
    for field in table._meta.local_concrete_fields:
        if field.column in columns or field.null or field.primary_key or field.db_default is not models.NOT_PROVIDED:
            continue
        columns[field.column] = _literal(field.get_default())
    names, values = ", ".join(columns), ", ".join(columns.values())
    _run(f"INSERT INTO {table._meta.db_table} ({names}) SELECT {values} FROM {rows}")


def _literal(value: Any) -> str:
    if isinstance(value, bool | int):
        return str(value).lower()
    text = value if isinstance(value, str) else orjson.dumps(value).decode()
    return f"'{text}'"


def _run(statement: str) -> None:
    with connection.cursor() as cursor:
        cursor.execute(statement)
