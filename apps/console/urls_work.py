"""Jobs, calls and refusals."""

from collections.abc import Callable
from typing import Any

from django.urls import URLPattern


def patterns(at: Callable[[str, Any, str], URLPattern]) -> list[URLPattern]:
    """Their lists, pages and actions; old addresses of plain pages lead to the new ones."""
    from apps.console.actions import content
    from apps.console.actions import jobs as cancelling
    from apps.console.pages import calls, decision, job, jobs, refusals

    return [
        at("jobs/job/", jobs.JobList, "jobs_job_changelist"),
        at("jobs/job/<str:object_id>/change/", job.OldJobPage, "jobs_job_change"),
        at("job/<str:job_id>/", job.JobPage, "job"),
        at("job/<str:job_id>/receipt.json", job.JobReceiptFile, "job_receipt"),
        at("job/<str:job_id>/cancel/", cancelling.CancelJob, "job_cancel"),
        at("job/<str:job_id>/content/", content.ShowContent, "job_content"),
        at("jobs/call/", calls.CallList, "jobs_call_changelist"),
        at("jobs/call/<str:object_id>/change/", job.OldCallPage, "jobs_call_change"),
        at("call/<str:call_id>/", calls.CallPage, "call"),
        at("limits/decision/", refusals.RefusalList, "limits_decision_changelist"),
        at("limits/decision/<str:object_id>/change/", job.OldDecisionPage, "limits_decision_change"),
        at("decision/<str:decision_id>/", decision.DecisionPage, "decision"),
    ]
