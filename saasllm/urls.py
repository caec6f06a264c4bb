"""All URLs. Unrouted ones answer in JSON, but for the admin site's."""

from django.contrib import admin
from django.urls import include, path
from django.views.generic import RedirectView

from apps.api import downloads, health
from apps.openapi import views as documentation

urlpatterns = [
    # First, since a path is compared with one after the other.
    path("api/", include("apps.api.urls")),
    path("v1/", include("apps.openai_compat.urls")),
    path("health", health.health),
    path("livez", health.health),
    path("readyz", health.ready),
    path("examples/typed_client.py", downloads.typed_client),
    path("openapi.json", documentation.openapi_json),
    path("docs", documentation.swagger_ui),
    path("redoc", documentation.redoc),
    path("admin/", include("apps.console.signing_in.urls")),
    path("admin/", admin.site.urls),
    # Slashes are not appended for the API's sake; people type this one without.
    path("admin", RedirectView.as_view(url="/admin/")),
]

handler400 = "saasllm.handlers.bad_request"
handler404 = "saasllm.handlers.not_found"
handler500 = "saasllm.handlers.server_error"
