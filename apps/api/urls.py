"""The REST contract's URLs. Canonical paths have no trailing slash; one is tolerated, never redirected."""

from typing import Any

from django.urls import URLPattern, re_path

from apps.api import calls, jobs


def route(path: str, view: Any) -> URLPattern:
    """A path with `{name}` parts, each one segment, with or without a slash at its end."""
    pattern = "".join(f"(?P<{part[1:-1]}>[^/]+)" if part.startswith("{") else part for part in _split(path))
    routed: URLPattern = re_path(rf"^{pattern}/?$", view.as_view())
    return routed


def _split(path: str) -> list[str]:
    parts: list[str] = []
    for segment in path.split("/"):
        parts += [segment, "/"]
    return parts[:-1]


urlpatterns = [
    route("jobs/create", jobs.CreateJob),
    route("jobs/create-and-call", calls.CreateAndCall),
    route("jobs/{job_id}", jobs.OneJob),
    route("jobs/{job_id}/llm-call", calls.LlmCall),
    route("jobs/{job_id}/complete", jobs.CompleteJob),
    route("jobs/{job_id}/metadata", jobs.JobMetadata),
    route("jobs/{job_id}/costs", jobs.JobCosts),
    route("jobs/{job_id}/calls/{call_id}", calls.OneCall),
    route("teams/{team_id}/jobs", jobs.TeamJobs),
]
