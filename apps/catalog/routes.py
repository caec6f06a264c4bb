"""Which route a model takes when nobody says, and which one it may take."""

from importlib.util import find_spec

from django.conf import settings

from apps.catalog.models import ModelAlias, ProviderCredential
from apps.core.errors import InvalidField

Route = ModelAlias.Route


def default_route() -> ModelAlias.Route:
    """LiteLLM; the demo provider where that is all there is."""
    if settings.EMBEDDED and not settings.LITELLM_BASE_URL:
        return Route.DEMO
    return Route.LITELLM


def require_route(route: str) -> None:
    """Raises: InvalidField for a route on which nothing can answer in this installation."""
    if route == Route.DEMO and not settings.EMBEDDED:
        raise InvalidField("route", "The demo provider answers in embedded mode alone (make demo).", value=route)
    if route == Route.LITELLM_SDK and find_spec("litellm") is None:
        raise InvalidField(
            "route", "The extra 'litellm' is not installed. Install it (requirements-litellm.txt).", value=route
        )


def require_provider(route: str, provider: str) -> None:
    """Raises: InvalidField for a provider that has no credentials, on the route that needs one."""
    names = ProviderCredential.Provider.values
    if route == Route.OPENAI and provider.lower() not in names:
        raise InvalidField(
            "provider",
            f"The route 'openai' takes the key of its provider, which must be one of: {', '.join(names)}.",
            value=provider,
        )


def provider_in(provider_model: str) -> str:
    """The provider that `provider/model` begins with, if it is one that has credentials; else nothing."""
    provider, slash, _ = provider_model.partition("/")
    return provider if slash and provider in ProviderCredential.Provider.values else ""


def model_of(provider: str, provider_model: str) -> str:
    """How a provider itself calls `provider/model`."""
    return provider_model.removeprefix(f"{provider.lower()}/")
