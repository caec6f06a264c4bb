"""Health needs no credentials and no database; readiness needs the database."""

import pytest
from django.db import connection
from django.db.utils import OperationalError
from django.test import Client


def test_health_asks_nothing(nobody, django_assert_num_queries):
    with django_assert_num_queries(0):
        for path in ("/health", "/livez"):
            answer = nobody.get(path)
            assert (answer.status_code, answer.json()) == (200, {"status": "healthy", "service": "saas-llm-api"})


def test_ready_asks_the_database(nobody, django_assert_num_queries):
    with django_assert_num_queries(1):
        answer = nobody.get("/readyz")

    assert (answer.status_code, answer.json()["status"]) == (200, "ready")


def test_not_ready_without_the_database(nobody, monkeypatch):
    def refuse():
        raise OperationalError("no")

    with monkeypatch.context() as patch:
        patch.setattr(connection, "cursor", refuse)
        answer = nobody.get("/readyz")

    assert (answer.status_code, answer.json()["status"]) == (503, "unavailable")


@pytest.mark.parametrize("path", ["/health", "/livez", "/readyz"])
@pytest.mark.parametrize("method", ["POST", "DELETE", "TRACE", "QUERY"])
def test_probes_are_read_alone(db, path, method):
    answer = Client(enforce_csrf_checks=True).generic(method, path)

    assert (answer.status_code, answer.json()) == (405, {"detail": "Method Not Allowed"})
    assert answer["Allow"] == "GET, HEAD"


def test_a_probe_may_ask_for_the_head_alone(db):
    assert Client().head("/health").status_code == 200
