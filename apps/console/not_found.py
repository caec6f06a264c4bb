"""404 under /admin/ in the console's look, for those who are signed in to it."""

from django.contrib import admin
from django.http import HttpRequest, HttpResponse
from django.template.response import TemplateResponse


def page(request: HttpRequest, exception: Exception) -> HttpResponse | None:
    """The page, or None where an edge's own answer is the right one."""
    if not request.path_info.startswith("/admin/") or not getattr(request.user, "role", ""):
        return None
    said = exception.args[0] if exception.args else ""
    message = said if isinstance(said, str) and said else f"There is no page {request.path_info[:100]}."
    context = {**admin.site.each_context(request), "title": "Not found", "message": message}
    return TemplateResponse(request, "console/pages/not_found.html", context, status=404)
