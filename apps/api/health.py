"""Whether this process lives (`/health`, `/livez`) and whether it can do its work (`/readyz`). No credentials."""

from collections.abc import Callable
from functools import wraps

from django.db import DatabaseError, connection
from django.http import HttpRequest, HttpResponse
from django.views.decorators.csrf import csrf_exempt
from psycopg_pool import PoolTimeout

from apps.api.rendering import json_response

Probe = Callable[[HttpRequest], HttpResponse]


def _read_only(view: Probe) -> Probe:
    """Any method but GET and HEAD is answered as everywhere under /api."""

    @csrf_exempt
    @wraps(view)
    def answer(request: HttpRequest) -> HttpResponse:
        if request.method in ("GET", "HEAD"):
            return view(request)
        response = json_response({"detail": "Method Not Allowed"}, status=405)
        response["Allow"] = "GET, HEAD"
        return response

    return answer


@_read_only
def health(request: HttpRequest) -> HttpResponse:
    """Answers without looking at anything, so that it answers whatever is down."""
    return json_response({"status": "healthy", "service": "saas-llm-api"})


@_read_only
def ready(request: HttpRequest) -> HttpResponse:
    """200 when the database answers, else 503. Redis only hints, so its absence takes nobody out of service."""
    try:
        with connection.cursor() as cursor:
            cursor.execute("SELECT 1")
    except (DatabaseError, PoolTimeout):
        return json_response({"status": "unavailable", "database": "unreachable"}, status=503)
    return json_response({"status": "ready", "database": "ok"})
