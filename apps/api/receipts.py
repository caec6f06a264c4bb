"""GET /api/jobs/{job_id}/receipt: why a job cost what it did. To a key without what providers take."""

from rest_framework.request import Request
from rest_framework.response import Response

from apps.api.display import display_of_job
from apps.api.jobs import JobView
from apps.credits import billing
from apps.jobs import receipt_wire, receipts
from apps.organizations.rights import Right


class JobReceipt(JobView):
    """GET /api/jobs/{job_id}/receipt"""

    rights = {"GET": Right.VIEW}

    def get(self, request: Request, job_id: str) -> Response:
        job = self.job(job_id)
        to_operator = self.caller.is_operator
        show_costs = to_operator or billing.shows_costs(job.team)
        body = receipt_wire.as_wire(receipts.of(job), to_operator=to_operator, show_costs=show_costs)
        return Response(body | display_of_job(job.organization, job, show_costs=show_costs))
