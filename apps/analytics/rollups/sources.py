"""What is added up, as SELECTs that both databases understand: one row a call, job or entry, its figures by name.

Each takes `%(since)s` and `%(until)s`. Times are the instants at which rows reached their last state, so that a row
belongs to one bucket for ever.
"""

# Of names that stand here; values are parameters.
# ruff: noqa: S608

from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cache

from apps.analytics.latency import BOUNDS_MS
from apps.core.db import is_postgresql
from apps.core.money import MICROS

DIMENSIONS = ("organization_id", "team_id", "job_type", "model", "key_id", "user_id")
_SOLD = "('paid', 'subscription')"
_UUID = "'^[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}$'"
_OF_JOB = {"job_type": "j.job_type", "key_id": "j.key_id", "user_id": "j.user_id"}
_FIRST_MODEL = "COALESCE(j.model_groups_used ->> 0, '')"
_IN_SPAN = "{0} >= %(since)s AND {0} < %(until)s"


@dataclass(frozen=True, slots=True)
class Source:
    """Where rows come from, which of them, and what they say in dimensions and figures."""

    tables: str
    where: str
    dimensions: Mapping[str, str]
    figures: Mapping[str, str] = field(default_factory=dict)

    def select(self, dimensions: tuple[str, ...], figures: tuple[str, ...]) -> str:
        """Its rows with these columns, 0 and empty where it has none."""
        columns = [f"{self.dimensions.get(name, _EMPTY)} AS {name}" for name in dimensions]
        columns += [f"{self.figures.get(name, '0')} AS {name}" for name in figures]
        return " ".join(("SELECT", ", ".join(columns), "FROM", self.tables, "WHERE", self.where))


_EMPTY = "''"


def _one_if(condition: str) -> str:
    return f"CASE WHEN {condition} THEN 1 ELSE 0 END"


def calls() -> Source:
    """Calls that ended."""
    return Source(
        "jobs_call c JOIN jobs_job j ON j.id = c.job_id",
        _IN_SPAN.format("c.ended_at"),
        {**_OF_JOB, "organization_id": "c.organization_id", "team_id": "c.team_id", "model": "c.model_group_used"},
        {
            **{f"calls_{state}": _one_if(f"c.state = '{state}'") for state in _ENDS_OF_CALLS},
            "unpriced_calls": _one_if("c.state = 'succeeded' AND c.price_source = 'none'"),
            "prompt_tokens": "c.prompt_tokens",
            "completion_tokens": "c.completion_tokens",
            "provider_cost_nanousd": "c.provider_cost_nanousd",
        },
    )


def jobs() -> Source:
    """Jobs that closed; one of several models counts for the first."""
    return Source(
        "jobs_job j",
        _IN_SPAN.format("j.completed_at"),
        {**_OF_JOB, "organization_id": "j.organization_id", "team_id": "j.team_id", "model": _FIRST_MODEL},
        {
            **{f"jobs_{status}": _one_if(f"j.status = '{status}'") for status in _ENDS_OF_JOBS},
            "lost_cost_nanousd": "j.lost_cost_nanousd",
        },
    )


def charges() -> Source:
    """Charges and their refunds. What no lot is known to have paid is an estimate: `paid` takes the rest off."""
    is_charge = "e.kind = 'charge'"
    amount = _share("e.amount_micros")
    return Source(
        _entries_of_jobs(),
        _of_jobs(),
        _OF_ENTRY,
        {
            "charged_micros": f"CASE WHEN {is_charge} THEN {amount} ELSE 0 END",
            "refunded_micros": f"CASE WHEN {is_charge} THEN 0 ELSE {amount} END",
            "estimated_micros": f"CASE WHEN {is_charge} THEN {amount} ELSE -({amount}) END",
        },
    )


def paid() -> Source:
    """By lots: what those with a price earned. Rounded towards 0 to the nano-dollar for each lot and entry."""
    amount, price = _share("u.amount_micros"), "g.price_nanousd_per_credit"
    # Whole credits and the rest apart: the product of all would not fit.
    money = f"(({amount}) / {MICROS} * {price} + ({amount}) %% {MICROS} * {price} / {MICROS})"
    return Source(
        f"{_entries_of_jobs()} JOIN credits_grantuse u ON u.entry_id = e.id"
        " JOIN credits_grant g ON g.id = u.grant_id",
        _of_jobs(),
        _OF_ENTRY,
        {
            "revenue_nanousd": f"CASE WHEN g.kind IN {_SOLD} AND {price} IS NOT NULL THEN {money} ELSE 0 END",
            "estimated_micros": f"CASE WHEN g.kind IN {_SOLD} AND {price} IS NULL THEN 0 ELSE -({amount}) END",
        },
    )


def granted() -> Source:
    """Lots that were granted; not those that moved from a pool."""
    return Source(
        "credits_entry e JOIN credits_grant g ON g.entry_id = e.id"
        " JOIN credits_account a ON a.id = e.credit_account_id LEFT JOIN teams_team t ON t.id = a.team_id",
        f"{_IN_SPAN.format('e.created_at')} AND e.kind = 'grant'",
        _OF_OWNER,
        {
            "sold_micros": f"CASE WHEN g.kind IN {_SOLD} THEN g.amount_micros ELSE 0 END",
            "given_micros": f"CASE WHEN g.kind IN {_SOLD} THEN 0 ELSE g.amount_micros END",
        },
    )


def ended() -> Source:
    """What expired or was taken back."""
    was_sold = f"EXISTS (SELECT 1 FROM credits_grant g WHERE g.entry_id = e.reverses_id AND g.kind IN {_SOLD})"
    return Source(
        "credits_entry e JOIN credits_account a ON a.id = e.debit_account_id"
        " LEFT JOIN teams_team t ON t.id = a.team_id",
        f"{_IN_SPAN.format('e.created_at')} AND e.kind IN ('expire', 'take_back')",
        _OF_OWNER,
        {
            "expired_micros": "CASE WHEN e.kind = 'expire' THEN e.amount_micros ELSE 0 END",
            "taken_back_micros": f"CASE WHEN e.kind = 'take_back' AND {was_sold} THEN e.amount_micros ELSE 0 END",
        },
    )


def latencies() -> Source:
    """Calls that succeeded, by the bound of what they took."""
    source = calls()
    where = f"{source.where} AND c.state = 'succeeded' AND c.latency_ms IS NOT NULL"
    return Source(source.tables, where, {**source.dimensions, "from_ms": _from_ms("c.latency_ms")}, {"calls": "1"})


def refusals() -> Source:
    """Refused calls, with the type of the job that they were of."""
    return Source(
        f"limits_decision d LEFT JOIN jobs_job j ON j.id = {_job_key('d.job_id')}",
        _IN_SPAN.format("d.created_at"),
        {
            "organization_id": "d.organization_id",
            "team_id": "d.team_id",
            "job_type": "COALESCE(j.job_type, '')",
            "model": "d.model",
            "code": "d.code",
        },
        {"refusals": "1"},
    )


_ENDS_OF_JOBS = ("completed", "failed", "cancelled")
_ENDS_OF_CALLS = ("succeeded", "failed", "cancelled", "expired")
_OF_OWNER = {"organization_id": "COALESCE(a.organization_id, t.organization_id)", "team_id": "a.team_id"}
_OF_ENTRY = {
    "organization_id": "t.organization_id",
    "team_id": "a.team_id",
    "model": f"COALESCE(p.model, {_FIRST_MODEL})",
    **{name: f"COALESCE({column}, '')" for name, column in _OF_JOB.items()},
}


def _of_jobs() -> str:
    return f"{_IN_SPAN.format('e.created_at')} AND e.kind IN ('charge', 'refund')"


def _entries_of_jobs() -> str:
    return (
        "credits_entry e JOIN credits_account a"
        " ON a.id = CASE WHEN e.kind = 'charge' THEN e.debit_account_id ELSE e.credit_account_id END"
        f" JOIN teams_team t ON t.id = a.team_id LEFT JOIN jobs_job j ON j.id = {_job_key('e.job')}"
        f" LEFT JOIN ({_parts()}) p ON p.job_id = j.id"
    )


def _parts() -> str:
    """Of the jobs of several models that these entries are about: where each model's share begins and ends, in
    millionths. By what its calls cost, else by their number."""
    key = _job_key("named.job")
    ended = "SUM(weight) OVER (PARTITION BY job_id ORDER BY model)"
    whole = "SUM(weight) OVER (PARTITION BY job_id)"
    several = (
        f"SELECT {key} FROM credits_entry named WHERE {_IN_SPAN.format('named.created_at')}"
        " AND named.kind IN ('charge', 'refund')"
    )
    weights = (
        "SELECT c.job_id, c.model_group_used AS model, CASE WHEN SUM(SUM(c.provider_cost_nanousd))"
        " OVER (PARTITION BY c.job_id) > 0 THEN SUM(c.provider_cost_nanousd) ELSE COUNT(*) END AS weight"
        " FROM jobs_call c JOIN jobs_job s ON s.id = c.job_id"
        f" WHERE s.model_groups_used ->> 1 IS NOT NULL AND c.job_id IN ({several})"
        " GROUP BY c.job_id, c.model_group_used"
    )
    return (
        f"SELECT job_id, model, CAST({ended} AS BIGINT) * 1000000 / CAST({whole} AS BIGINT) AS ends_ppm,"
        f" CAST({ended} - weight AS BIGINT) * 1000000 / CAST({whole} AS BIGINT) AS begins_ppm FROM ({weights}) w"
    )


def _share(amount: str) -> str:
    """The model's part of an amount; parts sum up to it."""
    part = f"{amount} * p.ends_ppm / 1000000 - {amount} * p.begins_ppm / 1000000"
    return f"CASE WHEN p.job_id IS NULL THEN {amount} ELSE {part} END"


def _job_key(spelled: str) -> str:
    """A job's id that is kept as text, as the database keeps ids."""
    if is_postgresql():
        return f"CASE WHEN {spelled} ~ {_UUID} THEN CAST({spelled} AS uuid) END"
    return f"REPLACE({spelled}, '-', '')"


@cache
def _cases(column: str) -> str:
    bounds = " ".join(f"WHEN {column} >= {bound} THEN {bound}" for bound in reversed(BOUNDS_MS))
    return f"CASE {bounds} END"


def _from_ms(column: str) -> str:
    """The largest bound that is not above."""
    if is_postgresql():
        bounds = f"ARRAY[{', '.join(map(str, BOUNDS_MS))}]"
        return f"({bounds})[width_bucket({column}, {bounds})]"
    return _cases(column)
