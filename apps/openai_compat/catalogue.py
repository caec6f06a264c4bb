"""GET /v1/models: the names that a key may use. Whose models stand behind them is the operator's business."""

from typing import Any

from django.http import HttpRequest, HttpResponse

from apps.catalog import services as catalog
from apps.catalog.services import Usable
from apps.openai_compat.errors import ModelNotFound
from apps.openai_compat.views import KeyView, json_response

OWNER = "saas-litellm"


class Models(KeyView):
    """GET /v1/models"""

    def get(self, request: HttpRequest) -> HttpResponse:
        found = catalog.usable(self.principal.team, only=self.principal.models_allowed)
        return json_response({"object": "list", "data": [_model(usable) for usable in found]})


class OneModel(KeyView):
    """GET /v1/models/{model}"""

    def get(self, request: HttpRequest, model: str) -> HttpResponse:
        for usable in catalog.usable(self.principal.team, only=self.principal.models_allowed):
            if usable.name == model:
                return json_response(_model(usable))
        raise ModelNotFound(f"The model '{model}' does not exist or this key may not use it.")


def _model(usable: Usable) -> dict[str, Any]:
    return {
        "id": usable.name,
        "object": "model",
        "created": int(usable.created_at.timestamp()),
        "owned_by": OWNER,
    }
