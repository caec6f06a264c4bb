"""Reports of several queries see one instant."""

import pytest

from apps.analytics.instant import one_instant
from apps.jobs.models import Job
from tests.analytics import rows
from tests.api.calling import Caller

pytestmark = pytest.mark.django_db(transaction=True)


@pytest.mark.postgresql
def test_jobs_that_come_in_between_are_not_seen(acme, in_thread):
    rows.job(acme)

    with one_instant():
        before = Job.objects.count()
        in_thread(lambda: rows.job(acme))
        during = Job.objects.count()

    assert (before, during, Job.objects.count()) == (1, 1, 2)


@pytest.mark.parametrize(
    "path",
    [
        "teams/acme/usage?period=2026-03&group_by=model",
        "organizations/{org}/usage?period=2026-03",
        "organizations/{org}/costs",
        "jobs/organizations/{org}/analytics",
        "margin?group_by=model",
    ],
)
def test_reports_work_outside_of_a_transaction(acme, operator_headers, path):
    rows.job(acme, calls=({"model": "fast"}, {"model": "smart"}), credits=1)

    answer = Caller(operator_headers).get(f"/api/{path.format(org=acme.organization.organization_id)}")

    assert answer.status_code == 200
    assert b"smart" in answer.content or "model" not in path
