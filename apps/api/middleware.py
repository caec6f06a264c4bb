"""A request id on every answer, so that a user's report can be found in the logs."""

import re
from collections.abc import Callable

from django.http import HttpRequest, HttpResponse

from apps.core.ids import new_id

_ACCEPTED = re.compile(r"[A-Za-z0-9._-]{1,64}")


class RequestIdMiddleware:
    """Sets `X-Request-Id`: the caller's own if it is plain, else a new one."""

    def __init__(self, get_response: Callable[[HttpRequest], HttpResponse]) -> None:
        self.get_response = get_response

    def __call__(self, request: HttpRequest) -> HttpResponse:
        given = request.headers.get("X-Request-Id", "")
        request_id = given if _ACCEPTED.fullmatch(given) else new_id().hex
        request.META["saasllm.request_id"] = request_id
        response = self.get_response(request)
        response["X-Request-Id"] = request_id
        return response
