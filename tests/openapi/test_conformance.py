"""What holds answers against the document finds what the document does not say."""

import json

import pytest
from django.http import HttpResponse

from tests.openapi import conformance

HEALTHY = {"status": "healthy", "service": "saas-llm-api"}


def answered(body, *, status=200, content_type="application/json"):
    return HttpResponse(json.dumps(body), status=status, content_type=content_type)


def test_an_answer_as_described_is_no_problem():
    assert conformance.problems("GET", "/health", answered(HEALTHY)) == ""


@pytest.mark.parametrize(
    ("response", "said"),
    [
        (answered(HEALTHY | {"more": 1}), "more"),
        (answered({"status": "healthy"}), "service"),
        (answered(HEALTHY | {"status": 1}), "status"),
        (answered(HEALTHY, status=418), "418"),
        (answered(HEALTHY, content_type="text/html"), "text/html"),
    ],
    ids=["another field", "a field less", "another type", "another status", "another medium"],
)
def test_what_is_not_described_is_told_with_what_to_do(response, said):
    found = conformance.problems("GET", "/health", response)

    assert said in found
    assert "apps/openapi" in found
    assert "make openapi" in found


@pytest.mark.parametrize(
    ("method", "path", "operation"),
    [
        ("POST", "/api/jobs/create", "POST /api/jobs/create"),
        ("POST", "/api/jobs/create/", "POST /api/jobs/create"),
        ("GET", "/api/jobs/create", None),
        ("GET", "/api/jobs/1", "GET /api/jobs/{job_id}"),
        ("GET", "/api/jobs/teams/create", "GET /api/jobs/teams/{team_id}"),
        ("GET", "/v1/models/meta/llama", "GET /v1/models/{model}"),
        ("GET", "/admin/", None),
    ],
)
def test_a_request_is_found_as_it_is_routed(method, path, operation):
    assert conformance.described_by(method, path) == operation
