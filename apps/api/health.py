"""Whether this process lives (`/health`, `/livez`) and whether it can do its work (`/readyz`). No credentials."""

from django.db import DatabaseError, connection
from django.http import HttpRequest, HttpResponse
from psycopg_pool import PoolTimeout

from apps.api.rendering import json_response


def health(request: HttpRequest) -> HttpResponse:
    """Answers without looking at anything, so that it answers whatever is down."""
    return json_response({"status": "healthy", "service": "saas-llm-api"})


def ready(request: HttpRequest) -> HttpResponse:
    """200 when the database answers, else 503. Redis only hints, so its absence takes nobody out of service."""
    try:
        with connection.cursor() as cursor:
            cursor.execute("SELECT 1")
    except (DatabaseError, PoolTimeout):
        return json_response({"status": "unavailable", "database": "unreachable"}, status=503)
    return json_response({"status": "ready", "database": "ok"})
