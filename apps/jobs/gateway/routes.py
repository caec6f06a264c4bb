"""Which module serves a route."""

from django.conf import settings

from apps.catalog.models import ModelAlias
from apps.jobs.gateway import failures
from apps.jobs.gateway.demo import DemoProvider
from apps.jobs.gateway.interface import Gateway
from apps.jobs.gateway.litellm_proxy import LiteLLMProxy
from apps.jobs.gateway.litellm_sdk import LiteLLMSDK
from apps.jobs.gateway.openai_compatible import OpenAICompatible

_ROUTES: dict[str, Gateway] = {
    ModelAlias.Route.LITELLM: LiteLLMProxy(),
    ModelAlias.Route.LITELLM_SDK: LiteLLMSDK(),
    ModelAlias.Route.OPENAI: OpenAICompatible(),
    ModelAlias.Route.DEMO: DemoProvider(),
}


def gateway_for(route: str) -> Gateway:
    """The gateway of a route. Raises: GatewayError when it is not configured here: our fault, so 503."""
    gateway = _ROUTES.get(route)
    if gateway is None or not _is_allowed(route):
        raise failures.misconfigured()
    return gateway


def _is_allowed(route: str) -> bool:
    """Whether the route is configured. The others know for themselves, from the request or from what is installed."""
    if route == ModelAlias.Route.DEMO:
        return bool(settings.EMBEDDED)
    return route != ModelAlias.Route.LITELLM or bool(settings.LITELLM_BASE_URL)
