"""The way from the ledger to jobs: it spells a job's id as text, each database keeps ids in its own way."""

from typing import Any

from django.db.models import Case, CharField, F, OuterRef, QuerySet, Subquery, UUIDField, Value, When
from django.db.models.expressions import Combinable
from django.db.models.functions import Cast, Replace

from apps.core.db import is_postgresql
from apps.jobs.models import Job

_UUID = "^[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}$"


def of_job(field: str) -> Subquery:
    """A column of the job whose key the outer query has as `job_key`; null where there is no such job."""
    return Subquery(Job.objects.order_by().filter(pk=OuterRef("job_key")).values(field)[:1])


def job_key(spelled: str) -> Combinable:
    """A column with a job's id as text, as a value to compare primary keys with. Other texts are no id."""
    if is_postgresql():
        return Case(When(**{f"{spelled}__regex": _UUID}, then=Cast(spelled, UUIDField())), output_field=UUIDField())
    return Replace(spelled, Value("-"), Value(""))


def jobs_of(account: str) -> str:
    """The path from rows with this account to the jobs of its team."""
    return f"{account}__team__jobs"


def joined(rows: QuerySet[Any, Any], account: str, spelled: str, **columns: Combinable) -> QuerySet[Any, Any]:
    """Rows that name a job as text, with these columns of that job, which begin with `jobs_of(account)`.

    By the jobs of the account's team, which is a join that the database can hash: a subquery for each row takes ten
    times as long. Conditions have to be on these annotations: others would join the jobs once more.
    """
    found: QuerySet[Any, Any] = rows.order_by().exclude(**{spelled: ""}).annotate(**columns)
    pk = f"{jobs_of(account)}__pk"
    if is_postgresql():
        found = found.annotate(job_spelled=Cast(pk, CharField())).filter(job_spelled=F(spelled))
    else:
        found = found.annotate(job_pk=F(pk), job_plain=Replace(spelled, Value("-"), Value("")))
        found = found.filter(job_pk=F("job_plain"))
    return found
