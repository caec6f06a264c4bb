"""The way from the ledger to jobs: it spells a job's id as text, each database keeps ids in its own way."""

from django.db.models import Case, OuterRef, QuerySet, Subquery, UUIDField, Value, When
from django.db.models.expressions import Combinable
from django.db.models.functions import Cast, Replace

from apps.core.db import is_postgresql
from apps.jobs.models import Job

_UUID = "^[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}$"


def job_key(spelled: str) -> Combinable:
    """A column with a job's id as text, as a value to compare primary keys with. Other texts are no id."""
    if is_postgresql():
        return Case(When(**{f"{spelled}__regex": _UUID}, then=Cast(spelled, UUIDField())), output_field=UUIDField())
    return Replace(spelled, Value("-"), Value(""))


def of_job(field: str, *, jobs: QuerySet[Job, Job] | None = None) -> Subquery:
    """A column of the job whose key the outer query has as `job_key`."""
    found = Job.objects.all() if jobs is None else jobs
    return Subquery(found.order_by().filter(pk=OuterRef("job_key")).values(field)[:1])
