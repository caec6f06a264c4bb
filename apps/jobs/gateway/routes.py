"""Which module serves a route."""

from django.conf import settings

from apps.catalog.models import ModelAlias
from apps.jobs.gateway.demo import DemoProvider
from apps.jobs.gateway.interface import Gateway, GatewayError
from apps.jobs.gateway.litellm_proxy import LiteLLMProxy

_ROUTES: dict[str, Gateway] = {
    ModelAlias.Route.LITELLM: LiteLLMProxy(),
    ModelAlias.Route.DEMO: DemoProvider(),
}


def gateway_for(route: str) -> Gateway:
    """The gateway of a route. Raises: GatewayError when it is not configured here: our fault, so 503."""
    allowed = settings.EMBEDDED if route == ModelAlias.Route.DEMO else bool(settings.LITELLM_BASE_URL)
    gateway = _ROUTES.get(route)
    if gateway is None or not allowed:
        raise GatewayError("provider_configuration", "the model is not available", status=503, retry_after_s=30)
    return gateway
