"""What every endpoint under /v1 does first: whose key it is, what it may do, and errors in OpenAI's shape.

Plain Django views: REST framework's part would be its errors and its negotiation, and both are OpenAI's here.
"""

from collections.abc import Callable
from typing import Any

import orjson
from django.core.exceptions import RequestDataTooBig
from django.db import InterfaceError, OperationalError
from django.http import HttpRequest, HttpResponse
from django.http.response import HttpResponseBase
from django.views import View
from django.views.decorators.csrf import csrf_exempt
from psycopg_pool import PoolTimeout

from apps.core.errors import DomainError
from apps.jobs import refusals
from apps.openai_compat import errors
from apps.teams import services as teams
from apps.virtual_keys import bearer
from apps.virtual_keys.services import Principal


class KeyView(View):
    """For a team's virtual key: with the scope `chat` for work, with any for reading."""

    principal: Principal

    @classmethod
    def as_view(cls, **initkwargs: Any) -> Callable[..., HttpResponseBase]:
        # A key is no cookie: no browser sends it for somebody else's page.
        view: Callable[..., HttpResponseBase] = csrf_exempt(super().as_view(**initkwargs))
        return view

    def dispatch(self, request: HttpRequest, *args: Any, **kwargs: Any) -> HttpResponseBase:
        try:
            self.principal = bearer.principal(request.META)
            if request.method == "POST":
                # Before the body is looked at, as on /api.
                self._require_may_call()
            else:
                self.principal.require_scope("chat", "jobs", "read")
            return super().dispatch(request, *args, **kwargs)
        except DomainError as error:
            return errors.refusal(error)
        except RequestDataTooBig:
            return errors.too_large()
        except (OperationalError, InterfaceError, PoolTimeout) as error:
            return errors.database_away(error)

    def _require_may_call(self) -> None:
        try:
            teams.require_active(self.principal.team.status, self.principal.organization.status)
            self.principal.require_scope("chat")
        except DomainError as error:
            refusals.record_early(self.principal, error)
            raise

    def http_method_not_allowed(self, request: HttpRequest, *args: Any, **kwargs: Any) -> HttpResponse:
        return errors.method_not_allowed(
            request, [name.upper() for name in self.http_method_names if hasattr(self, name)]
        )


def json_response(data: Any) -> HttpResponse:
    return HttpResponse(orjson.dumps(data), content_type="application/json")
