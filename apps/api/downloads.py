"""`GET /examples/typed_client.py`: the Python client, from the server it is for. No credentials."""

from django.conf import settings
from django.http import HttpRequest, HttpResponse

from apps.api.rendering import json_response

TYPED_CLIENT = settings.BASE_DIR / "examples" / "typed_client.py"


def typed_client(request: HttpRequest) -> HttpResponse:
    """The file as it is; a browser shows it."""
    if request.method not in ("GET", "HEAD"):
        refused = json_response({"detail": "Method Not Allowed"}, status=405)
        refused["Allow"] = "GET, HEAD"
        return refused
    return HttpResponse(TYPED_CLIENT.read_bytes(), content_type="text/x-python; charset=utf-8")
