"""Which route a model takes when nobody says."""

from django.conf import settings

from apps.catalog.models import ModelAlias


def default_route() -> ModelAlias.Route:
    """LiteLLM; the demo provider where that is all there is."""
    if settings.EMBEDDED and not settings.LITELLM_BASE_URL:
        return ModelAlias.Route.DEMO
    return ModelAlias.Route.LITELLM
